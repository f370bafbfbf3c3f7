//! Single cases, by subject. The general properties are in [`super::properties`].

mod exemptions;
mod orphans;
mod policies;

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::namespace::{Enforcement, NamespaceState};
use crate::role::Roles;

const PRIMARY: Roles = roles(Role::Primary);
const SECONDARY: Roles = roles(Role::Secondary);

const fn roles(role: Role) -> Roles {
    Roles {
        volumes: Some(role),
        workloads: Some(role),
        gitops: Some(role),
        traffic: Some(role),
    }
}

/// The namespace `shop` with these entries in force.
fn shop(enforcement: Enforcement, roles: Roles, objects: &str) -> EnrolledNamespace {
    let annotations = BTreeMap::from([(
        crate::names::OBJECTS_ANNOTATION.to_owned(),
        objects.to_owned(),
    )]);
    let (state, problems) = NamespaceState::parse(None, Some(&annotations));
    assert!(problems.is_empty(), "{problems:?}");
    EnrolledNamespace {
        name: "shop".into(),
        state: NamespaceState {
            enforcement: Some(enforcement),
            roles,
            ..state
        },
    }
}

/// A policy whose transition, if it orders a state, has reached all layers.
fn policy(name: &str, state: Option<&str>, resources: &[(&str, &str)]) -> FailoverPolicy {
    let resources: Vec<Value> = resources
        .iter()
        .map(|(kind, name)| json!({"kind": kind, "name": name}))
        .collect();
    let mut policy = json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "FailoverPolicy",
        "metadata": {"namespace": "shop", "name": name, "generation": 1},
        "spec": {"managedResources": resources},
    });
    if let Some(state) = state {
        policy["spec"]["desiredState"] = json!(state);
    }
    let mut policy = serde_json::from_value(policy).unwrap();
    transition_to(&mut policy, &Layer::ALL);
    policy
}

/// The transition of the policy's current generation has reached these layers.
pub(super) fn transition_to(policy: &mut FailoverPolicy, layers: &[Layer]) {
    let status = policy.status.get_or_insert_default();
    status.observed_generation = policy.metadata.generation;
    let named = policy.spec.managed_resources.iter();
    status.resources = named.map(|named| reported(named, None)).collect();
    let Some(state) = policy.spec.desired_state else {
        return;
    };
    let mut ordered = Roles::default();
    for layer in layers {
        ordered.set(*layer, Some(state));
    }
    let journal = json!({
        "id": "r1", "to": state, "epoch": 1, "layers": ordered, "startedAt": "2026-01-01T00:00:00Z", "steps": [],
    });
    status.transition = Some(serde_json::from_value(journal).unwrap());
}

fn reported(
    named: &ManagedResource,
    reason: Option<ManagedResourceReason>,
) -> crate::api::ManagedResourceStatus {
    crate::api::ManagedResourceStatus {
        kind: named.kind,
        name: named.name.clone(),
        namespace: named.namespace.clone().unwrap_or_else(|| "shop".into()),
        state: None,
        since: None,
        reason,
        error: None,
    }
}

/// Updates the status of a policy with its result.
pub(super) fn report(policy: &mut FailoverPolicy, result: &PolicyResult) {
    let found = result.resources.iter();
    let resources = found.map(|found| {
        let refused = found.refused.as_ref();
        reported(&found.resource, refused.map(|(reason, _)| *reason))
    });
    let status = policy.status.get_or_insert_default();
    status.observed_generation = policy.metadata.generation;
    status.resources = resources.collect();
}

const WEB: &[(&str, &str)] = &[("Deployment", "web")];

fn run(
    namespace: &EnrolledNamespace,
    exempt: &[&str],
    policies: &[&FailoverPolicy],
    settled: bool,
) -> Compiled {
    let exempt = exempt
        .iter()
        .map(|name| ObjectKey {
            namespace: "shop".into(),
            resource: "deployments".into(),
            name: (*name).to_owned(),
        })
        .collect();
    compile(&Inputs {
        namespaces: std::slice::from_ref(namespace),
        exempt: &exempt,
        policies,
        rules: &RuleSet::built_in(),
        settled,
        unused: &BTreeSet::new(),
        absent: &BTreeSet::new(),
        origins: &crate::origin::Origins::default(),
    })
}

fn objects(compiled: &Compiled) -> String {
    compiled.objects["shop"].to_string()
}

fn reasons(compiled: &Compiled) -> Vec<Option<ManagedResourceReason>> {
    let resources = compiled.policies.iter().flat_map(|p| &p.resources);
    resources
        .map(|r| r.refused.as_ref().map(|(reason, _)| *reason))
        .collect()
}
