//! What a demotion waits for before it demotes the volumes: the end of everything that could still write.

use failover_core::api::{self, Blocked, Phase, StepName};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use rstest::rstest;
use serde_json::{Value, json};
use testbed::site::shared::Lease;
use testbed::site::{DEMOTE, Deadlines, Options, Site};
use testbed::{eventually, fixtures};

const NAMESPACE: &str = "shop";
const FOREIGN: &str = "--override=uncovered-workloads";

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

async fn ordered(site: &Site, order: &[&str]) {
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

fn by<'a>(blocked: &'a [Blocked], object: &str) -> &'a str {
    let found = blocked.iter().find(|b| b.object.as_deref() == Some(object));
    let found = found.unwrap_or_else(|| panic!("{object} is not among {blocked:#?}"));
    assert_eq!(found.guard, "pods-running");
    &found.message
}

async fn volume_is(site: &Site, state: &str) {
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
    volume_is(site, "secondary").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_wait_for_the_last_pod() {
    let site = site(impatient()).await;
    with_application(&site, 3).await;
    let pods: Api<Pod> = Api::namespaced(site.client(), NAMESPACE);
    // A finalizer lets the test end them one by one.
    let finalized = json!({"metadata": {"finalizers": ["example.org/slow"]}});
    let all: Vec<String> = pods
        .list(&ListParams::default())
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    for pod in &all {
        pods.patch(pod, &PatchParams::default(), &Patch::Merge(&finalized))
            .await
            .unwrap();
    }
    ordered(&site, DEMOTE).await;
    for pod in &all {
        let blocked = until_blocked(&site).await;
        assert!(
            by(&blocked, "shop/deployments/web").contains(pod),
            "{blocked:#?}"
        );
        assert!(
            by(&blocked, "shop/volumereplications/data").contains("claim data is mounted by pod"),
            "{blocked:#?}"
        );
        volume_is(&site, "primary").await;
        let released = json!({"metadata": {"finalizers": null}});
        pods.patch(pod, &PatchParams::default(), &Patch::Merge(&released))
            .await
            .unwrap();
        eventually("the pod to be no longer reported", || async {
            let status = site.status().await;
            let message = format!("{:?}", status.transition);
            if message.contains(pod.as_str()) {
                Err(message)
            } else {
                Ok(())
            }
        })
        .await;
    }
    until_demoted(&site).await;
    release(site).await;
}

#[rstest]
#[case::whole(&["--override=pods-running"])]
#[case::each_by_its_name(&[
    "--override=pods-running=shop/deployments/web",
    "--override=pods-running=shop/volumereplications/data",
])]
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_never_ends_is_named_and_can_be_overridden(#[case] overrides: &[&str]) {
    let site = site(impatient()).await;
    with_application(&site, 1).await;
    site.freeze_kubelets();
    ordered(&site, DEMOTE).await;
    let blocked = until_blocked(&site).await;
    let message = by(&blocked, "shop/deployments/web");
    assert!(
        message.contains("pod web-") && message.contains("terminating on node-0"),
        "{message}"
    );
    volume_is(&site, "primary").await;

    site.failover(&[DEMOTE, overrides].concat()).await.expect(0);
    until_demoted(&site).await;
    let history = &site.status().await.history;
    assert!(
        history[0]
            .overrides
            .iter()
            .any(|o| o.starts_with("pods-running")),
        "{history:#?}"
    );
    assert_eq!(history[0].reason, "drill");
    release(site).await;
}

