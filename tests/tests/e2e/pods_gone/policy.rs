//! Applications that a FailoverPolicy moves.

use failover_core::api::{self, Phase};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use testbed::site::{DEMOTE, Site};
use testbed::{eventually, fixtures};

use super::{
    NAMESPACE, assert_volume, impatient, patient, release, site, with_application, with_volume,
};

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
    assert_volume(&site, "primary").await;

    order["spec"]["request"] = json!({ "id": "r2", "reason": "node-0 is off", "overrides": ["pods-running", "replication-unconfirmed"] });
    site.apply_as_person(&order).await.unwrap();
    let done = until_phase(Phase::Stable).await;
    assert_volume(&site, "secondary").await;
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
    assert_volume(&site, "primary").await;

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
    assert_volume(&site, "primary").await;
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
