//! The objects around a replicated volume: those by which csi-addons finds the driver, and bound claims.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::toolchain;

/// The name of the driver.
const DRIVER: &str = "replicating.example.com";

/// The namespace of the driver and the csi-addons controller; never enrolled.
pub(super) const NAMESPACE: &str = "csi-addons-system";

/// The controller's ServiceAccount.
pub(super) const ACCOUNT: &str = "csi-addons-controller-manager";

/// The driver's pod, and the CSIAddonsNode that refers to it.
pub(super) const POD: &str = "driver-0";

/// The classes that [`crate::fixtures`] name.
const CLASS: &str = "replicated";

/// The objects that csi-addons needs first: the controller's rights, from its module, and the classes.
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
    // The second file has the rights in its own namespace.
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

/// A pod without a node: only its address is used, which is written to its status.
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

/// The Lease by which csi-addons finds the driver's leader; it ignores the expiry.
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

/// A volume of the driver and the claim that it is reserved for.
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
