//! Everything that was ever stored while a test ran, held against the roles of its time.
//!
//! Each state of each ruled object and of each Namespace is one revision of etcd, which counts over all kinds. So the order
//! in which a role and an object changed is known, however late the watches deliver them, and a state that lasted a
//! millisecond is seen like any other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use failover_core::rule::Rule;
use failover_core::{NamespaceState, Role, RuleSet};
use futures::TryStreamExt as _;
use kube::api::{
    ApiResource, DynamicObject, GroupVersionKind, ListParams, WatchEvent, WatchParams,
};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use testbed::eventually;
use tokio::task::JoinSet;

use super::kinds;

/// Watches every ruled kind, and the Namespaces, until it is dropped.
pub(super) struct Observer {
    client: Client,
    watches: JoinSet<()>,
    history: Arc<Mutex<History>>,
}

impl Observer {
    /// Returns once everything is watched.
    pub(super) async fn start(client: Client) -> Self {
        let history = Arc::new(Mutex::new(History::default()));
        let mut watches = JoinSet::new();
        for watched in Watched::all() {
            let api = watched.api(&client);
            let list = api.list(&ListParams::default()).await.unwrap();
            let version = list.metadata.resource_version.unwrap_or_default();
            for object in &list.items {
                history.lock().unwrap().note(&watched, object, false);
            }
            watches.spawn(watch(watched, api, version, Arc::clone(&history)));
        }
        Self {
            client,
            watches,
            history,
        }
    }

    /// Waits until the last state of every object has been seen, and tells what should never have been.
    pub(super) async fn violations(mut self) -> Vec<String> {
        for watched in Watched::all() {
            let api = watched.api(&self.client);
            let list = api.list(&ListParams::default()).await.unwrap();
            let last = list.items.iter().map(revision).max();
            eventually("everything that is stored to be seen", || async {
                let seen = self.history.lock().unwrap().seen(&watched);
                if seen >= last {
                    Ok(())
                } else {
                    Err((watched.name(), seen, last))
                }
            })
            .await;
        }
        assert!(
            self.watches.try_join_next().is_none(),
            "a watch has ended, and what came after is not known"
        );
        self.history.lock().unwrap().violations()
    }
}

#[derive(Clone)]
enum Watched {
    Namespaces,
    Objects(Rule),
}

impl Watched {
    fn all() -> Vec<Self> {
        let rules = RuleSet::built_in();
        let objects = rules.iter().cloned().map(Self::Objects);
        std::iter::once(Self::Namespaces).chain(objects).collect()
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        let (gvk, plural) = match self {
            Self::Namespaces => (GroupVersionKind::gvk("", "v1", "Namespace"), "namespaces"),
            Self::Objects(rule) => (
                GroupVersionKind::gvk(&rule.group, &rule.version, &rule.kind),
                &*rule.resource,
            ),
        };
        Api::all_with(
            client.clone(),
            &ApiResource::from_gvk_with_plural(&gvk, plural),
        )
    }

    fn name(&self) -> String {
        match self {
            Self::Namespaces => "namespaces".to_owned(),
            Self::Objects(rule) => rule.group_resource(),
        }
    }
}

async fn watch(
    watched: Watched,
    api: Api<DynamicObject>,
    mut version: String,
    history: Arc<Mutex<History>>,
) {
    loop {
        let params = WatchParams::default().timeout(290);
        let mut events = std::pin::pin!(api.watch(&params, &version).await.unwrap());
        // A stream that breaks is taken up again from the last revision: nothing is missed.
        while let Ok(Some(event)) = events.try_next().await {
            let (object, deleted) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(error) => panic!("{}: {error:?}", watched.name()),
            };
            version = object.resource_version().unwrap_or_default();
            history.lock().unwrap().note(&watched, &object, deleted);
        }
    }
}

fn revision(object: &DynamicObject) -> u64 {
    let version = object.resource_version().unwrap_or_default();
    version.parse().expect("etcd counts revisions")
}

/// The values of an object's fields, in the order of its rule; `None`: it does not exist.
type Values = Option<Vec<Option<Value>>>;

#[derive(Default)]
struct History {
    seen: BTreeMap<String, u64>,
    events: Vec<(u64, Event)>,
}

#[derive(Clone, Debug)]
enum Event {
    Namespace(String, NamespaceState),
    Object {
        namespace: String,
        name: String,
        rule: Rule,
        values: Values,
    },
}

