//! Namespaces that are enrolled, leave, refuse their labels or are deleted.

use super::*;

#[tokio::test(start_paused = true)]
async fn namespaces_are_enrolled_and_unenrolled_while_settled() {
    let (bed, _controller) = settled("secondary").await;
    bed.api.put(
        "/api/v1/namespaces/late",
        json!({ "metadata": { "labels": { "failover.dev/enforce": "enabled" } } }),
    );
    bed.api.put(
        "/apis/apps/v1/namespaces/late/deployments/api",
        json!({ "metadata": {}, "spec": { "replicas": 2 }, "status": { "observedGeneration": 1 } }),
    );
    bed.until("enrolled", |status| {
        status.namespaces == ["late", "shop"] && is_ready(status)
    })
    .await;
    assert_eq!(
        bed.api.get("/apis/apps/v1/namespaces/late/deployments/api")["spec"]["replicas"],
        0
    );

    let mut shop = bed.api.get(SHOP);
    shop["metadata"]["labels"]
        .as_object_mut()
        .unwrap()
        .remove("failover.dev/enforce");
    bed.api.put(SHOP, shop.clone());
    let left = bed.until("left", |status| status.left == ["shop"]).await;
    assert!(!is_ready(&left));
    assert!(
        bed.shop_labels().len() > 1,
        "its state is kept: it may come back"
    );
    shop["metadata"]["annotations"]["failover.dev/unenrolled"] = json!("2026-01-01T00:00:00Z bob");
    bed.api.put(SHOP, shop);
    bed.until("unenrolled", |status| {
        status.namespaces == ["late"] && status.left.is_empty() && is_ready(status)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bed.shop_labels(), BTreeSet::from(["team=a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_refuses_its_labels_does_not_block_the_others() {
    let bed = Bed::new("primary").await;
    bed.api.put(
        "/api/v1/namespaces/awkward",
        json!({ "metadata": { "labels": { "failover.dev/enforce": "enabled" } } }),
    );
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    bed.api.set_fault(|asked, _| {
        (asked.path == "/api/v1/namespaces/awkward" && asked.method == http::Method::PATCH)
            .then(|| answer(403, "denied"))
    });
    bed.order("down", "secondary", &[]);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(bed.shop_labels().contains("failover.dev/traffic=secondary"));
    let transition = bed.status().transition.unwrap();
    let blocked = transition.steps.iter().flat_map(|step| &step.blocked);
    let named: Vec<_> = blocked.filter_map(|b| b.object.as_deref()).collect();
    assert_eq!(named, ["awkward/namespaces/awkward"], "but it is not done");
}

#[tokio::test(start_paused = true)]
async fn traffic_does_not_wait_for_a_namespace_that_is_being_deleted() {
    let (bed, _controller) = settled("secondary").await;
    let mut shop = bed.api.get(SHOP);
    shop["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    bed.api.put(SHOP, shop);
    let mut web = bed.api.get(WEB);
    web["status"]["availableReplicas"] = json!(0);
    bed.api.put(WEB, web);
    bed.order("r1", "primary", &["peer-unknown"]);
    bed.until_settled("r1").await;
}
