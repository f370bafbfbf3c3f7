//! A request is carried out while another API call hangs.

use std::time::Duration;

use failover_core::RuleSet;
use rstest::rstest;
use serde_json::json;

use super::settled;
use crate::testing::fake_api::{Asked, status};
use crate::testing::harness::{Bed, SHOP, WEB, is_ready, lease};

const POLICY: &str = "/apis/failover.dev/v1alpha1/namespaces/shop/failoverpolicies/web";

fn events(asked: &Asked) -> bool {
    asked.path.ends_with("/events")
}

fn objects_of_a_namespace_that_left(asked: &Asked) -> bool {
    asked.path.contains("/namespaces/left/")
}

fn status_of_a_policy(asked: &Asked) -> bool {
    asked.path.ends_with("/failoverpolicies/web/status")
}

fn leases(asked: &Asked) -> bool {
    asked.path.contains("/leases/") && asked.method == http::Method::DELETE
}

fn a_namespace_that_left(asked: &Asked) -> bool {
    asked.path == "/api/v1/namespaces/left" && asked.method == http::Method::PATCH
}

async fn cause_background_writes(bed: &Bed) {
    bed.api.put(
        "/api/v1/namespaces/left",
        json!({ "metadata": {
            "labels": { "failover.dev/workloads": "primary" },
            "annotations": { "failover.dev/unenrolled": "2026-01-01T00:00:00Z admin" }
        } }),
    );
    bed.api.put(
        POLICY,
        json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "FailoverPolicy",
            "metadata": { "namespace": "shop", "generation": 1, "uid": "p" },
            "spec": { "managedResources": [{ "kind": "Deployment", "name": "web" }] }
        }),
    );
    lease(&bed.api, bed.status().revision);
    // Longer than `forget_after`.
    tokio::time::sleep(Duration::from_secs(700)).await;
    bed.api.put(SHOP, bed.api.get(SHOP));
    tokio::time::sleep(Duration::from_secs(5)).await;
}

fn count(bed: &Bed, which: fn(&Asked) -> bool) -> usize {
    bed.api.asked().iter().filter(|asked| which(asked)).count()
}

#[rstest]
#[case::an_event(events)]
#[case::the_objects_of_a_namespace_that_has_left(objects_of_a_namespace_that_left)]
#[case::a_namespace_that_has_left(a_namespace_that_left)]
#[case::the_status_of_a_policy(status_of_a_policy)]
#[case::the_deletion_of_a_lease(leases)]
#[tokio::test(start_paused = true)]
async fn a_request_is_carried_out_while_a_call_hangs(#[case] hangs: fn(&Asked) -> bool) {
    let (bed, _controller) = settled("primary").await;
    bed.api.set_hanging(hangs);
    cause_background_writes(&bed).await;
    bed.order("down", "secondary", &[]);
    bed.until_settled("down").await;
    assert_eq!(bed.replicas(), 0);
    assert!(count(&bed, hangs) > 0, "something has hung");
}

/// Finished work is a reason to reconcile, but failed work is not retried at once.
#[rstest]
#[case::a_namespace_that_has_left(a_namespace_that_left)]
#[case::the_status_of_a_policy(status_of_a_policy)]
#[case::the_deletion_of_a_lease(leases)]
#[tokio::test(start_paused = true)]
async fn a_refused_write_is_retried_with_backoff(#[case] refused: fn(&Asked) -> bool) {
    let (bed, _controller) = settled("primary").await;
    bed.api
        .set_fault(move |asked, _| refused(asked).then(|| status(500, "no")));
    cause_background_writes(&bed).await;
    let tried = count(&bed, refused);
    assert!((1..400).contains(&tried), "in 700 seconds: {tried}");
    bed.order("down", "secondary", &[]);
    bed.until_settled("down").await;
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_for_the_check_whether_an_exemption_has_ended() {
    let (bed, _controller) = settled("primary").await;
    let labelled = |names: &[(&str, &str)]| {
        let rules = RuleSet::built_in();
        let rule = rules.find("apps", "deployments").unwrap();
        bed.caches.exempt.found(rule, names);
        bed.api.put(SHOP, bed.api.get(SHOP));
    };
    let in_force = || bed.api.get(SHOP)["metadata"]["annotations"]["failover.dev/objects"].clone();
    let mut web = bed.api.get(WEB);
    web["metadata"]["labels"]["failover.dev/enforce"] = json!("disabled");
    bed.api.put(WEB, web);
    labelled(&[("shop", "web")]);
    bed.until("exempt", |status| {
        in_force() == "deployments/web=exempt" && is_ready(status)
    })
    .await;
    bed.api.set_hanging(|asked| {
        asked.path.ends_with("/deployments") && asked.query.contains("fieldSelector")
    });
    labelled(&[]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    bed.order("down", "secondary", &[]);
    bed.until_settled("down").await;
    assert_eq!(
        in_force(),
        "deployments/web=exempt",
        "an unconfirmed exemption stays"
    );
    assert_eq!(bed.replicas(), 3);
    bed.api.set_hanging(|_| false);
}
