//! Sweeps during a transition and on a settled site.

use super::*;

/// Whether a sweep is running that has seen this many objects.
fn is_sweeping(transition: &Transition, total: i64) -> bool {
    transition.steps.iter().any(|step| {
        step.state == StepState::Running
            && step.activity == Some(StepActivity::Sweeping)
            && step.total == total
    })
}

async fn until_sweeping(bed: &Bed, total: i64) {
    bed.until("sweeping", |status| {
        let transition = status.transition.as_ref();
        transition.is_some_and(|transition| is_sweeping(transition, total))
    })
    .await;
}

/// A guard's dry run, which stores nothing.
fn is_preview(asked: &Asked) -> bool {
    asked.query.contains("fieldManager=failover-preview")
}

fn busy_for(seconds: u64) -> http::Response<kube::client::Body> {
    let mut busy = answer(429, "busy");
    busy.headers_mut().insert("retry-after", seconds.into());
    busy
}

#[tokio::test(start_paused = true)]
async fn a_newer_request_stops_a_running_sweep() {
    let (bed, _controller) = settled("primary").await;
    bed.api.set_fault(|asked, _| {
        (asked.path == WEB && asked.method == http::Method::PATCH && !is_preview(asked))
            .then(|| busy_for(20))
    });
    bed.order("down", "secondary", &[]);
    until_sweeping(&bed, 1).await;
    let start = Instant::now();
    bed.order("up", "primary", &["peer-unknown"]);
    let status = bed.until_settled("up").await;
    assert_within(start, 10);
    assert_eq!(status.history[1].outcome, Outcome::Superseded);
    assert_eq!(bed.replicas(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_long_sweep_reports_progress_only_when_there_is_some() {
    let (bed, _controller) = settled("primary").await;
    let busy = AtomicUsize::new(0);
    bed.api.set_fault(move |asked, _| {
        (asked.method == http::Method::PATCH
            && asked.path == WEB
            && !is_preview(asked)
            && busy.fetch_add(1, Ordering::Relaxed) == 0)
            .then(|| busy_for(30))
    });
    bed.order("down", "secondary", &[]);
    until_sweeping(&bed, 1).await;
    bed.api.take_asked();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(bed.api.take_writes(), [""; 0], "nothing has moved");
    bed.until_settled("down").await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_sweep_is_retried_with_backoff() {
    let (bed, _controller) = settled("primary").await;
    // The guards need discovery, too, before anything moves.
    bed.api.set_fault(|asked, objects| {
        let moves = objects[SHOP]["metadata"]["labels"]["failover.dev/traffic"] == "secondary";
        (asked.path == "/apis" && moves).then(|| answer(503, "down"))
    });
    bed.order("down", "secondary", &[]);
    until_sweeping(&bed, 0).await;
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
    let blocked = steps.iter().flat_map(|step| &step.blocked);
    assert!(blocked.map(|b| &b.guard).eq(["not-verified"]), "{steps:#?}");
    bed.api.clear_fault();
    bed.until_settled("down").await;
    assert_eq!(bed.replicas(), 0);
}

#[tokio::test(start_paused = true)]
async fn drift_of_a_settled_site_is_corrected_and_reported() {
    let (bed, _controller) = settled("secondary").await;
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
