//! The loop, from birth to promotion, and what comes in between: guards, conflicts, deaths, an API server that is away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use failover_core::api::{Outcome, Phase, StepActivity, StepState, Transition};
use serde_json::json;

use super::*;
use crate::testing::fake_api::{Asked, Fault, status as answer};
use crate::testing::harness::{Bed, LAG, SHOP, SITE, WEB, is_ready, lease};

#[tokio::test(start_paused = true)]
async fn a_new_secondary_site_starts_with_a_demotion() {
    let bed = Bed::new("secondary").await;
    let _controller = bed.controller();
    let status = bed.until_settled("birth-east").await;
    assert_eq!(status.history[0].outcome, Outcome::Succeeded);
    assert_eq!(status.history[0].objects, 1);
    assert_eq!(status.namespaces, ["shop"]);
    assert_eq!(bed.replicas(), 0);
    assert!(bed.shop_labels().is_superset(&BTreeSet::from([
        "failover.dev/enforce=enabled".to_owned(),
        "failover.dev/workloads=secondary".to_owned(),
        "team=a".to_owned()
    ])));
    let asked = bed.api.take_asked();
    let events: Vec<_> = asked
        .iter()
        .filter(|a| a.path.ends_with("/events"))
        .map(|a| a.body["reason"].as_str().unwrap().to_owned())
        .collect();
    for reason in [
        "TransitionStarted",
        "StepFinished",
        "TransitionFinished",
        "NamespaceEnrolled",
    ] {
        assert!(
            events.iter().any(|e| e == reason),
            "{reason} is missing in {events:?}"
        );
    }
    assert!(
        asked.iter().all(|a| a.answer != 409),
        "our own writes are read, not the caches that lag behind"
    );
}

