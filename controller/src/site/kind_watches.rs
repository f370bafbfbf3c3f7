//! One metadata watch for each served kind that a query wants, limited to the objects that its selector selects.
//!
//! CRDs and RoleRules come and go, so discovery runs periodically. A kind counts as unknown until it has been listed
//! once: nothing ends only because a list is missing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failover_core::api::RoleRule;
use failover_core::object::ObjectKey;
use failover_core::{Rule, RuleSet};
use failover_runtime::error_chain::causes;
use failover_runtime::kube::discovery;
use failover_runtime::kube::watch::{FailureLog, backoff, config};
use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::{Event, watcher};
use kube::{Client, ResourceExt as _};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::timeouts::TIMEOUTS;

/// How often discovery runs. A new CRD may go unnoticed for this long.
const DISCOVER_EVERY: Duration = Duration::from_secs(30);

/// What to watch, and what to keep of it.
#[derive(Debug)]
pub(super) struct Query<V> {
    /// For messages.
    pub(super) what: &'static str,
    /// Label selector; empty: everything.
    pub(super) selector: &'static str,
    pub(super) wants: fn(&Rule) -> bool,
    pub(super) value: fn(&Metadata) -> V,
}

/// The metadata of an object.
pub(super) type Metadata = PartialObjectMeta<DynamicObject>;

/// What is known about the selected objects.
#[derive(Debug)]
pub(super) struct KindWatches<V> {
    query: Arc<Query<V>>,
    kinds: Arc<Mutex<BTreeMap<String, Kind<V>>>>,
}

/// Namespace and name.
pub(super) type Names<V> = BTreeMap<(String, String), V>;

#[derive(Debug)]
pub(super) struct Kind<V> {
    pub(super) rule: Rule,
    /// `None`: not listed yet.
    pub(super) objects: Option<Names<V>>,
    /// The watch; ends with the kind.
    #[expect(dead_code, reason = "kept for its drop")]
    watch: Option<AbortOnDropHandle<()>>,
}

impl<V> Clone for KindWatches<V> {
    fn clone(&self) -> Self {
        Self {
            query: Arc::clone(&self.query),
            kinds: Arc::clone(&self.kinds),
        }
    }
}

