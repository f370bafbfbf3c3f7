//! Transitions from start to end.

use super::*;

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
    let (bed, _controller) = settled("secondary").await;
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
    let (bed, _controller) = settled("primary").await;
    let revision = bed.status().revision;
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
    let (bed, _controller) = settled("primary").await;
    let revision = bed.status().revision;
    lease(&bed.api, revision);
    tokio::time::sleep(LAG * 2).await;
    let start = Instant::now();
    bed.order("down", "secondary", &[]);
    bed.until_settled("down").await;
    assert_within(start, 17);
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
        let is_done = || {
            let status = bed.status();
            status.history.first().is_some_and(|h| h.id == "down") && is_ready(&status)
        };
        let survived = loop {
            let is_killed = writes.load(Ordering::Relaxed) >= kill_after;
            let is_done = is_done();
            if is_killed || is_done {
                break is_done;
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
