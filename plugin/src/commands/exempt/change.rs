//! What an exemption, or its end, would change: pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use failover_core::checks::batch;
use failover_core::names::{ENFORCE_LABEL, EXEMPT};
use failover_core::namespace::ObjectRole;
use failover_core::object::ObjectKey;
use failover_core::origin::Origins;
use failover_core::plan::{Item, plan_object, role_of};
use failover_core::transition::EnrolledNamespace;
use failover_core::{NamespaceState, Role, Rule};
use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{Kind, Requests, Survey};
use crate::error::Failure;
use crate::plan::object_roles::{compiled, is_labelled, name, orders, with};

/// An object that was named on the command line.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    pub(super) rule: Arc<Rule>,
    pub(super) key: ObjectKey,
    pub(super) object: Value,
}

impl Selected {
    pub(super) fn is_labelled(&self) -> bool {
        is_labelled(&self.object)
    }
}

/// Finds what was named.
pub(super) fn select(
    named: &[String],
    kinds: &[Kind],
    survey: &Survey,
    namespace: &str,
) -> Result<Vec<Selected>, Failure> {
    let mut selected: Vec<Selected> = Vec::new();
    for text in named {
        let (kind, object) = text
            .split_once('/')
            .filter(|(kind, name)| !kind.is_empty() && !name.is_empty() && !name.contains('/'))
            .ok_or_else(|| {
                Failure::usage(format!(
                    "{text:?} names no object: use TYPE/NAME, such as deployment/web"
                ))
            })?;
        let rule = kinds
            .iter()
            .find(|known| known.is_called(kind))
            .map(|known| &known.rule)
            .ok_or_else(|| {
                let known: Vec<_> = kinds.iter().map(|k| k.rule.group_resource()).collect();
                Failure::usage(format!(
                    "no rule covers {kind:?}, so the role of the site does not affect its objects"
                ))
                .next(format!("the kinds are {}", known.join(", ")))
            })?;
        let found = survey.found.iter().find(|found| {
            found.rule.is_of(&rule.group, &rule.resource) && name(&found.object) == object
        });
        let found = found.ok_or_else(|| {
            let details = survey
                .unseen
                .iter()
                .map(|unseen| format!("could not read {}: {}", unseen.what, unseen.why));
            Failure::error(format!(
                "there is no {}/{object} in namespace {namespace} that a rule reaches: nothing was changed",
                rule.resource
            ))
            .details(details)
        })?;
        let key = ObjectKey {
            namespace: namespace.to_owned(),
            resource: rule.resource.to_string(),
            name: object.to_owned(),
        };
        if selected.iter().all(|other| other.key != key) {
            selected.push(Selected {
                rule: Arc::clone(&found.rule),
                key,
                object: found.object.clone(),
            });
        }
    }
    Ok(selected)
}

/// What becomes of the objects.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) role: Option<Role>,
    pub(super) keys: Vec<ObjectKey>,
    /// The namespace as it is to be.
    pub(super) state: NamespaceState,
    items: Vec<Item>,
    /// CronJobs that are resumed, as they are now. Their missed runs are not skipped: only a promotion does that.
    resumed: Vec<(ObjectKey, Value)>,
    /// Labels that have to be written, whatever else stays as it is.
    labels: bool,
    before: NamespaceState,
    remarks: Vec<String>,
}

