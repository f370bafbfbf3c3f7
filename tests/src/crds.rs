//! CustomResourceDefinitions of the ruled kinds, read from the Go modules of their projects.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{ControlPlane, eventually, toolchain};

/// Module, file or folder in it, and the CRDs to take from it.
type Source = (&'static str, &'static str, &'static [&'static str]);

/// The module of csi-addons.
pub(crate) const CSI_ADDONS: &str = "github.com/csi-addons/kubernetes-csi-addons@v0.14.0";

/// CRDs of the built-in kinds.
const BUILT_IN: [Source; 4] = [
    (
        "github.com/fluxcd/helm-controller@v1.6.4",
        "config/crd/bases",
        &["helmreleases.helm.toolkit.fluxcd.io"],
    ),
    (
        "github.com/fluxcd/kustomize-controller@v1.9.5",
        "config/crd/bases",
        &["kustomizations.kustomize.toolkit.fluxcd.io"],
    ),
    (
        "istio.io/api@v1.31.1",
        "kubernetes/customresourcedefinitions.gen.yaml",
        &["virtualservices.networking.istio.io"],
    ),
    (
        CSI_ADDONS,
        "config/crd/bases",
        &[
            "volumereplications.replication.storage.openshift.io",
            "volumegroupreplications.replication.storage.openshift.io",
        ],
    ),
];

/// CRDs of the kinds with shipped rules: without KubeVirt's, and without some whose rule equals another one.
const SHIPPED_RULES: [Source; 6] = [
    (
        "istio.io/api@v1.31.1",
        "kubernetes/customresourcedefinitions.gen.yaml",
        &["gateways.networking.istio.io"],
    ),
    (
        "github.com/kedacore/keda/v2@v2.21.0",
        "config/crd/bases",
        &["scaledobjects.keda.sh", "scaledjobs.keda.sh"],
    ),
    (
        "github.com/fluxcd/flagger@v1.36.1",
        "artifacts/flagger",
        &["canaries.flagger.app"],
    ),
    (
        "github.com/argoproj/argo-rollouts@v1.8.3",
        "manifests/crds",
        &["rollouts.argoproj.io"],
    ),
    (
        "sigs.k8s.io/gateway-api@v1.4.0",
        "config/crd/standard",
        &[
            "httproutes.gateway.networking.k8s.io",
            "grpcroutes.gateway.networking.k8s.io",
        ],
    ),
    (
        "github.com/backube/volsync@v0.14.0",
        "config/crd/bases",
        &[
            "replicationsources.volsync.backube",
            "replicationdestinations.volsync.backube",
        ],
    ),
];

/// KubeVirt has no CRD files: its operator creates them from schemas in its source.
const KUBEVIRT: (&str, &str) = (
    "kubevirt.io/kubevirt@v1.6.0",
    "pkg/virt-operator/resource/generate/components/validations_generated.go",
);

/// Flux's sources: all that its controllers watch, used or not.
const FLUX_SOURCES: [Source; 1] = [(
    "github.com/fluxcd/source-controller@v1.9.3",
    "config/crd/bases",
    &[
        "buckets.source.toolkit.fluxcd.io",
        "externalartifacts.source.toolkit.fluxcd.io",
        "gitrepositories.source.toolkit.fluxcd.io",
        "helmcharts.source.toolkit.fluxcd.io",
        "helmrepositories.source.toolkit.fluxcd.io",
        "ocirepositories.source.toolkit.fluxcd.io",
    ],
)];

/// CRDs that csi-addons' controller watches, used or not.
const OF_CSI_ADDONS: [Source; 1] = [(
    CSI_ADDONS,
    "config/crd/bases",
    &[
        "csiaddonsnodes.csiaddons.openshift.io",
        "encryptionkeyrotationcronjobs.csiaddons.openshift.io",
        "encryptionkeyrotationjobs.csiaddons.openshift.io",
        "networkfenceclasses.csiaddons.openshift.io",
        "networkfences.csiaddons.openshift.io",
        "reclaimspacecronjobs.csiaddons.openshift.io",
        "reclaimspacejobs.csiaddons.openshift.io",
        "volumegroupreplicationclasses.replication.storage.openshift.io",
        "volumegroupreplicationcontents.replication.storage.openshift.io",
        "volumegroupreplications.replication.storage.openshift.io",
        "volumereplicationclasses.replication.storage.openshift.io",
        "volumereplications.replication.storage.openshift.io",
    ],
)];

fn read(sources: &[Source]) -> Result<Vec<CustomResourceDefinition>> {
    let mut found = Vec::new();
    for (module, place, names) in sources {
        let all = parsed(module, place)?;
        for name in *names {
            let crd = all
                .iter()
                .find(|crd| crd.metadata.name.as_deref() == Some(*name))
                .with_context(|| format!("{module} has no CRD {name} in {place}"))?;
            found.push(crd.clone());
        }
    }
    Ok(found)
}