#[tokio::test(start_paused = true)]
async fn demotion_and_promotion_complete_with_the_webhook_dead() {
    let bed = Bed::new("primary").await;
    bed.api.set_webhook_alive(false);
    let before = bed.api.get(WEB)["spec"].clone();
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    assert_eq!(bed.replicas(), 3, "on a primary nothing is touched");
    bed.order("down", "secondary", &[]);
    bed.until_settled("down").await;
    assert_eq!(bed.replicas(), 0);
    bed.order("up", "primary", &["peer-unknown"]);
    let status = bed.until_settled("up").await;
    assert_eq!(bed.api.get(WEB)["spec"], before);
    assert_eq!(
        bed.api.get(WEB)["metadata"].pointer("/annotations/failover.dev~1restore"),
        None
    );
    assert_eq!(
        status
            .history
            .iter()
            .map(|h| h.id.as_str())
            .collect::<Vec<_>>(),
        ["up", "down", "birth-east"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_guard_blocks_until_it_is_overridden_and_nothing_moves_until_then() {
    let bed = Bed::new("secondary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    bed.order("up", "primary", &[]);
    let status = bed
        .until("stalled", |status| status.phase == Some(Phase::Stalled))
        .await;
    let guards = &status.transition.unwrap().steps[0];
    assert_eq!(
        (guards.state, guards.blocked[0].guard.as_str()),
        (StepState::Blocked, "peer-unknown")
    );
    assert_eq!(bed.replicas(), 0);
    assert!(
        bed.shop_labels()
            .contains("failover.dev/workloads=secondary")
    );
    assert!(
        bed.metrics
            .encode()
            .unwrap()
            .contains("failover_guard_refusals_total{guard=\"peer-unknown\"} 1")
    );
    bed.order("up-anyway", "primary", &["peer-unknown"]);
    let status = bed.until_settled("up-anyway").await;
    assert_eq!(bed.replicas(), 3);
    assert_eq!(
        (status.history[1].id.as_str(), status.history[1].outcome),
        ("up", Outcome::Superseded)
    );
}

#[tokio::test(start_paused = true)]
async fn a_sweep_waits_for_a_live_webhook_replica() {
    let bed = Bed::new("primary").await;
    let _controller = bed.controller();
    let revision = bed.until_settled("birth-east").await.revision;
    lease(&bed.api, revision);
    tokio::time::sleep(LAG * 2).await;
    bed.api.take_asked();
    bed.order("down", "secondary", &[]);
    bed.until("labelled", |status| status.revision > revision)
        .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bed.replicas(), 3, "the replica has not seen the new roles");
    lease(&bed.api, revision + 1);
    bed.until_settled("down").await;
    assert_eq!(bed.replicas(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_webhook_replica_is_waited_for_only_until_its_lease_expires() {
    let bed = Bed::new("primary").await;
    let _controller = bed.controller();
    let revision = bed.until_settled("birth-east").await.revision;
    lease(&bed.api, revision);
    tokio::time::sleep(LAG * 2).await;
    let start = Instant::now();
    bed.order("down", "secondary", &[]);
    bed.until_settled("down").await;
    assert!(
        start.elapsed() < Duration::from_secs(17),
        "{:?}",
        start.elapsed()
    );
}

/// The controller is killed after its first write, its second, and so on, and another one takes over: the result is
/// always the same.
#[tokio::test(start_paused = true)]
async fn a_transition_continues_wherever_its_controller_is_killed() {
    for kill_after in 1.. {
        let bed = Bed::new("primary").await;
        bed.api.set_webhook_alive(false);
        {
            let _controller = bed.controller();
            bed.until_settled("birth-east").await;
        }
        bed.order("down", "secondary", &[]);
        let writes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&writes);
        bed.api.set_fault(move |asked, _| {
            // A killed controller writes nothing.
            let is_write = asked.method != http::Method::GET;
            (is_write && counted.fetch_add(1, Ordering::Relaxed) >= kill_after)
                .then(|| answer(503, "killed"))
        });
        let first = bed.controller();
        let survived = loop {
            if writes.load(Ordering::Relaxed) >= kill_after {
                break bed.status().history.first().is_some_and(|h| h.id == "down")
                    && is_ready(&bed.status());
            }
            if bed.status().history.first().is_some_and(|h| h.id == "down")
                && is_ready(&bed.status())
            {
                break true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        drop(first);
        bed.api.clear_fault();
        let _second = bed.controller();
        let status = bed.until_settled("down").await;
        assert_eq!(
            status.history.len(),
            2,
            "killed after {kill_after} writes: recorded once"
        );
        assert_eq!(bed.replicas(), 0);
        assert_eq!(
            bed.api.get(WEB)["metadata"]["annotations"]["failover.dev/restore"],
            "{\"/spec/replicas\":3}"
        );
        if survived {
            assert!(
                kill_after > 8,
                "a transition of {kill_after} writes was cut at each"
            );
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_decided_on_a_stale_version_is_refused_and_decided_again() {
    let bed = Bed::new("primary").await;
    let controller = bed.controller();
    bed.until_settled("birth-east").await;
    drop(controller);
    bed.order("down", "secondary", &[]);
    tokio::time::sleep(LAG * 2).await;
    // The request is withdrawn just before the controller journals it, and its cache does not show that yet.
    let withdrawn = AtomicUsize::new(0);
    bed.api.set_fault(move |asked, objects| {
        if asked.method == http::Method::PUT && withdrawn.fetch_add(1, Ordering::Relaxed) == 0 {
            let site = objects.get_mut(SITE).unwrap();
            site["metadata"]["resourceVersion"] = json!("somebody");
            site["spec"]["role"] = json!("primary");
            site["spec"]["request"]["id"] = json!("stay");
        }
        None::<Fault>
    });
    let _controller = bed.controller();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(
        bed.status().transition.is_none() && bed.replicas() == 3,
        "nothing was journalled, so nothing was done"
    );
    // Now the watch shows it.
    let site = bed.api.get(SITE);
    bed.api.put(SITE, site);
    bed.until("settled", is_ready).await;
    assert_eq!(bed.status().history.len(), 1);
    assert!(bed.shop_labels().contains("failover.dev/workloads=primary"));
}

/// Whether a sweep is running that has seen this many objects.
fn sweeps(transition: &Transition, total: i64) -> bool {
    transition.steps.iter().any(|step| {
        step.state == StepState::Running
            && step.activity == Some(StepActivity::Sweeping)
            && step.total == total
    })
}

#[tokio::test(start_paused = true)]
async fn a_stale_site_is_not_written_to_namespaces() {
    let bed = Bed::new("primary").await;
    let before = bed.controller();
    bed.until_settled("birth-east").await;
    drop(before);
    // Another leader has continued. Of its writes this cache has the labels, but not the journal.
    bed.api.set_fault(|_, objects| {
        objects.get_mut(SITE).unwrap()["metadata"]["resourceVersion"] = json!("1000000");
        None::<Fault>
    });
    let mut shop = bed.api.get(SHOP);
    shop["metadata"]["labels"]["failover.dev/workloads"] = json!("secondary");
    bed.api.put(SHOP, shop);
    tokio::time::sleep(LAG * 2).await;
    let _controller = bed.controller();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let secondary = "failover.dev/workloads=secondary";
    assert!(bed.shop_labels().contains(secondary), "it is not reverted");

    bed.api.clear_fault();
    bed.api.put(SITE, bed.api.get(SITE));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(
        !bed.shop_labels().contains(secondary),
        "with the newest Site it is"
    );
}

/// A guard's dry run, which stores nothing.
fn is_preview(asked: &Asked) -> bool {
    asked.query.contains("fieldManager=failover-preview")
}

#[tokio::test(start_paused = true)]
async fn a_newer_request_stops_a_running_sweep() {
    let bed = Bed::new("primary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    bed.api.set_fault(|asked, _| {
        (asked.path == WEB && asked.method == http::Method::PATCH && !is_preview(asked)).then(
            || {
                let mut busy = answer(429, "busy");
                busy.headers_mut()
                    .insert("retry-after", "20".parse().unwrap());
                busy
            },
        )
    });
    bed.order("down", "secondary", &[]);
    bed.until("sweeping", |status| {
        status.transition.as_ref().is_some_and(|t| sweeps(t, 1))
    })
    .await;
    let start = Instant::now();
    bed.order("up", "primary", &["peer-unknown"]);
    let status = bed.until_settled("up").await;
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(status.history[1].outcome, Outcome::Superseded);
    assert_eq!(bed.replicas(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_long_sweep_reports_progress_only_when_there_is_some() {
    let bed = Bed::new("primary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    let busy = AtomicUsize::new(0);
    bed.api.set_fault(move |asked, _| {
        (asked.method == http::Method::PATCH
            && asked.path == WEB
            && !is_preview(asked)
            && busy.fetch_add(1, Ordering::Relaxed) == 0)
            .then(|| {
                let mut busy = answer(429, "busy");
                busy.headers_mut()
                    .insert("retry-after", "30".parse().unwrap());
                busy
            })
    });
    bed.order("down", "secondary", &[]);
    bed.until("sweeping", |status| {
        status.transition.as_ref().is_some_and(|t| sweeps(t, 1))
    })
    .await;
    bed.api.take_asked();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(bed.api.take_writes(), [""; 0], "nothing has moved");
    bed.until_settled("down").await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_sweep_is_retried_with_backoff() {
    let bed = Bed::new("primary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    // The guards need discovery, too, before anything moves.
    bed.api.set_fault(|asked, objects| {
        let moves = objects[SHOP]["metadata"]["labels"]["failover.dev/traffic"] == "secondary";
        (asked.path == "/apis" && moves).then(|| answer(503, "down"))
    });
    bed.order("down", "secondary", &[]);
    bed.until("sweeping", |status| {
        status.transition.as_ref().is_some_and(|t| sweeps(t, 0))
    })
    .await;
    bed.api.take_asked();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let sweeps = bed
        .api
        .take_asked()
        .iter()
        .filter(|a| a.path == "/apis")
        .count();
    assert!((5..=20).contains(&sweeps), "{sweeps} in a minute");
    let stalled = bed
        .until("stalled", |status| status.phase == Some(Phase::Stalled))
        .await;
    let steps = stalled.transition.unwrap().steps;
    let stalled = steps.iter().flat_map(|step| &step.blocked);
    assert!(stalled.map(|b| &b.guard).eq(["not-verified"]), "{steps:#?}");
    bed.api.clear_fault();
    bed.until_settled("down").await;
    assert_eq!(bed.replicas(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_loop_continues_when_the_api_server_comes_back() {
    let bed = Bed::new("primary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    bed.api
        .set_fault(|_, _| Some(answer(503, "connection refused")));
    bed.order("down", "secondary", &[]);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(bed.status().transition.is_none());
    assert!(
        bed.api.take_asked().len() < 100,
        "it must not hammer a server that is coming up"
    );
    bed.api.clear_fault();
    let back = Instant::now();
    bed.until_settled("down").await;
    assert!(
        back.elapsed() < Duration::from_secs(15),
        "{:?}",
        back.elapsed()
    );
    assert_eq!(bed.replicas(), 0);
}

#[tokio::test(start_paused = true)]
async fn drift_of_a_settled_site_is_corrected_and_reported() {
    let bed = Bed::new("secondary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    bed.api.take_asked();
    tokio::time::sleep(Duration::from_secs(150)).await;
    let asked = bed.api.take_asked();
    assert!(
        asked.iter().any(|a| a.path.ends_with("/deployments")),
        "it sweeps periodically"
    );
    assert!(
        asked.iter().all(|a| a.method == http::Method::GET),
        "and writes nothing"
    );
    bed.api
        .put(WEB, json!({ "metadata": {}, "spec": { "replicas": 5 } }));
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(bed.replicas(), 0);
    let event = bed
        .api
        .take_asked()
        .into_iter()
        .find(|a| a.path.ends_with("/events"))
        .expect("an event");
    assert_eq!(
        (event.body["reason"].as_str(), event.body["type"].as_str()),
        (Some("SweepCorrected"), Some("Warning"))
    );
    assert!(
        event.body["note"]
            .as_str()
            .unwrap()
            .contains("shop/deployments/web")
    );
}

#[tokio::test(start_paused = true)]
async fn namespaces_are_enrolled_and_unenrolled_while_settled() {
    let bed = Bed::new("secondary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
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
    let stalled = transition.steps.iter().flat_map(|step| &step.blocked);
    let named: Vec<_> = stalled.filter_map(|b| b.object.as_deref()).collect();
    assert_eq!(named, ["awkward/namespaces/awkward"], "but it is not done");
}

#[tokio::test(start_paused = true)]
async fn without_a_site_nothing_is_touched() {
    let bed = Bed::empty();
    bed.api.put(
        SHOP,
        json!({ "metadata": { "labels": { "failover.dev/workloads": "secondary" } } }),
    );
    let _controller = bed.controller();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(bed.api.take_asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn traffic_does_not_wait_for_a_namespace_that_is_being_deleted() {
    let bed = Bed::new("secondary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    let mut shop = bed.api.get(SHOP);
    shop["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    bed.api.put(SHOP, shop);
    let mut web = bed.api.get(WEB);
    web["status"]["availableReplicas"] = json!(0);
    bed.api.put(WEB, web);
    bed.order("r1", "primary", &["peer-unknown"]);
    bed.until_settled("r1").await;
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_site_is_not_reconciled_and_not_forgotten() {
    let bed = Bed::new("secondary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    let readable = bed.api.get(SITE);
    let mut site = readable.clone();
    site["spec"]["role"] = json!("observer");
    bed.api.put(SITE, site);
    tokio::time::sleep(LAG * 2).await;
    bed.api.take_asked();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(bed.api.take_writes(), [""; 0]);
    let metrics = bed.metrics.encode().unwrap();
    assert!(
        metrics.contains("failover_site_role{site=\"east\",role=\"secondary\"} 1"),
        "{metrics}"
    );
    bed.api.put(SITE, readable);
    bed.order("up", "primary", &["peer-unknown"]);
    bed.until_settled("up").await;
    assert_eq!(bed.replicas(), 3);
}
