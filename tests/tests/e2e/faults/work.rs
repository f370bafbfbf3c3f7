//! Ordinary work on a primary.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::site::FLUX;
use testbed::{eventually, fixtures};

use super::NAMESPACE;

/// A webhook that does not answer may delay a write by its timeout of 1 s. The rest is for a busy machine, and below a
/// webhook's default timeout of 10 s.
const ONE_WRITE: Duration = Duration::from_secs(9);

/// An application is created, scaled up and rolled out. Every write is answered soon, and the requested pods run in the end.
pub(super) async fn deploys_and_scales(client: &Client, name: &str) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let manifest = fixtures::deployment(NAMESPACE, name, 1);
    let flux = PatchParams::apply(FLUX).force();
    soon(deployments.patch(name, &flux, &Patch::Apply(&manifest))).await;
    soon(deployments.patch_scale(name, &PatchParams::default(), &replicas(2))).await;
    soon(deployments.patch(name, &PatchParams::default(), &rollout())).await;
    runs(&deployments, name, 2).await;
}

/// Creates and scales an application in a namespace that is never enforced.
pub(super) async fn starts(client: &Client, namespace: &str, name: &str) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let manifest = fixtures::deployment(namespace, name, 1);
    let flux = PatchParams::apply(FLUX).force();
    soon(deployments.patch(name, &flux, &Patch::Apply(&manifest))).await;
    runs(&deployments, name, 1).await;
    soon(deployments.patch_scale(name, &PatchParams::default(), &replicas(2))).await;
    runs(&deployments, name, 2).await;
}

/// Rolls out an existing Deployment.
pub(super) async fn restarts(client: &Client, namespace: &str, name: &str) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let rolled_out = soon(deployments.patch(name, &PatchParams::default(), &rollout())).await;
    let pods = rolled_out.spec.and_then(|spec| spec.replicas);
    runs(&deployments, name, pods.unwrap()).await;
}

fn rollout() -> Patch<Value> {
    let template = json!({"metadata": {"annotations": {"rolled": "out"}}});
    Patch::Merge(json!({"spec": {"template": template}}))
}

fn replicas(count: i64) -> Patch<Value> {
    Patch::Merge(json!({"spec": {"replicas": count}}))
}

async fn soon<T>(write: impl Future<Output = kube::Result<T>>) -> T {
    let started = Instant::now();
    let written = write.await.unwrap_or_else(|error| panic!("{error}"));
    let took = started.elapsed();
    assert!(took < ONE_WRITE, "a write took {took:?}");
    written
}

/// Waits until the last revision of a Deployment has exactly so many pods, all available.
async fn runs(deployments: &Api<Deployment>, name: &str, pods: i32) {
    eventually("available pods", || async {
        let deployment = deployments
            .get(name)
            .await
            .map_err(|error| error.to_string())?;
        let status = deployment.status.unwrap_or_default();
        let counts = [
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
        ];
        let seen = status.observed_generation == deployment.metadata.generation;
        if seen && counts == [Some(pods); 3] {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
}
