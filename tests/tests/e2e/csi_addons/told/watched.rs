//! A volume whose every status is judged as it comes.

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

/// A call that never returns is given up by csi-addons after three minutes.
const PATIENCE: Duration = Duration::from_secs(230);

pub(super) struct Watched {
    pub(super) volume: Volume,
    ordered: Arc<Mutex<String>>,
    story: watch::Receiver<Vec<String>>,
    heard: AtomicUsize,
    _watching: AbortOnDropHandle<()>,
}

impl Watched {
    /// Returns once the watch has begun, so that no status is missed.
    pub(super) async fn new(volume: Volume) -> Self {
        let ordered = Arc::default();
        let (tell, story) = watch::channel(vec![]);
        let (begun, has_begun) = oneshot::channel();
        let watching = follow(volume.clone(), Arc::clone(&ordered), tell, begun);
        let watching = AbortOnDropHandle::new(tokio::spawn(watching));
        has_begun.await.unwrap();
        Self {
            volume,
            ordered,
            story,
            heard: AtomicUsize::new(0),
            _watching: watching,
        }
    }

    pub(super) async fn order(&self, state: &str) {
        state.clone_into(&mut self.ordered.lock().unwrap());
        self.volume.order(state).await;
    }

    /// Waits until this has been told since the last time, one thing after the other and nothing else:
    /// `what is ordered@generation: state and conditions | what is thought of it`.
    pub(super) async fn tells(&self, expected: &[&str]) {
        let from = self.heard.fetch_add(expected.len(), Ordering::Relaxed);
        let mut story = self.story.clone();
        let is_told = |story: &Vec<String>| {
            let told = &story[from..];
            let differs = told
                .iter()
                .zip(expected)
                .any(|(told, expected)| told != expected);
            differs || told.len() >= expected.len()
        };
        let waited = timeout(PATIENCE, story.wait_for(is_told)).await.map(drop);
        let told = self.story.borrow()[from..].to_vec();
        assert!(
            waited.is_ok() && told == expected,
            "{:?} tells {told:#?}\nnot {expected:#?}",
            self.volume
        );
    }

    /// Waits until `last` has been told, and nothing since the last time but lines of `on_the_way`, in that order. One
    /// controller writes what another has written, and skips what is over when it looks.
    pub(super) async fn tells_in_the_end(&self, on_the_way: &[&str], last: &str) {
        let from = self.heard.load(Ordering::Relaxed);
        let mut story = self.story.clone();
        let ends = |story: &Vec<String>| {
            let mut rest = on_the_way.iter();
            let end = story[from..]
                .iter()
                .position(|told| told == last || !rest.any(|expected| expected == told));
            end.map(|end| from + end)
        };
        let waited = timeout(PATIENCE, story.wait_for(|story| ends(story).is_some())).await;
        let end = waited.map(|story| ends(&story.unwrap()).unwrap());
        let told = self.story.borrow()[from..].to_vec();
        let is_last = end.is_ok_and(|end| {
            self.heard.store(end + 1, Ordering::Relaxed);
            told[end - from] == last
        });
        assert!(
            is_last,
            "{:?} tells {told:#?}\nnot {last} after some of {on_the_way:#?}",
            self.volume
        );
    }

    /// What was told last.
    pub(super) fn last(&self) -> String {
        self.story.borrow().last().unwrap().clone()
    }

    /// Asserts that nothing has been told since.
    pub(super) fn tells_no_more(&self) {
        let told = self.story.borrow()[self.heard.load(Ordering::Relaxed)..].to_vec();
        assert!(told.is_empty(), "{:?} tells {told:#?}", self.volume);
    }
}

/// What is told several times on end is one thing.
async fn follow(
    volume: Volume,
    ordered: Arc<Mutex<String>>,
    tell: watch::Sender<Vec<String>>,
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
            // After an error the watcher starts anew by itself.
            Ok(Event::Init | Event::Delete(_)) | Err(_) => continue,
        };
        let object = serde_json::to_value(object).unwrap();
        // What was ordered before may have been undone since.
        let is_current = object["spec"]["replicationState"] == ordered.lock().unwrap().as_str();
        let stands = !is_current || volume.stands_as(role_of(&object));
        let line = format!("{} | {}", in_short(&object), thoughts(&object, stands));
        tell.send_if_modified(|story| {
            let is_new = story.last() != Some(&line);
            if is_new {
                story.push(line);
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

/// Whether it is confirmed to be what it is ordered to be, and what would be asked before it is ordered to be primary.
/// `stands`: whether it really is so, by the driver.
fn thoughts(object: &Value, stands: bool) -> String {
    let mut thoughts = vec![match doubt(object, role_of(object)) {
        Some(_) => "doubt",
        None if stands => "confirmed",
        None => "confirmed WRONGLY",
    }];
    thoughts.extend(degraded(object).map(|_| "degraded"));
    thoughts.extend(not_synced(object).map(|_| "not synced"));
    thoughts.join(", ")
}

/// `secondary@2: Primary Promoted@1 Healthy@1`: conditions by their reasons, each with the generation it is told of.
fn in_short(object: &Value) -> String {
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
        // Nearly always so.
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
