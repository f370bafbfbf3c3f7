//! Volumes that are in use without an enforced workload.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use testbed::site::DEMOTE;

use super::{
    NAMESPACE, assert_volume, impatient, message_of, release, request, site, until_blocked,
    until_demoted,
};

const FOREIGN: &str = "--override=uncovered-workloads";

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
    request(&site, &[DEMOTE, &[FOREIGN]].concat()).await;
    let blocked = until_blocked(&site).await;
    let message = message_of(&blocked, "shop/volumereplications/data");
    assert!(
        message.contains("claim data is mounted by pod shell"),
        "{message}"
    );
    assert_volume(&site, "primary").await;

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
    request(&site, DEMOTE).await;
    let blocked = until_blocked(&site).await;
    let message = message_of(&blocked, "shop/volumereplications/data");
    assert!(
        message.contains("claim data is attached to node node-0"),
        "{message}"
    );
    assert_volume(&site, "primary").await;

    site.kubectl(&["delete", "volumeattachment", "data-on-node-0"])
        .await
        .expect(0);
    until_demoted(&site).await;
    release(site).await;
}
