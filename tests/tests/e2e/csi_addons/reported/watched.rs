//! A volume whose statuses are evaluated one by one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_core::checks::replication::{degraded, doubt, not_synced};
use failover_core::role::Role;
use futures::{StreamExt as _, pin_mut};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::Value;
use testbed::csi_addons::Volume;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// csi-addons abandons a call that does not return after three minutes.
const PATIENCE: Duration = Duration::from_secs(230);

pub(super) struct Watched {
    pub(super) volume: Volume,
    ordered: Arc<Mutex<String>>,
    lines: watch::Receiver<Vec<String>>,
    asserted: AtomicUsize,
    _watching: AbortOnDropHandle<()>,
}

impl Watched {
    /// Returns once the watch has begun, so that no status is missed.
    pub(super) async fn new(volume: Volume) -> Self {
        let ordered = Arc::default();
        let (sender, lines) = watch::channel(vec![]);
        let (begun, has_begun) = oneshot::channel();
        let watching = follow(volume.clone(), Arc::clone(&ordered), sender, begun);
        let watching = AbortOnDropHandle::new(tokio::spawn(watching));
        has_begun.await.unwrap();
        Self {
            volume,
            ordered,
            lines,
            asserted: AtomicUsize::new(0),
            _watching: watching,
        }
    }

    pub(super) async fn order(&self, state: &str) {
        state.clone_into(&mut self.ordered.lock().unwrap());
        self.volume.order(state).await;
    }

    /// Waits for exactly these reports, in this order, since the last assertion: `desired state@generation: state and
    /// conditions | our verdict`.
    pub(super) async fn reports(&self, expected: &[&str]) {
        let from = self.asserted.fetch_add(expected.len(), Ordering::Relaxed);
        let mut lines = self.lines.clone();
        let is_complete = |lines: &Vec<String>| {
            let reported = &lines[from..];
            let differs = reported
                .iter()
                .zip(expected)
                .any(|(reported, expected)| reported != expected);
            differs || reported.len() >= expected.len()
        };
        let waited = timeout(PATIENCE, lines.wait_for(is_complete))
            .await
            .map(drop);
        let reported = self.lines.borrow()[from..].to_vec();
        assert!(
            waited.is_ok() && reported == expected,
            "{:?} reports {reported:#?}\nnot {expected:#?}",
            self.volume
        );
    }

    /// Waits until `last` is reported, and everything before it is in doubt. What comes before depends on timing: csi-addons
    /// copies one object's status to another and skips what has changed meanwhile.
    pub(super) async fn eventually_reports(&self, last: &str) {
        let from = self.asserted.load(Ordering::Relaxed);
        let mut lines = self.lines.clone();
        let ends = |lines: &Vec<String>| {
            let is_end = |reported: &String| reported == last || !reported.contains("| doubt");
            lines[from..].iter().position(is_end)
        };
        let waited = timeout(PATIENCE, lines.wait_for(|lines| ends(lines).is_some())).await;
        let end = waited.map(|lines| ends(&lines.unwrap()).unwrap());
        let reported = self.lines.borrow()[from..].to_vec();
        let is_last = end.is_ok_and(|end| {
            self.asserted.store(from + end + 1, Ordering::Relaxed);
            reported[end] == last
        });
        assert!(
            is_last,
            "{:?} reports {reported:#?}\nnot {last} after what is in doubt",
            self.volume
        );
    }

    /// The last report.
    pub(super) fn last(&self) -> String {
        self.lines.borrow().last().unwrap().clone()
    }

    /// Asserts that there is no report since the last assertion.
    pub(super) fn reports_nothing_new(&self) {
        let reported = self.lines.borrow()[self.asserted.load(Ordering::Relaxed)..].to_vec();
        assert!(
            reported.is_empty(),
            "{:?} reports {reported:#?}",
            self.volume
        );
    }
}

/// Equal reports in a row count as one.
async fn follow(
    volume: Volume,
    ordered: Arc<Mutex<String>>,
    sender: watch::Sender<Vec<String>>,
    begun: oneshot::Sender<()>,
) {
    let mut begun = Some(begun);
    let selection = watcher::Config::default().fields(&format!("metadata.name={}", volume.name()));
    let events = watcher(volume.api.clone(), selection).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        let object = match event {
            Ok(Event::InitDone) => {
                begun.take().map(|begun| begun.send(()));
                continue;
            }
            Ok(Event::Apply(object) | Event::InitApply(object)) => object,
            // After an error the watcher restarts by itself.
            Ok(Event::Init | Event::Delete(_)) | Err(_) => continue,
        };
        let object = serde_json::to_value(object).unwrap();
        // An earlier request may have been reverted since.
        let is_current = object["spec"]["replicationState"] == ordered.lock().unwrap().as_str();
        let is_true = !is_current || volume.is_in_sync_as(role_of(&object));
        let line = format!("{} | {}", summary(&object), verdict(&object, is_true));
        sender.send_if_modified(|lines| {
            let is_new = lines.last() != Some(&line);
            if is_new {
                lines.push(line);
            }
            is_new
        });
    }
}

fn role_of(object: &Value) -> Role {
    match object["spec"]["replicationState"].as_str() {
        Some("primary") => Role::Primary,
        _ => Role::Secondary,
    }
}

/// Whether the desired state is confirmed, and which guards would block a promotion. `is_true`: whether the driver has that
/// role.
fn verdict(object: &Value, is_true: bool) -> String {
    let mut verdict = vec![match doubt(object, role_of(object)) {
        Some(_) => "doubt",
        None if is_true => "confirmed",
        None => "confirmed WRONGLY",
    }];
    verdict.extend(degraded(object).map(|_| "degraded"));
    verdict.extend(not_synced(object).map(|_| "not synced"));
    verdict.join(", ")
}

/// `secondary@2: Primary Promoted@1 Healthy@1`: conditions by their reasons, each with its observed generation.
fn summary(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
    let status = &object["status"];
    let ordered = text(&object["spec"]["replicationState"]);
    let mut short = vec![
        format!("{ordered}@{}:", object["metadata"]["generation"]),
        text(&status["state"]),
    ];
    for kind in [
        "Completed",
        "Degraded",
        "Resyncing",
        "Validated",
        "Replicating",
    ] {
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        let Some(condition) = conditions.find(|condition| condition["type"] == kind) else {
            continue;
        };
        let reason = text(&condition["reason"]);
        // Reported nearly always.
        if reason != "NotResyncing" {
            let doubtful = if condition["status"] == "Unknown" {
                "?"
            } else {
                ""
            };
            short.push(format!(
                "{reason}{doubtful}@{}",
                condition["observedGeneration"]
            ));
        }
    }
    short.join(" ")
}
