//! What a demotion waits for before it demotes the volumes: the end of everything that could still write.

mod pods;
mod policy;
mod stateful_set;
mod volume;

use failover_core::api::{Blocked, Phase, StepName};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use testbed::site::shared::Lease;
use testbed::site::{Deadlines, Options, Site};
use testbed::{eventually, fixtures};

const NAMESPACE: &str = "shop";

/// A waiting step stalls almost at once.
fn impatient() -> Options {
    Options {
        nodes: 1,
        deadlines: Deadlines {
            pods_gone: "1s",
            ..Deadlines::default()
        },
        ..Options::default()
    }
}

fn patient() -> Options {
    Options {
        nodes: 1,
        ..Options::default()
    }
}

/// A primary whose volume `data` is replicated, on claim `data`.
async fn site(options: Options) -> Lease {
    let site = Site::shared(options).await.unwrap();
    with_volume(&site).await;
    site
}

async fn with_volume(site: &Site) {
    site.enrolled_namespace(NAMESPACE).await;
    for object in [
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "shop-data"},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
                "claimRef": {"namespace": NAMESPACE, "name": "data"}, "hostPath": {"path": "/data"},
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": NAMESPACE, "name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": "shop-data",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }),
        fixtures::volume_replication(NAMESPACE, "data"),
    ] {
        site.apply_as_flux(&object).await.unwrap();
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(site.client(), NAMESPACE);
    eventually("a bound claim", || async {
        let phase = claims
            .get("data")
            .await
            .unwrap()
            .status
            .unwrap_or_default()
            .phase;
        if phase.as_deref() == Some("Bound") {
            Ok(())
        } else {
            Err(phase)
        }
    })
    .await;
}

/// Restores the site.
async fn release(site: Lease) {
    site.thaw_kubelets();
    site.clear(&[NAMESPACE]).await;
    let delete = ["delete", "persistentvolume", "shop-data", "--wait=false"];
    site.kubectl(&delete).await.expect(0);
}

async fn with_application(site: &Site, replicas: i64) {
    let web = on_claim(fixtures::deployment(NAMESPACE, "web", replicas));
    site.apply_as_flux(&web).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(site.client(), NAMESPACE);
    eventually("an application that runs", || async {
        let status = deployments
            .get("web")
            .await
            .unwrap()
            .status
            .unwrap_or_default();
        let up = status.available_replicas.map(i64::from) == Some(replicas);
        if up {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
}

fn on_claim(mut workload: Value) -> Value {
    workload["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    workload
}

async fn request(site: &Site, order: &[&str]) {
    site.failover(&[order, &["--wait=false"]].concat())
        .await
        .expect(0);
}

/// Waits until the transition is stalled at the step `podsGone`; returns what blocks it.
async fn until_blocked(site: &Site) -> Vec<Blocked> {
    eventually("a transition that is stalled by pods", || async {
        let status = site.status().await;
        let steps = status
            .transition
            .iter()
            .flat_map(|transition| &transition.steps);
        let step = steps
            .into_iter()
            .find(|step| step.name == StepName::PodsGone);
        match step {
            Some(step) if status.phase == Some(Phase::Stalled) && !step.blocked.is_empty() => {
                Ok(step.blocked.clone())
            }
            other => Err(format!("{:?} {other:?}", status.phase)),
        }
    })
    .await
}

fn message_of<'a>(blocked: &'a [Blocked], object: &str) -> &'a str {
    let found = blocked.iter().find(|b| b.object.as_deref() == Some(object));
    let found = found.unwrap_or_else(|| panic!("{object} is not among {blocked:#?}"));
    assert_eq!(found.guard, "pods-running");
    &found.message
}

async fn assert_volume(site: &Site, state: &str) {
    let api = site
        .api_of(&fixtures::volume_replication(NAMESPACE, "data"))
        .await
        .unwrap();
    let volume: DynamicObject = api.get("data").await.unwrap();
    assert_eq!(volume.data["spec"]["replicationState"], state);
}

async fn until_demoted(site: &Site) {
    eventually("a site that is demoted", || async {
        let status = site.status().await;
        if status.phase == Some(Phase::Stable) && status.transition.is_none() {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    assert_volume(site, "secondary").await;
}
