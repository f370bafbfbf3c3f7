//! Caches that watches keep filled. They survive failures and skip objects that they cannot read.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{Api, ApiResource};
use kube::core::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::readable::{Reader, UnreadableObjects};
use super::retry::growing;
use crate::clients::Timeouts;
use crate::error_chain::causes;

/// Watches recover within about twice this (it, and as much again at random) after the API server does: a request must
/// not wait for us.
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// A watch that keeps failing is reported again after this many failures, about once a minute.
const REPORT_EVERY: u32 = 20;

/// A watch configuration whose requests stay open for as long as these timeouts say.
pub fn config(timeouts: &Timeouts) -> watcher::Config {
    watcher::Config::default().timeout(timeouts.watch_seconds())
}

pub fn backoff() -> watcher::ExponentialBackoff {
    growing(Duration::from_millis(250), LONGEST_BACKOFF).into()
}

/// Logs repeated failures of a watch at intervals, and its recovery.
#[derive(Debug)]
pub struct FailureLog<'a> {
    what: &'a str,
    failures: u32,
}

impl<'a> FailureLog<'a> {
    pub fn new(what: &'a str) -> Self {
        Self { what, failures: 0 }
    }

    pub fn failed(&mut self, error: &watcher::Error) {
        if self.failures.is_multiple_of(REPORT_EVERY) {
            tracing::warn!(
                what = self.what,
                error = causes(error),
                "cannot watch; trying again every few seconds, and using the cached state until then"
            );
        }
        self.failures += 1;
    }

    pub fn recovered(&mut self) {
        if self.failures > 0 {
            tracing::info!(what = self.what, failures = self.failures, "watching again");
            self.failures = 0;
        }
    }
}

/// The objects of a kind, untyped.
pub fn raw<K: Resource<DynamicType = ()>>(
    client: &Client,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<K>(&());
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Starts watches that skip objects that they cannot read.
#[expect(missing_debug_implementations, reason = "a Client has none")]
pub struct Watching<'a> {
    pub client: &'a Client,
    pub unreadable: &'a UnreadableObjects,
    pub tasks: &'a mut JoinSet<()>,
}

impl Watching<'_> {
    pub fn all<K>(
        &mut self,
        config: watcher::Config,
        changed: &[Arc<Notify>],
        adopted: fn(&Value) -> Option<K>,
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.start(raw::<K>(self.client, None), config, changed, adopted)
    }

    pub fn start<K>(
        &mut self,
        api: Api<DynamicObject>,
        config: watcher::Config,
        changed: &[Arc<Notify>],
        adopted: fn(&Value) -> Option<K>,
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (store, writer) = reflector::store();
        let (unreadable, notify) = (self.unreadable.clone(), changed.to_vec());
        let mut reader = Reader::new(store.clone(), unreadable, notify, adopted);
        let events = watcher::watcher(api, config).filter_map(move |event| {
            let event = event.map(|event| reader.take(event)).transpose();
            std::future::ready(event)
        });
        let what = K::plural(&());
        keep(what.into_owned(), events, writer, changed, self.tasks);
        store
    }
}

/// Keeps a cache filled from a watch that restarts itself.
pub fn watch<K>(
    what: &'static str,
    events: impl futures::Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    changed: &[Arc<Notify>],
    tasks: &mut JoinSet<()>,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let events = events
        // Never used, and often larger than everything else.
        .map(|event| {
            event.map(|event| event.modify(|object: &mut K| object.managed_fields_mut().clear()))
        });
    keep(what.to_owned(), events, writer, changed, tasks);
    store
}

fn keep<K>(
    what: String,
    events: impl futures::Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    writer: Writer<K>,
    changed: &[Arc<Notify>],
    tasks: &mut JoinSet<()>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let changed = changed.to_vec();
    let stream = events.backoff(backoff()).reflect(writer);
    tasks.spawn(async move {
        let mut stream = std::pin::pin!(stream);
        let mut log = FailureLog::new(&what);
        while let Some(event) = stream.next().await {
            match event {
                // An incomplete list does not count: the cache takes it over as a whole.
                Ok(Event::Init | Event::InitApply(_)) => continue,
                Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => log.recovered(),
                Err(error) => {
                    log.failed(&error);
                    continue;
                }
            }
            for notify in &changed {
                notify.notify_one();
            }
        }
    });
}
