//! Objects with a role or an exemption of their own, and those that ask for one: pure, by the very function that the controller
//! compiles with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use failover_core::api::{FailoverPolicy, ManagedResourceReason, condition};
use failover_core::names::{ENFORCE_LABEL, EXEMPT};
use failover_core::namespace::ObjectRole;
use failover_core::object::ObjectKey;
use failover_core::object_roles::{Compiled, Inputs, compile};
use failover_core::origin::{Origin, Origins};
use failover_core::transition::EnrolledNamespace;
use failover_core::{Layer, NamespaceState, Role};
use serde::Serialize;
use serde_json::Value;

use crate::cluster::{Requests, StoredObject, Survey};

/// An object with a role or an exemption of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectRoleEntry {
    pub object: String,
    /// `exempt`, `exempt-if-labelled`, `site`, `primary`, `secondary` or `orphaned`.
    pub role: &'static str,
}

/// A FailoverPolicy and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub name: String,
    /// `null`: its objects follow the site.
    pub desired_state: Option<Role>,
    /// `null`: no controller has said anything of it yet.
    pub ready: Option<bool>,
    pub reason: String,
    pub message: String,
}

/// What is in force of single objects.
pub fn in_force(enrolled: &[EnrolledNamespace]) -> Vec<ObjectRoleEntry> {
    let of_namespace = |namespace: &EnrolledNamespace| -> Vec<ObjectRoleEntry> {
        let objects = namespace.state.objects.iter();
        objects
            .map(|(resource, name, role)| ObjectRoleEntry {
                object: format!("{}/{resource}/{name}", namespace.name),
                role: role.as_str(),
            })
            .collect()
    };
    enrolled.iter().flat_map(of_namespace).collect()
}

/// What is in force once the site has settled, with what is held back and what is orphaned.
pub fn settled(enrolled: &[EnrolledNamespace], survey: &Survey, requests: &Requests) -> Compiled {
    let (exempt, absent) = (labelled(survey), absent(enrolled, survey));
    compiled(enrolled, &exempt, &absent, &origins(survey), requests)
}

/// The exemptions whose objects are not there.
fn absent(enrolled: &[EnrolledNamespace], survey: &Survey) -> BTreeSet<ObjectKey> {
    let there: BTreeSet<ObjectKey> = survey.found.iter().map(key).collect();
    let exemptions = enrolled.iter().flat_map(|namespace| {
        let objects = namespace.state.objects.iter();
        let exempt = objects
            .filter(|(.., role)| matches!(role, ObjectRole::Exempt | ObjectRole::ExemptIfLabelled));
        exempt.map(|(resource, name, _)| ObjectKey {
            namespace: namespace.name.clone(),
            resource: resource.to_owned(),
            name: name.to_owned(),
        })
    });
    exemptions.filter(|key| !there.contains(key)).collect()
}

/// What was found, with what is orphaned in force.
pub fn with_orphans(mut survey: Survey, compiled: &Compiled) -> Survey {
    for found in &mut survey.found {
        let key = key(found);
        if compiled.orphaned.iter().any(|held| held.object == key) {
            let mut namespace = (*found.namespace).clone();
            let orphaned = Some(ObjectRole::Orphaned);
            namespace.state = with(&namespace.state, &key, orphaned);
            found.namespace = Arc::new(namespace);
        }
    }
    survey
}

/// What installed what, as far as it was found.
pub fn origins(survey: &Survey) -> Origins {
    let mut origins = Origins {
        listed: survey.listed.clone(),
        ..Origins::default()
    };
    let texts = |value: &Value| -> BTreeMap<String, String> {
        let entries = value.as_object().into_iter().flatten();
        let texts = entries.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
        texts.collect()
    };
    for found in survey.found.iter().filter(|f| Origins::concerns(&f.rule)) {
        let metadata = &found.object["metadata"];
        let origin = Origin::of(
            &texts(&metadata["labels"]),
            &texts(&metadata["annotations"]),
        );
        origins
            .installed
            .extend(origin.map(|origin| (key(found), origin)));
        if found.rule.layer == Layer::Gitops {
            origins.existing.insert(key(found));
        }
    }
    origins
}

fn key(found: &StoredObject) -> ObjectKey {
    ObjectKey {
        namespace: found.namespace.name.clone(),
        resource: found.rule.resource.to_string(),
        name: name(&found.object).to_owned(),
    }
}

/// What would be in force if just these objects carried the exempt label.
pub fn compiled(
    enrolled: &[EnrolledNamespace],
    exempt: &BTreeSet<ObjectKey>,
    absent: &BTreeSet<ObjectKey>,
    origins: &Origins,
    requests: &Requests,
) -> Compiled {
    let policies: Vec<&FailoverPolicy> = requests.policies.iter().collect();
    compile(&Inputs {
        namespaces: enrolled,
        exempt,
        absent,
        policies: &policies,
        rules: &requests.rules,
        settled: true,
        unused: &BTreeSet::new(),
        origins,
    })
}

/// The objects that carry the exempt label.
pub fn labelled(survey: &Survey) -> BTreeSet<ObjectKey> {
    let found = survey.found.iter();
    found
        .filter(|found| is_labelled(&found.object))
        .map(key)
        .collect()
}

pub fn is_labelled(object: &Value) -> bool {
    object["metadata"]["labels"][ENFORCE_LABEL] == EXEMPT
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The same namespace with this in force of one object.
pub fn with(state: &NamespaceState, key: &ObjectKey, role: Option<ObjectRole>) -> NamespaceState {
    let mut state = state.clone();
    match role {
        Some(role) => state.objects.set(&key.resource, &key.name, role),
        None => {
            state.objects.remove(&key.resource, &key.name);
        }
    }
    state
}

/// What the controller has said of each policy.
pub fn policies(requests: &Requests) -> Vec<Policy> {
    let mut policies: Vec<Policy> = requests
        .policies
        .iter()
        .map(|policy| {
            let status = policy.status.clone().unwrap_or_default();
            let ready = status.conditions.iter().find(|c| {
                c.type_ == condition::READY && c.observed_generation == policy.metadata.generation
            });
            let metadata = &policy.metadata;
            Policy {
                name: format!(
                    "{}/{}",
                    metadata.namespace.as_deref().unwrap_or_default(),
                    metadata.name.as_deref().unwrap_or_default()
                ),
                desired_state: policy.spec.desired_state,
                ready: ready.map(|ready| ready.status == "True"),
                reason: ready.map(|r| r.reason.clone()).unwrap_or_default(),
                message: ready.map(|r| r.message.clone()).unwrap_or_default(),
            }
        })
        .collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    policies
}

/// Whether a policy, and not a label, decides about an object.
pub fn orders<'a>(compiled: &'a Compiled, requests: &Requests, key: &ObjectKey) -> Option<&'a str> {
    compiled.policies.iter().find_map(|result| {
        let policy = requests.policies.iter().find(|p| result.is_of(p))?;
        let names = result
            .resources
            .iter()
            .find(|found| found.object.as_ref() == Some(key))?;
        let refused = names.refused.as_ref().map(|(reason, _)| *reason);
        (policy.spec.desired_state.is_some() || refused == Some(ManagedResourceReason::Conflict))
            .then_some(result.name.as_str())
    })
}
