//! Whoever owns a Namespace's labels can drop ours: Terraform's provider replaces the whole map.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::eventually;
use testbed::site::{DEMOTE, Options, Site};

fn namespaces(site: &Site) -> Api<Namespace> {
    Api::all(site.client())
}

/// As a provider writes labels that it knows nothing else of, with the rights of a cluster-admin.
async fn replace_labels(site: &Site, labels: Value) -> kube::Result<Namespace> {
    let patch: json_patch::Patch = serde_json::from_value(json!([
        {"op": "replace", "path": "/metadata/labels", "value": labels}
    ]))
    .unwrap();
    let params = PatchParams {
        field_manager: Some("Terraform".to_owned()),
        ..PatchParams::default()
    };
    namespaces(site)
        .patch("shop", &params, &Patch::<()>::Json(patch))
        .await
}

fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    match result {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{error:?}"),
    }
}

async fn left(site: &Site) -> Vec<String> {
    site.status().await.left
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_is_lost_opens_no_standby_and_hides_nothing_of_a_primary() {
    let mut site = Site::start(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    let live = namespaces(&site).get("shop").await.unwrap().metadata.labels;

    println!("on a primary it is accepted, and known");
    replace_labels(&site, json!({"team": "a"})).await.unwrap();
    eventually("the namespace to have left", || async {
        let left = left(&site).await;
        if left == ["shop"] { Ok(()) } else { Err(left) }
    })
    .await;
    let shown = site.failover(&["status", "-o", "json"]).await;
    let status: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(status["left"], json!(["shop"]), "{status:#}");
    let ready = status["conditions"].as_array().unwrap().iter();
    let ready = ready.clone().find(|c| c["type"] == "Ready").unwrap();
    assert_eq!(ready["reason"], "NamespaceLeft", "{ready}");
    let demoted = site.failover(DEMOTE).await;
    assert_eq!(demoted.code, 3, "{}", demoted.stderr);
    assert!(
        demoted.stderr.contains("namespace-left"),
        "{}",
        demoted.stderr
    );
    let created = namespaces(&site)
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap(),
        )
        .await;
    assert_eq!(code(created), 409, "as Helm's --create-namespace wants it");

    println!("it comes back, and is demoted with the site");
    site.failover(&["enroll", "shop", "--yes"]).await.expect(0);
    assert_eq!(left(&site).await, [""; 0]);
    site.failover(DEMOTE).await.expect(0);

    for webhook in ["up", "dead"] {
        println!("on a standby it is refused to everybody, with the webhook {webhook}");
        let other = [
            json!({"team": "a"}),
            json!({"team": "a", "failover.dev/enforce": "policy"}),
            // As they were when the provider last read them.
            json!(live),
            json!({"team": "a", "failover.dev/enforce": "enabled"}),
        ];
        for labels in other {
            let replaced = replace_labels(&site, labels.clone()).await;
            assert_eq!(code(replaced), 403, "{labels}");
        }
        let still = namespaces(&site)
            .get("shop")
            .await
            .unwrap()
            .metadata
            .labels
            .unwrap();
        assert_eq!(still["failover.dev/workloads"], "secondary");
        if webhook == "up" {
            site.controller.terminate(Duration::from_secs(30)).unwrap();
            site.webhook.terminate(Duration::from_secs(30)).unwrap();
        }
    }

    println!("a mark of another time opens nothing");
    let mark = json!({"metadata": {"annotations": {"failover.dev/unenrolled": "2026-01-01T00:00:00Z admin"}}});
    namespaces(&site)
        .patch("shop", &PatchParams::default(), &Patch::Merge(mark))
        .await
        .unwrap();
    assert_eq!(code(replace_labels(&site, json!({"team": "a"})).await), 403);

    println!("only the command lets it go");
    let unenroll = [
        "unenroll",
        "shop",
        "--yes",
        "--override=site-secondary",
        "--reason=drill",
    ];
    site.failover(&unenroll).await.expect(0);
    let released = namespaces(&site).get("shop").await.unwrap().metadata;
    assert!(
        !released
            .labels
            .unwrap()
            .contains_key("failover.dev/enforce")
    );
    let mark = &released.annotations.unwrap()["failover.dev/unenrolled"];
    assert!(mark.ends_with(" admin"), "{mark}");
}
