//! StatefulSets that their own controller would not scale down.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::site::DEMOTE;
use testbed::{eventually, fixtures};

use super::{NAMESPACE, patient, release, request, site, until_demoted};

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
    request(&site, DEMOTE).await;
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
