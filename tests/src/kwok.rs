//! KWOK: nodes and kubelets that run nothing. Pods are scheduled, become Ready, end and disappear.

use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::process::{Process, Spec};
use crate::{ControlPlane, eventually, toolchain};

/// The module of the command and the stages.
const MODULE: &str = "sigs.k8s.io/kwok@v0.8.0";

/// Starts KWOK and `nodes` nodes, and waits until they are ready.
pub async fn start(plane: &ControlPlane, nodes: usize) -> Result<Process> {
    let stages = toolchain::module_dir(MODULE)?.join("kustomize/stage");
    let kwok = Spec::new("kwok", toolchain::kwok()?, plane.folder())
        .arg(format!(
            "--kubeconfig={}",
            plane.admin_kubeconfig().display()
        ))
        .args(["--manage-all-nodes=true"])
        // Without named stages it stops with "no stages found".
        .args(
            ["node/fast", "node/heartbeat", "pod/fast"]
                .into_iter()
                .flat_map(|stage| {
                    files_of(&stages.join(stage))
                        .into_iter()
                        .map(|file| format!("--config={}", file.display()))
                }),
        )
        .start()?;

    let api: Api<Node> = Api::all(plane.client());
    for i in 0..nodes {
        let name = format!("node-{i}");
        let node: Node = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
                "annotations": {"kwok.x-k8s.io/node": "fake"},
            },
            "status": {
                "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "1000"},
                "capacity": {"cpu": "64", "memory": "256Gi", "pods": "1000"},
            },
        }))?;
        api.create(&PostParams::default(), &node).await?;
    }
    for i in 0..nodes {
        let name = format!("node-{i}");
        eventually("a schedulable node", || async {
            let node = api.get(&name).await.map_err(|error| error.to_string())?;
            let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
            if taints.is_empty() {
                Ok(())
            } else {
                Err(format!("{taints:?}"))
            }
        })
        .await;
    }
    Ok(kwok)
}

/// The stages of a folder: everything but its kustomization.
fn files_of(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension().is_some_and(|e| e == "yaml") && !path.ends_with("kustomization.yaml")
        })
        .collect();
    files.sort();
    files
}
