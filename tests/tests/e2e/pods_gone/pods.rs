//! Pods that run, have ended or never end.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use rstest::rstest;
use serde_json::json;
use testbed::site::DEMOTE;
use testbed::{eventually, fixtures};

use super::{
    NAMESPACE, assert_volume, impatient, message_of, on_claim, patient, release, request, site,
    until_blocked, until_demoted, with_application,
};

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
    request(&site, DEMOTE).await;
    for pod in &all {
        let blocked = until_blocked(&site).await;
        assert!(
            message_of(&blocked, "shop/deployments/web").contains(pod),
            "{blocked:#?}"
        );
        assert!(
            message_of(&blocked, "shop/volumereplications/data")
                .contains("claim data is mounted by pod"),
            "{blocked:#?}"
        );
        assert_volume(&site, "primary").await;
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
    request(&site, DEMOTE).await;
    let blocked = until_blocked(&site).await;
    let message = message_of(&blocked, "shop/deployments/web");
    assert!(
        message.contains("pod web-") && message.contains("terminating on node-0"),
        "{message}"
    );
    assert_volume(&site, "primary").await;

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
    assert_volume(&site, "secondary").await;
    let pods: Api<Pod> = Api::namespaced(site.client(), NAMESPACE);
    let left = pods.list(&ListParams::default()).await.unwrap();
    assert_eq!(left.items.len(), 1, "it is there still, and has ended");
    release(site).await;
}
