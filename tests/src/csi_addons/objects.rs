//! What stands around a replicated volume in the API: the driver as csi-addons finds it, and claims that are bound.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::toolchain;

/// What the driver is called.
const DRIVER: &str = "replicating.example.com";

/// Where the driver and the csi-addons controller are; never enrolled.
pub(super) const NAMESPACE: &str = "csi-addons-system";

/// The controller's ServiceAccount.
pub(super) const ACCOUNT: &str = "csi-addons-controller-manager";

/// The driver's pod, and the CSIAddonsNode that tells of it.
pub(super) const POD: &str = "driver-0";

/// The classes that [`crate::fixtures`] name.
const CLASS: &str = "replicated";

/// What is there before anything is replicated: the controller's rights, as its module has them, and the classes.
pub(super) fn foundation(module: &str) -> Result<Vec<Value>> {
    let class = |kind: &str| {
        json!({
            "apiVersion": "replication.storage.openshift.io/v1alpha1", "kind": kind,
            "metadata": {"name": CLASS},
            // How often a primary is checked.
            "spec": {"provisioner": DRIVER, "parameters": {"schedulingInterval": "1s"}},
        })
    };
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": NAMESPACE, "name": ACCOUNT}}),
        class("VolumeReplicationClass"),
        class("VolumeGroupReplicationClass"),
    ];
    let folder = toolchain::module_dir(module)?.join("config/rbac");
    // The second has what it reads in its own namespace.
    for file in ["role.yaml", "leader_election_role.yaml"] {
        let text = fs::read_to_string(folder.join(file)).with_context(|| file.to_owned())?;
        let mut role: Value = serde_saphyr::from_str(&text)?;
        let mut metadata = json!({"name": role["metadata"]["name"]});
        if role["kind"] == "Role" {
            metadata["namespace"] = json!(NAMESPACE);
        }
        role["metadata"] = metadata.clone();
        let kind = role["kind"].as_str().context("a role has a kind")?;
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": metadata["name"]},
            "subjects": [{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": ACCOUNT}],
        }));
        objects.push(role);
    }
    Ok(objects)
}

/// A pod that no node takes: it is there for its address alone, which is written by hand.
pub(super) fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": NAMESPACE, "name": POD},
        "spec": {
            "serviceAccountName": ACCOUNT, "automountServiceAccountToken": false,
            "nodeSelector": {"example.com/this-machine": ""},
            "containers": [{"name": "sidecar", "image": "registry.example.com/sidecar:1.0"}],
        },
    })
}

/// The Lease by which the driver's leader is found; whether it has expired is not asked.
pub(super) fn lease() -> Value {
    let name = format!("{}-csi-addons", DRIVER.replace('.', "-"));
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {"holderIdentity": POD},
    })
}

pub(super) fn node(port: u16) -> Value {
    json!({
        "apiVersion": "csiaddons.openshift.io/v1alpha1", "kind": "CSIAddonsNode",
        "metadata": {"namespace": NAMESPACE, "name": POD},
        "spec": {"driver": {"name": DRIVER, "nodeID": "node-0", "endpoint": format!("pod://{POD}.{NAMESPACE}:{port}")}},
    })
}

/// A volume of the driver and the claim that it is kept for.
pub(super) fn claim(namespace: &str, name: &str, labels: &Value, handle: &str) -> [Value; 2] {
    let volume = format!("{namespace}-{name}");
    let size = json!({"storage": "1Gi"});
    [
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
            "spec": {
                "capacity": size, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
                "claimRef": {"namespace": namespace, "name": name},
                "csi": {"driver": DRIVER, "volumeHandle": handle},
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": namespace, "name": name, "labels": labels},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": volume,
                "resources": {"requests": size},
            },
        }),
    ]
}