/// Decides what comes into force. What a policy orders of an object is not this command's to change.
pub(super) fn change(
    namespace: &EnrolledNamespace,
    role: Option<Role>,
    selected: &[Selected],
    labelled: &BTreeSet<ObjectKey>,
    requests: &Requests,
    exempt: bool,
) -> Result<Change, Failure> {
    let mut asked = labelled.clone();
    let mut state = namespace.state.clone();
    for object in selected {
        if exempt {
            asked.insert(object.key.clone());
        } else {
            asked.remove(&object.key);
        }
        let entry = exempt.then_some(ObjectRole::Exempt);
        state = with(&state, &object.key, entry);
    }
    // With an exemption in force the controller keeps it; with nothing in force it says what is to be instead.
    let hand_made = EnrolledNamespace {
        name: namespace.name.clone(),
        state: state.clone(),
    };
    let result = compiled(
        std::slice::from_ref(&hand_made),
        &asked,
        &BTreeSet::new(),
        &Origins::default(),
        requests,
    );
    for object in selected {
        if let Some(policy) = orders(&result, requests, &object.key) {
            return Err(Failure::refused(format!(
                "FailoverPolicy {policy} sets the role of {} and takes precedence over an exemption: nothing was changed",
                object.key
            ))
            .next("change or delete the policy"));
        }
        let kept = result.objects[&namespace.name].get(&object.key.resource, &object.key.name);
        state = with(&state, &object.key, kept);
        if exempt && kept != Some(ObjectRole::Exempt) {
            return Err(Failure::refused(format!(
                "{} cannot be exempt: nothing was changed",
                object.key
            ))
            .details(result.held.iter().map(|held| held.why.clone())));
        }
    }
    let mut items = Vec::new();
    let mut resumed = Vec::new();
    for object in selected {
        // As it will be labelled.
        let mut labelled = object.object.clone();
        let labels = &mut labelled["metadata"]["labels"];
        if exempt {
            labels[ENFORCE_LABEL] = Value::from(EXEMPT);
        } else if let Some(labels) = labels.as_object_mut() {
            labels.remove(ENFORCE_LABEL);
        }
        let Some(role) = role_of(&object.rule, &state, &labelled) else {
            continue;
        };
        let planned = plan_object(&object.rule, role, &namespace.name, &object.object);
        let item = planned.map_err(|error| {
            Failure::refused(format!(
                "{} cannot be changed: {error}: nothing was changed",
                object.key
            ))
        })?;
        let resumes =
            |item: &Item| item.kind == "CronJob" && batch::is_resumed(&object.object, &item.after);
        if item.as_ref().is_some_and(resumes) {
            resumed.push((object.key.clone(), object.object.clone()));
        }
        items.extend(item);
    }
    let remarks = selected
        .iter()
        .filter(|object| !exempt && object.is_labelled())
        .filter_map(|object| {
            let owner = owner_of_label(&object.object)?;
            Some(format!(
                "the label of {} comes from {owner}: while that applies the label, the exemption is requested again",
                object.key
            ))
        })
        .collect();
    Ok(Change {
        role,
        keys: selected.iter().map(|object| object.key.clone()).collect(),
        before: namespace.state.clone(),
        labels: selected.iter().any(|object| object.is_labelled() != exempt),
        state,
        items,
        resumed,
        remarks,
    })
}

impl Change {
    pub(super) fn is_nothing(&self) -> bool {
        !self.labels && self.state == self.before && self.changes().is_empty()
    }

    /// Whether anything becomes active by it.
    pub(super) fn opens(&self) -> bool {
        let exempt = ObjectRole::Exempt;
        self.keys
            .iter()
            .any(|key| self.state.objects.get(&key.resource, &key.name) == Some(exempt))
            || self.items.iter().any(|item| item.role == Role::Primary)
    }

    pub(super) fn objects(&self) -> Vec<String> {
        self.keys.iter().map(ToString::to_string).collect()
    }

    /// Field by field.
    pub(super) fn changes(&self) -> Vec<String> {
        let changes = self.items.iter().flat_map(|item| {
            let changes = item.rewrite.changes.iter();
            let object = item.object.to_string();
            changes.map(move |change| format!("{object} {change}"))
        });
        changes.collect()
    }

    /// The CronJobs that start a run that they missed, and which.
    pub(super) fn missed_runs(&self, now: Timestamp) -> Vec<(String, Timestamp)> {
        let missed = |(key, before): &(ObjectKey, Value)| {
            Some((key.to_string(), batch::missed_run(before, now)?))
        };
        self.resumed.iter().filter_map(missed).collect()
    }

    pub(super) fn remarks(&self) -> Vec<String> {
        self.remarks.clone()
    }

    /// The state of an object after the change, in words.
    pub(super) fn stands(&self, key: &ObjectKey) -> &'static str {
        match self.state.objects.get(&key.resource, &key.name) {
            Some(ObjectRole::Exempt) => "is exempt",
            Some(ObjectRole::Primary) => "has role primary",
            Some(ObjectRole::Secondary) => "has role secondary",
            Some(ObjectRole::Orphaned) => "stays passive, because its installer is gone",
            Some(ObjectRole::Site | ObjectRole::ExemptIfLabelled) | None => "follows its namespace",
        }
    }
}

/// Who else applies the exempt label.
fn owner_of_label(object: &Value) -> Option<&str> {
    const FIELD: &str = "f:failover.dev/enforce";
    let entries = object["metadata"]["managedFields"].as_array()?;
    let owner = entries.iter().find(|entry| {
        entry["operation"] == "Apply"
            && !entry["fieldsV1"]["f:metadata"]["f:labels"][FIELD].is_null()
    })?;
    owner["manager"].as_str()
}