/// The CRDs in a file or folder of a module. Every control plane needs the same ones, and some files have a megabyte: they are
/// parsed once.
fn parsed(module: &'static str, place: &'static str) -> Result<Arc<Vec<CustomResourceDefinition>>> {
    type Parsed = BTreeMap<(&'static str, &'static str), Arc<Vec<CustomResourceDefinition>>>;
    static PARSED: Mutex<Parsed> = Mutex::new(BTreeMap::new());
    let mut all = PARSED.lock().expect("no panic while it is held");
    if let Some(parsed) = all.get(&(module, place)) {
        return Ok(Arc::clone(parsed));
    }
    let parsed = Arc::new(parse(&toolchain::module_dir(module)?.join(place))?);
    all.insert((module, place), Arc::clone(&parsed));
    Ok(parsed)
}

/// Downloads the modules that [`apply`] needs, unless they are there already.
pub fn fetch() -> Result<()> {
    read(&BUILT_IN).map(drop)
}

/// Applies the CRDs of every built-in kind that is not Kubernetes' own, and waits until they are served.
pub async fn apply(plane: &ControlPlane) -> Result<()> {
    apply_all(plane, &read(&BUILT_IN)?).await
}

/// Applies the CRDs of Flux's sources, and waits until they are served.
pub async fn apply_flux_sources(plane: &ControlPlane) -> Result<()> {
    apply_all(plane, &read(&FLUX_SOURCES)?).await
}

/// Applies the CRDs of csi-addons, and waits until they are served.
pub async fn apply_csi_addons(plane: &ControlPlane) -> Result<()> {
    apply_all(plane, &read(&OF_CSI_ADDONS)?).await
}

/// Applies the CRDs of the kinds for which rules are shipped, and waits until they are served.
pub async fn apply_of_shipped_rules(plane: &ControlPlane) -> Result<()> {
    let mut crds = read(&SHIPPED_RULES)?;
    crds.push(virtual_machines()?);
    apply_all(plane, &crds).await
}

/// KubeVirt's VirtualMachine, put together as its operator does.
fn virtual_machines() -> Result<CustomResourceDefinition> {
    let (module, file) = KUBEVIRT;
    let source = fs::read_to_string(toolchain::module_dir(module)?.join(file))?;
    let schema = source
        .split_once("\"virtualmachine\": `")
        .and_then(|(_, rest)| rest.split_once('`'))
        .map(|(schema, _)| schema)
        .with_context(|| format!("{module} has no schema of virtualmachine in {file}"))?;
    let schema: Value = serde_saphyr::from_str(schema)?;
    let crd = json!({
        "metadata": {"name": "virtualmachines.kubevirt.io"},
        "spec": {
            "group": "kubevirt.io", "scope": "Namespaced",
            "names": {"plural": "virtualmachines", "singular": "virtualmachine", "kind": "VirtualMachine"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}}],
        },
    });
    Ok(serde_json::from_value(crd)?)
}

async fn apply_all(plane: &ControlPlane, crds: &[CustomResourceDefinition]) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(plane.client());
    for crd in crds {
        let name = crd.metadata.name.as_deref().expect("found by its name");
        api.patch(
            name,
            &PatchParams::apply("testbed").force(),
            &Patch::Apply(crd),
        )
        .await?;
    }
    for crd in crds {
        established(
            &api,
            crd.metadata.name.as_deref().expect("found by its name"),
        )
        .await;
    }
    Ok(())
}

/// Waits until a CRD is established.
pub async fn established(api: &Api<CustomResourceDefinition>, name: &str) {
    eventually("an established CRD", || async {
        let crd = api.get(name).await.map_err(|error| error.to_string())?;
        let conditions = crd
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        let established = conditions
            .iter()
            .any(|c| c.type_ == "Established" && c.status == "True");
        if established {
            Ok(())
        } else {
            Err(format!("{name}: {conditions:?}"))
        }
    })
    .await;
}

fn parse(place: &Path) -> Result<Vec<CustomResourceDefinition>> {
    let files = if place.is_dir() {
        fs::read_dir(place)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?
    } else {
        vec![place.to_owned()]
    };
    let mut crds = Vec::new();
    for file in files
        .iter()
        .filter(|f| f.extension().is_some_and(|e| e == "yaml"))
    {
        let text = indented(&fs::read_to_string(file)?);
        for document in text.split("\n---") {
            let document = document.trim_start_matches("---");
            if document.contains("kind: CustomResourceDefinition") {
                crds.push(
                    serde_saphyr::from_str(document).with_context(|| file.display().to_string())?,
                );
            }
        }
    }
    Ok(crds)
}

/// Indents the continuation lines of quoted scalars deeper than their key. YAML requires that, some CRD generators do not do
/// it, and not every parser accepts it.
fn indented(text: &str) -> String {
    let mut lines = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        let continues = is_open;
        is_open = match line.split_once(": '") {
            _ if continues => !line.ends_with('\''),
            Some((_, scalar)) => !scalar.ends_with('\''),
            None => false,
        };
        let margin = if continues { "    " } else { "" };
        lines.push(format!("{margin}{line}\n"));
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_continues_a_quoted_scalar_is_indented_deeper_than_its_key() {
        let text = "a:\n  b: 'first\n  second'\n  c: 'whole'\n  d: plain\n";
        let indented = indented(text);
        assert_eq!(
            indented,
            "a:\n  b: 'first\n      second'\n  c: 'whole'\n  d: plain\n"
        );
        let value: Value = serde_saphyr::from_str(&indented).unwrap();
        assert_eq!(
            value,
            json!({"a": {"b": "first second", "c": "whole", "d": "plain"}})
        );
    }
}