impl History {
    fn note(&mut self, watched: &Watched, object: &DynamicObject, deleted: bool) {
        let revision = revision(object);
        let seen = self.seen.entry(watched.name()).or_default();
        *seen = revision.max(*seen);
        let event = match watched {
            Watched::Namespaces => {
                let (state, _) = NamespaceState::parse(
                    object.metadata.labels.as_ref().filter(|_| !deleted),
                    object.metadata.annotations.as_ref(),
                );
                Event::Namespace(object.name_any(), state)
            }
            Watched::Objects(rule) => {
                let value = serde_json::to_value(object).unwrap();
                if !rule.reaches(&value) {
                    return;
                }
                Event::Object {
                    namespace: object.namespace().unwrap_or_default(),
                    name: object.name_any(),
                    rule: rule.clone(),
                    values: (!deleted).then(|| kinds::values(rule, &value)),
                }
            }
        };
        self.events.push((revision, event));
    }

    fn seen(&self, watched: &Watched) -> Option<u64> {
        self.seen.get(&watched.name()).copied()
    }

    /// No object became more active while its layer was not primary, nor passive while it was.
    fn violations(&self) -> Vec<String> {
        let mut events = self.events.clone();
        events.sort_by_key(|(revision, _)| *revision);
        let mut namespaces = BTreeMap::new();
        let mut objects: BTreeMap<(String, String, String), Values> = BTreeMap::new();
        let mut violations = Vec::new();
        for (revision, event) in events {
            match event {
                Event::Namespace(name, state) => {
                    namespaces.insert(name, state);
                }
                Event::Object {
                    namespace,
                    name,
                    rule,
                    values,
                } => {
                    let key = (namespace.clone(), rule.group_resource(), name.clone());
                    let before = objects.insert(key, values.clone()).flatten();
                    let (Some(after), Some(state)) = (values, namespaces.get(&namespace)) else {
                        continue;
                    };
                    if state.enforcement.is_none() {
                        continue;
                    }
                    let role = state.roles.of(rule.layer);
                    for (i, field) in rule.fields.iter().enumerate() {
                        let after = after[i].as_ref();
                        let before = before.as_ref().map(|values| values[i].as_ref());
                        let was_active = before.is_some_and(|value| !field.is_passive(value));
                        let before = before.flatten();
                        let wrong = match role {
                            Some(Role::Primary) => was_active && field.is_passive(after),
                            Some(Role::Secondary) | None => {
                                !field.is_passive(after)
                                    && (!was_active || is_greater(after, before))
                            }
                        };
                        if wrong {
                            violations.push(format!(
                                "{namespace}/{}/{name}: {} went from {before:?} to {after:?} at revision {revision} while {} was {role:?}",
                                rule.resource, field.pointer, rule.layer.label(),
                            ));
                        }
                    }
                }
            }
        }
        violations
    }
}

/// Of two counts the greater is more active; of other values nothing is known.
fn is_greater(value: Option<&Value>, than: Option<&Value>) -> bool {
    let count = |value: Option<&Value>| value.and_then(Value::as_i64);
    matches!((count(value), count(than)), (Some(value), Some(than)) if value > than)
}

#[cfg(test)]
mod tests {
    use failover_core::names::ENFORCE_LABEL;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn role(workloads: &str) -> Event {
        let labels = [
            (ENFORCE_LABEL, "enabled"),
            ("failover.dev/workloads", workloads),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let (state, _) = NamespaceState::parse(Some(&labels.into()), None);
        Event::Namespace("shop".to_owned(), state)
    }

    fn web(replicas: Option<i64>) -> Event {
        let rules = RuleSet::built_in();
        Event::Object {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            rule: rules.find("apps", "deployments").unwrap().clone(),
            values: replicas.map(|replicas| vec![Some(json!(replicas))]),
        }
    }

    #[rstest]
    #[case::demoted(vec![role("primary"), web(Some(3)), role("secondary"), web(Some(3)), web(Some(0))], 0)]
    #[case::raised(vec![role("secondary"), web(Some(3)), web(Some(4))], 2)]
    #[case::for_a_moment(vec![role("secondary"), web(Some(0)), web(Some(1)), web(Some(0))], 1)]
    #[case::created(vec![role("secondary"), web(Some(1))], 1)]
    #[case::created_anew(vec![role("secondary"), web(Some(0)), web(None), web(Some(1))], 1)]
    #[case::role_not_known(vec![role(""), web(Some(1))], 1)]
    #[case::promoted(vec![role("secondary"), web(Some(0)), role("primary"), web(Some(3))], 0)]
    #[case::passive_on_a_primary(vec![role("primary"), web(Some(3)), web(Some(0)), web(Some(3))], 1)]
    #[case::as_delivered_not_as_stored(vec![web(Some(3)), role("secondary")], 0)]
    fn what_must_not_be_is_found(#[case] events: Vec<Event>, #[case] violations: usize) {
        let mut history = History::default();
        // The watches deliver in any order.
        for (revision, event) in events.into_iter().enumerate().rev() {
            history.events.push((revision as u64, event));
        }
        assert_eq!(history.violations().len(), violations);
    }
}