/// A policy's transition waits for pods as well, and survives a restart of the controller.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_waits_for_the_pods_of_what_it_names() {
    let site = Site::start(impatient()).await.unwrap();
    with_volume(&site).await;
    with_application(&site, 1).await;
    let other = fixtures::deployment(NAMESPACE, "other", 1);
    site.apply_as_flux(&other).await.unwrap();
    site.freeze_kubelets();
    let named = [("Deployment", "web"), ("VolumeReplication", "data")];
    let mut order = fixtures::failover_policy(NAMESPACE, "web", Some("secondary"), &named);
    site.apply_as_person(&order).await.unwrap();
    let policies: Api<api::FailoverPolicy> = Api::namespaced(site.client(), NAMESPACE);
    let until_phase = async |phase| {
        eventually(&format!("the policy to be {phase:?}"), || async {
            let status = policies.get("web").await.unwrap().status;
            let status = status.unwrap_or_default();
            if status.phase == Some(phase) {
                Ok(status)
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await
    };
    let stalled = until_phase(Phase::Stalled).await;
    let message = &stalled.conditions[0].message;
    assert!(
        message.starts_with("pods-running (shop/deployments/web): ")
            && message.contains("claim data is mounted by pod web-"),
        "{message}"
    );
    site.controller.kill();
    site.controller.restart().unwrap();
    let request = json!({
        "id": "r1", "reason": "node-0 is off",
        "overrides": ["pods-running=shop/volumereplications/data", "replication-unconfirmed"],
    });
    order["spec"]["request"] = request.clone();
    site.apply_as_person(&order).await.unwrap();
    eventually("the request to be observed", || async {
        let status = policies.get("web").await.unwrap().status.unwrap();
        match status.observed_request.as_deref() {
            Some("r1") => Ok(()),
            _ => Err(format!("{status:?}")),
        }
    })
    .await;
    // One of the two objects is not overridden.
    until_phase(Phase::Stalled).await;
    volume_is(&site, "primary").await;

    order["spec"]["request"] = json!({ "id": "r2", "reason": "node-0 is off", "overrides": ["pods-running", "replication-unconfirmed"] });
    site.apply_as_person(&order).await.unwrap();
    let done = until_phase(Phase::Stable).await;
    volume_is(&site, "secondary").await;
    assert_eq!(done.history[0].id, "r2");
    let api = site.api_of(&other).await.unwrap();
    let others = api.get("other").await.unwrap().data["spec"]["replicas"].clone();
    assert_eq!(others, json!(1));
}

/// Only its policy keeps the application active on a standby. When the policy is deleted the application is demoted in
/// order.
#[tokio::test(flavor = "multi_thread")]
async fn the_volume_of_a_policy_that_is_deleted_waits_for_the_pods_too() {
    let site = site(patient()).await;
    with_application(&site, 1).await;
    site.failover(DEMOTE).await.expect(0);
    let named = [("Deployment", "web"), ("VolumeReplication", "data")];
    let mut order = fixtures::failover_policy(NAMESPACE, "web", Some("primary"), &named);
    order["spec"]["request"] = json!({
        "id": "r1", "reason": "drill",
        "overrides": ["peer-unknown", "volume-not-synced", "replication-unconfirmed"],
    });
    site.apply_as_person(&order).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(site.client(), NAMESPACE);
    let pods = async |wanted: i32, available: bool| {
        eventually(&format!("{wanted} of web"), || async {
            let web = deployments.get("web").await.unwrap();
            let status = web.status.clone().unwrap_or_default();
            let up = status.available_replicas.unwrap_or_default() == wanted;
            if web.spec.as_ref().and_then(|s| s.replicas) == Some(wanted) && (up || !available) {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await;
    };
    pods(1, true).await;
    volume_is(&site, "primary").await;

    site.freeze_kubelets();
    let policies: Api<api::FailoverPolicy> = Api::namespaced(site.client(), NAMESPACE);
    policies
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    pods(0, false).await;
    eventually("the volume to be reported as deferred", || async {
        let deferred = site.deferred().await;
        if deferred == ["shop/volumereplications/data"] {
            Ok(())
        } else {
            Err(deferred)
        }
    })
    .await;
    volume_is(&site, "primary").await;
    site.thaw_kubelets();
    site.until_in_force(NAMESPACE, "").await;
    eventually("a secondary volume", || async {
        let api = site
            .api_of(&fixtures::volume_replication(NAMESPACE, "data"))
            .await
            .unwrap();
        let state = api.get("data").await.unwrap().data["spec"]["replicationState"].clone();
        if state == "secondary" {
            Ok(())
        } else {
            Err(state)
        }
    })
    .await;
    release(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_have_ended_block_nothing() {
    let site = site(patient()).await;
    let job = on_claim(fixtures::job(NAMESPACE, "import"));
    site.apply_as_flux(&job).await.unwrap();
    let jobs: Api<Job> = Api::namespaced(site.client(), NAMESPACE);
    eventually("a Job that is done", || async {
        let status = jobs.get("import").await.unwrap().status.unwrap_or_default();
        if status.succeeded == Some(1) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    site.failover(DEMOTE).await.expect(0);
    volume_is(&site, "secondary").await;
    let pods: Api<Pod> = Api::namespaced(site.client(), NAMESPACE);
    let left = pods.list(&ListParams::default()).await.unwrap();
    assert_eq!(left.items.len(), 1, "it is there still, and has ended");
    release(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_pod_on_the_claim_blocks_the_volume() {
    let site = site(impatient()).await;
    let mut foreign = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": NAMESPACE, "name": "shell"},
        "spec": {"containers": [{"name": "main", "image": "example.org/shell"}]},
    });
    foreign["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    site.apply_as_person(&foreign).await.unwrap();
    ordered(&site, &[DEMOTE, &[FOREIGN]].concat()).await;
    let blocked = until_blocked(&site).await;
    let message = by(&blocked, "shop/volumereplications/data");
    assert!(
        message.contains("claim data is mounted by pod shell"),
        "{message}"
    );
    volume_is(&site, "primary").await;

    let pods: Api<Pod> = Api::namespaced(site.client(), NAMESPACE);
    pods.delete("shell", &DeleteParams::default())
        .await
        .unwrap();
    until_demoted(&site).await;
    release(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_still_attached_is_not_demoted() {
    let site = site(impatient()).await;
    let attachment = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "data-on-node-0"},
        "spec": {"attacher": "example.org", "nodeName": "node-0", "source": {"persistentVolumeName": "shop-data"}},
    });
    site.apply_as_person(&attachment).await.unwrap();
    let patch = r#"{"status":{"attached":true}}"#;
    let attached = [
        "patch",
        "volumeattachment",
        "data-on-node-0",
        "--subresource=status",
        "--type=merge",
        "-p",
        patch,
    ];
    site.kubectl(&attached).await.expect(0);
    ordered(&site, DEMOTE).await;
    let blocked = until_blocked(&site).await;
    let message = by(&blocked, "shop/volumereplications/data");
    assert!(
        message.contains("claim data is attached to node node-0"),
        "{message}"
    );
    volume_is(&site, "primary").await;

    site.kubectl(&["delete", "volumeattachment", "data-on-node-0"])
        .await
        .expect(0);
    until_demoted(&site).await;
    release(site).await;
}

/// The StatefulSet controller would wait forever for the lowest pod to be ready before it deletes the highest.
#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_stateful_set_with_unready_pods_scales_down() {
    let site = site(patient()).await;
    let set = fixtures::stateful_set(NAMESPACE, "db", 3);
    site.apply_as_flux(&set).await.unwrap();
    let sets: Api<StatefulSet> = Api::namespaced(site.client(), NAMESPACE);
    eventually("all replicas to be ready", || async {
        let status = sets.get("db").await.unwrap().status.unwrap_or_default();
        if status.ready_replicas == Some(3) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    // So they stay unready.
    site.freeze_kubelets();
    let pods: Api<Pod> = Api::namespaced(site.client(), NAMESPACE);
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    for i in 0..3 {
        pods.patch_status(
            &format!("db-{i}"),
            &PatchParams::default(),
            &Patch::Strategic(&unready),
        )
        .await
        .unwrap();
    }
    ordered(&site, DEMOTE).await;
    for highest in ["db-2", "db-1", "db-0"] {
        eventually(&format!("{highest} alone to be terminating"), || async {
            let pods = pods.list(&ListParams::default()).await.unwrap();
            let ending: Vec<_> = pods
                .iter()
                .filter(|pod| pod.metadata.deletion_timestamp.is_some())
                .map(ResourceExt::name_any)
                .collect();
            if ending == [highest] {
                Ok(())
            } else {
                Err(ending)
            }
        })
        .await;
        // As a kubelet does once the containers have ended.
        let now = DeleteParams::default().grace_period(0);
        pods.delete(highest, &now).await.unwrap();
    }
    until_demoted(&site).await;
    release(site).await;
}
