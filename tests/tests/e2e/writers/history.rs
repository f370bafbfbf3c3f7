//! Compares every state that was stored during a test with the roles at that time.

use std::collections::BTreeMap;

use failover_core::namespace::{ExemptLabel, ObjectStanding};
use failover_core::rules::rule::Rule;
use failover_core::{NamespaceState, Role, RuleSet};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{ApiResource, GroupVersionKind};
use serde_json::Value;
use testbed::recorder::{Recorder, Revision};

use super::kinds;

/// Watches every ruled kind and the Namespaces until it is dropped.
pub(super) struct Observer(Recorder);

impl Observer {
    /// Returns once all watches have begun.
    pub(super) async fn start(client: Client) -> Self {
        Self(Recorder::start(&client, kinds()).await)
    }

    /// Waits until the last state of every object is observed; returns the violations.
    pub(super) async fn violations(self) -> Vec<String> {
        violations(&self.0.finish().await)
    }
}

/// The kinds to record: every ruled kind and the Namespaces.
pub(crate) fn kinds() -> Vec<ApiResource> {
    let rules = RuleSet::built_in();
    let ruled = rules.iter().map(|rule| {
        let gvk = GroupVersionKind::gvk(&rule.group, &rule.version, &rule.kind);
        ApiResource::from_gvk_with_plural(&gvk, &rule.resource)
    });
    let namespaces = ApiResource::erase::<Namespace>(&());
    ruled.chain([namespaces]).collect()
}

/// The states that should never have been stored. Kinds without a rule are ignored.
pub(crate) fn violations(revisions: &[Revision]) -> Vec<String> {
    let mut history = History::default();
    for revision in revisions {
        history.note(revision);
    }
    history.violations()
}

/// The values of an object's fields, in the order of its rule; `None` if it does not exist.
type Values = Option<Vec<Option<Value>>>;

#[derive(Default)]
struct History {
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
    fn note(&mut self, revision: &Revision) {
        let Revision {
            namespace, name, ..
        } = revision;
        let event = if revision.kind == "namespaces" {
            let text = |key: &str| -> Option<BTreeMap<String, String>> {
                let metadata = &revision.object.as_ref()?["metadata"];
                serde_json::from_value(metadata[key].clone()).ok()
            };
            let (labels, annotations) = (text("labels"), text("annotations"));
            let (state, _) = NamespaceState::parse(labels.as_ref(), annotations.as_ref());
            Event::Namespace(name.clone(), state)
        } else {
            let rules = RuleSet::built_in();
            let rule = rules.iter().find(|r| r.group_resource() == revision.kind);
            let Some(rule) = rule else { return };
            if revision.object.as_ref().is_some_and(|o| !rule.reaches(o)) {
                return;
            }
            Event::Object {
                namespace: namespace.clone(),
                name: name.clone(),
                rule: rule.clone(),
                values: revision.object.as_ref().map(|o| kinds::values(rule, o)),
            }
        };
        self.events.push((revision.number, event));
    }

    /// Objects that became more active while not primary, or passive while primary.
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
                    let role = match state.standing(&rule, &name, ExemptLabel::Unseen) {
                        ObjectStanding::Ruled(role) => Some(role),
                        ObjectStanding::Unknown => None,
                        ObjectStanding::Free => continue,
                    };
                    for (i, field) in kinds::fields(&rule).enumerate() {
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
                                "{namespace}/{}/{name}: {} went from {before:?} to {after:?} at revision {revision} while it was {role:?}",
                                rule.resource, field.pointer,
                            ));
                        }
                    }
                }
            }
        }
        violations
    }
}

/// The greater of two counts is more active; other values cannot be compared.
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
    fn violations_are_found(#[case] events: Vec<Event>, #[case] violations: usize) {
        let mut history = History::default();
        // The watches deliver in any order.
        for (revision, event) in events.into_iter().enumerate().rev() {
            history.events.push((revision as u64, event));
        }
        assert_eq!(history.violations().len(), violations);
    }
}
