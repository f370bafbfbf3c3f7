//! Observes with own watches when the conditions of the waiting steps become true. The remaining duration of such a step is
//! what the controller needed to notice.

use std::collections::HashSet;
use std::pin::pin;
use std::time::{Duration, Instant};

use failover_core::Role;
use failover_core::api::StepName;
use failover_core::checks::{available, replication};
use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch::{self, Receiver};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::estate::PREFIX;

const PATIENCE: Duration = Duration::from_secs(600);

type Blocks = fn(&Value) -> bool;

/// The conditions of a transition to one of the roles.
pub(crate) struct World(Vec<Awaited>);

impl World {
    pub(crate) fn watch(client: &Client, to: Role) -> Self {
        let volumes = Awaited::watch(
            client,
            StepName::Replication,
            [replication::GROUP, "v1alpha1", "VolumeReplication"],
            match to {
                Role::Primary => |volume| replication::doubt(volume, Role::Primary).is_some(),
                Role::Secondary => |volume| replication::doubt(volume, Role::Secondary).is_some(),
            },
        );
        let others = match to {
            Role::Secondary => vec![Awaited::watch(
                client,
                StepName::PodsGone,
                ["", "v1", "Pod"],
                |_| true,
            )],
            Role::Primary => ["Deployment", "StatefulSet"]
                .map(|kind| {
                    let lacks: Blocks = |workload| available::lacking(workload).is_some();
                    Awaited::watch(client, StepName::Available, ["apps", "v1", kind], lacks)
                })
                .into(),
        };
        Self(others.into_iter().chain([volumes]).collect())
    }

    /// Since when nothing blocks a step; `None` if nothing of it is watched here, or something still blocks it.
    pub(crate) fn done_at(&self, step: StepName) -> Option<Instant> {
        let of_step = self.0.iter().filter(|awaited| awaited.step == step);
        of_step.filter_map(|awaited| *awaited.since.borrow()).max()
    }

    /// Waits until nothing blocks a step; returns since when.
    pub(crate) async fn until(&self, step: StepName) -> Instant {
        for awaited in self.0.iter().filter(|awaited| awaited.step == step) {
            let mut since = awaited.since.clone();
            let done = since.wait_for(Option::is_some);
            timeout(PATIENCE, done).await.unwrap().unwrap();
        }
        self.done_at(step).unwrap()
    }
}

/// Objects of a kind that one step waits for.
struct Awaited {
    step: StepName,
    /// Since when none of them blocks the step; `None` if some do, or they have not been listed yet.
    since: Receiver<Option<Instant>>,
    _watching: AbortOnDropHandle<()>,
}

impl Awaited {
    fn watch(client: &Client, step: StepName, kind: [&str; 3], blocks: Blocks) -> Self {
        let [group, version, kind] = kind;
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let api = Api::all_with(client.clone(), &ApiResource::from_gvk(&gvk));
        let (sender, since) = watch::channel(None);
        let watching = tokio::spawn(follow(api, kind.to_owned(), blocks, sender));
        Self {
            step,
            since,
            _watching: AbortOnDropHandle::new(watching),
        }
    }
}

async fn follow(
    api: Api<DynamicObject>,
    kind: String,
    blocks: Blocks,
    sender: watch::Sender<Option<Instant>>,
) {
    let events = watcher(api, watcher::Config::default()).default_backoff();
    let mut events = pin!(events);
    let mut left = HashSet::new();
    let mut is_listed = false;
    while let Some(event) = events.next().await {
        match event.unwrap() {
            Event::Init => left.clear(),
            Event::InitDone => is_listed = true,
            Event::Delete(object) => {
                left.remove(&key(&object));
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let key = key(&object);
                let mut value = serde_json::to_value(object).unwrap();
                // Lists of Kubernetes' own kinds omit it.
                value["kind"] = json!(kind);
                if key.0.starts_with(PREFIX) && blocks(&value) {
                    left.insert(key);
                } else {
                    left.remove(&key);
                }
            }
        }
        let none = is_listed && left.is_empty();
        sender.send_if_modified(|since| {
            let differs = since.is_some() != none;
            if differs {
                *since = none.then(Instant::now);
            }
            differs
        });
    }
}

fn key(object: &DynamicObject) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}
