//! Records every state that is stored while a test runs.
//!
//! Each state of an object is one revision of etcd, which counts over all kinds. So the order of changes is known, however
//! late the watches deliver them, and a state that lasted a millisecond is recorded like any other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::TryStreamExt as _;
use kube::api::{ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::eventually;

/// How long to wait before a retry if the API server does not answer.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// One state of one object.
#[derive(Clone, Debug)]
pub struct Revision {
    pub number: u64,
    /// As in `deployments.apps`.
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
    /// `None` if it was deleted.
    pub object: Option<Value>,
}

/// Watches kinds in all namespaces until it is dropped.
#[derive(Debug)]
pub struct Recorder {
    watched: Vec<(String, Api<DynamicObject>)>,
    watches: JoinSet<()>,
    noted: Notes,
}

#[derive(Clone, Debug, Default)]
struct Notes(Arc<Mutex<Vec<Revision>>>);

impl Recorder {
    /// Returns once all watches have begun. Existing objects are recorded with their last revision.
    pub async fn start(client: &Client, kinds: impl IntoIterator<Item = ApiResource>) -> Self {
        let noted = Notes::default();
        let mut watches = JoinSet::new();
        let mut watched = vec![];
        for kind in kinds {
            let name = group_resource(&kind);
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
            let list = api.list(&ListParams::default()).await;
            let list = list.expect("a kind that is served");
            for object in &list.items {
                noted.take(&name, object, false);
            }
            let version = list.metadata.resource_version.unwrap_or_default();
            watches.spawn(watch(name.clone(), api.clone(), version, noted.clone()));
            watched.push((name, api));
        }
        Self {
            watched,
            watches,
            noted,
        }
    }

    /// Waits until the last state of every object is recorded; returns all states in the order in which they were stored.
    pub async fn finish(mut self) -> Vec<Revision> {
        for (name, api) in &self.watched {
            let list = api.list(&ListParams::default()).await;
            let list = list.expect("a kind that is served");
            let last = list.items.iter().map(number).max();
            eventually("every stored state to be recorded", || async {
                let seen = self.noted.last(name);
                if seen >= last {
                    Ok(())
                } else {
                    Err((name, seen, last))
                }
            })
            .await;
        }
        assert!(
            self.watches.try_join_next().is_none(),
            "a watch has ended, and what came after is not known"
        );
        let mut all = self.noted.all().clone();
        all.sort_by_key(|revision| revision.number);
        all
    }
}

impl Notes {
    fn all(&self) -> MutexGuard<'_, Vec<Revision>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, kind: &str, object: &DynamicObject, deleted: bool) {
        let value = || serde_json::to_value(object).expect("an object is JSON");
        self.all().push(Revision {
            number: number(object),
            kind: kind.to_owned(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            object: (!deleted).then(value),
        });
    }

    fn last(&self, kind: &str) -> Option<u64> {
        let all = self.all();
        let of_kind = all.iter().filter(|revision| revision.kind == kind);
        of_kind.map(|revision| revision.number).max()
    }
}

/// As in `deployments.apps`.
fn group_resource(kind: &ApiResource) -> String {
    if kind.group.is_empty() {
        kind.plural.clone()
    } else {
        format!("{}.{}", kind.plural, kind.group)
    }
}

async fn watch(kind: String, api: Api<DynamicObject>, mut version: String, noted: Notes) {
    loop {
        let params = WatchParams::default().timeout(290);
        // Requests are retried while the API server is down: it keeps what happens meanwhile.
        let Ok(events) = api.watch(&params, &version).await else {
            tokio::time::sleep(ASK_AGAIN).await;
            continue;
        };
        let mut events = std::pin::pin!(events);
        // A broken watch resumes from the last revision: nothing is missed.
        while let Ok(Some(event)) = events.try_next().await {
            let (object, deleted) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) if status.code == 410 => {
                    version = caught_up(&kind, &api, &version, &noted).await;
                    break;
                }
                WatchEvent::Error(error) => panic!("{kind}: {error:?}"),
            };
            version = object.resource_version().unwrap_or_default();
            noted.take(&kind, &object, deleted);
        }
    }
}

/// A restarted API server does not know earlier revisions. Nothing was stored while it was down, so its current list
/// continues after the last recorded state.
async fn caught_up(kind: &str, api: &Api<DynamicObject>, version: &str, noted: &Notes) -> String {
    let seen = version.parse().unwrap_or_default();
    let list = api.list(&ListParams::default()).await;
    let list = list.expect("a kind that is served");
    for object in list.items.iter().filter(|object| number(object) > seen) {
        noted.take(kind, object, false);
    }
    list.metadata.resource_version.unwrap_or_default()
}

fn number(object: &DynamicObject) -> u64 {
    let version = object.resource_version().unwrap_or_default();
    version.parse().expect("etcd counts revisions")
}