impl<V: Clone + Send + Sync + 'static> KindWatches<V> {
    /// Knows and watches nothing yet.
    pub(super) fn new(query: Query<V>) -> Self {
        Self {
            query: Arc::new(query),
            kinds: Arc::default(),
        }
    }

    /// Starts the watches. They end when `tasks` is dropped.
    pub(super) fn start(
        self,
        client: &Client,
        role_rules: Store<RoleRule>,
        changed: &Arc<Notify>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (known, client, changed) = (self.clone(), client.clone(), Arc::clone(changed));
        tasks.spawn(async move {
            loop {
                let role_rules = role_rules.state();
                let (rules, _) = RuleSet::with_role_rules(role_rules.iter().map(AsRef::as_ref));
                match discovery::served(&client, &rules).await {
                    Ok(served) => known.follow(&client, served, &changed),
                    Err(error) => tracing::warn!(
                        error = causes(&error),
                        "cannot discover the served kinds; using the last known ones"
                    ),
                }
                tokio::time::sleep(DISCOVER_EVERY).await;
            }
        });
        self
    }

    /// Watches exactly the wanted ones of these kinds.
    pub(super) fn follow(&self, client: &Client, served: Vec<Rule>, changed: &Arc<Notify>) {
        let mut kinds = self.kinds();
        let wanted = served.into_iter().filter(|rule| (self.query.wants)(rule));
        let served: BTreeMap<String, Rule> = wanted.map(|rule| (name_of(&rule), rule)).collect();
        kinds.retain(|kind, _| served.contains_key(kind));
        for (kind, rule) in served {
            kinds.entry(kind.clone()).or_insert_with(|| {
                let watch = watch(
                    self.clone(),
                    client.clone(),
                    kind,
                    resource(&rule),
                    Arc::clone(changed),
                );
                Kind {
                    rule,
                    objects: None,
                    watch: Some(AbortOnDropHandle::new(tokio::spawn(watch))),
                }
            });
        }
    }

    pub(super) fn kinds(&self) -> MutexGuard<'_, BTreeMap<String, Kind<V>>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the API server itself whether this object is selected: a watch may lag behind a recent write. `None` if
    /// that is unknown.
    pub(super) async fn ask(&self, client: &Client, key: &ObjectKey) -> Option<bool> {
        let found = self.find(client, key, self.query.selector).await?;
        Some(found.is_some())
    }

    /// Reads the object's metadata from the API server itself, if the object exists and the selector selects it. `None`
    /// if that is unknown.
    pub(super) async fn find(
        &self,
        client: &Client,
        key: &ObjectKey,
        selector: &str,
    ) -> Option<Option<Metadata>> {
        let rule = {
            let kinds = self.kinds();
            let mut kinds = kinds.values();
            let kind = kinds.find(|kind| kind.rule.resource == key.resource)?;
            kind.objects.as_ref()?;
            kind.rule.clone()
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &key.namespace, &resource(&rule));
        let mut params = ListParams::default().fields(&format!("metadata.name={}", key.name));
        if !selector.is_empty() {
            params = params.labels(selector);
        }
        match api.list_metadata(&params).await {
            Ok(list) => Some(list.items.into_iter().find(|o| o.name_any() == key.name)),
            Err(error) => {
                tracing::warn!(object = %key, error = causes(&error), "cannot check {}; leaving it unchanged", self.query.what);
                None
            }
        }
    }

    /// Stores what a watch of this kind would have found.
    #[cfg(test)]
    pub(super) fn found(&self, rule: &Rule, objects: Names<V>) {
        let kind = Kind {
            rule: rule.clone(),
            objects: Some(objects),
            watch: None,
        };
        self.kinds().insert(name_of(rule), kind);
    }

    /// Takes in an event. Returns whether something may have changed: a list counts once it is complete.
    pub(super) fn take_in(
        &self,
        kind: &str,
        event: Event<Metadata>,
        listed: &mut Names<V>,
    ) -> bool {
        let key = |object: &Metadata| (object.namespace().unwrap_or_default(), object.name_any());
        let value = self.query.value;
        let mut kinds = self.kinds();
        let Some(kind) = kinds.get_mut(kind) else {
            return false;
        };
        let changed = !matches!(event, Event::Init | Event::InitApply(_));
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.insert(key(&object), value(&object));
            }
            Event::InitDone => kind.objects = Some(std::mem::take(listed)),
            Event::Apply(object) => {
                let objects = kind.objects.get_or_insert_default();
                objects.insert(key(&object), value(&object));
            }
            Event::Delete(object) => {
                kind.objects.get_or_insert_default().remove(&key(&object));
            }
        }
        changed
    }
}

fn name_of(rule: &Rule) -> String {
    format!("{} {}", rule.group_resource(), rule.version)
}

fn resource(rule: &Rule) -> ApiResource {
    ApiResource {
        group: rule.group.to_string(),
        version: rule.version.to_string(),
        api_version: rule.api_version(),
        kind: rule.kind.to_string(),
        plural: rule.resource.to_string(),
    }
}

/// Watches one kind until it is dropped.
async fn watch<V: Clone + Send + Sync + 'static>(
    watches: KindWatches<V>,
    client: Client,
    kind: String,
    resource: ApiResource,
    changed: Arc<Notify>,
) {
    let api: Api<Metadata> = Api::all_with(client, &resource);
    let config = config(&TIMEOUTS).labels(watches.query.selector);
    let stream = watcher(api, config).backoff(backoff());
    let mut stream = std::pin::pin!(stream);
    let what = format!("{} {kind}", watches.query.what);
    let mut log = FailureLog::new(&what);
    let mut listed = Names::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                log.recovered();
                if watches.take_in(&kind, event, &mut listed) {
                    changed.notify_one();
                }
            }
            Err(error) => log.failed(&error),
        }
    }
}
