//! The backstop: admission policies that the API server evaluates itself, generated from the rule table.
//!
//! ```text
//!   Rule ──► policy() ──► ValidatingAdmissionPolicy ─┐
//!        └─► binding() ─► its binding ───────────────┴─► manifests/policies/activation.yaml, or `rule apply`
//! ```
//!
//! The webhook rewrites, and may be down. These policies cannot be down: while an object's role is not primary they
//! refuse every write that would make the object *more active*, and allow everything else. They read the same roles as
//! the webhook: the Namespace's labels and [`OBJECTS_ANNOTATION`](crate::names::OBJECTS_ANNOTATION), from
//! `namespaceObject`. There is no parameter object, because a missing one refuses with 422, which makes Flux delete and
//! create anew; every refusal here is 403 Forbidden. For the same reason no expression may fail: everything is read by
//! optional selection on `dyn`.
//!
//! They also keep a record from being lost while the webhook, which would restore it, is down: `rollout undo` and a PUT
//! bring old annotations, and a passive object without a record stays passive on a primary. A policy can check only
//! that the record exists, not its content, because the webhook's own changes arrive by the same request.
//!
//! The controller's own writes have one more check: what they make passive they must record.
//!
//! An object that replicates a volume is also protected from deletion: see [`deletion`].
//!
//! `cargo xtask generate` writes the checked-in files.

mod activation;
mod cel;
mod deletion;
mod missing;
mod record;
mod role;

use serde_json::{Value, json};

use crate::names::{ENFORCE_LABEL, GROUP, NEVER_ENROLLED};
use crate::rules::rule::{Active, Field, Rule};
use crate::rules::set::RuleSet;
pub use activation::policy;
pub use missing::missing;

/// Selects every object of the backstop, built in or of a RoleRule.
pub const SELECTOR: &str =
    "app.kubernetes.io/name=kubectl-failover,app.kubernetes.io/component=backstop";

/// `deployments.apps.failover.dev`: the name of the policy for a rule's kind, and of its binding.
pub fn name(rule: &Rule) -> String {
    format!("{}.{GROUP}", rule.group_resource())
}

/// The binding that puts the policy of a rule in force.
pub fn binding(rule: &Rule) -> Value {
    binding_of(&name(rule))
}

/// A file of `manifests/policies/` that is generated from the built-in rules.
#[derive(Clone, Debug)]
pub struct File {
    pub name: &'static str,
    /// The purpose of its policies, in one line.
    pub about: &'static str,
    /// Each policy, followed by its binding.
    pub objects: Vec<Value>,
}

/// The files of the built-in backstop.
pub fn files() -> [File; 2] {
    let of = |each: fn(&Rule) -> Vec<[Value; 2]>| {
        let rules = RuleSet::built_in();
        rules.iter().flat_map(each).flatten().collect()
    };
    [
        File {
            name: "activation.yaml",
            about: "While an object's role is not primary, nothing may make it more active than it was. See core/src/backstop.",
            objects: of(|rule| vec![[policy(rule), binding(rule)]]),
        },
        File {
            name: "deletion.yaml",
            about: "While its role is not primary, what replicates a volume may not be deleted. See core/src/backstop/deletion.rs.",
            objects: of(|rule| deletion::policy(rule).into_iter().collect()),
        },
    ]
}

/// All shipped policies for the kind of a rule, each with its binding.
pub fn all_about(rule: &Rule) -> Vec<[Value; 2]> {
    let mut all = vec![[policy(rule), binding(rule)]];
    all.extend(deletion::policy(rule));
    all
}

fn policy_of(name: &str, about: &Value, variables: &[Value], validations: &[Value]) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": metadata(name),
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": enrolled(),
                "resourceRules": [about],
            },
            "variables": variables,
            "validations": validations,
        },
    })
}

fn binding_of(name: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": metadata(name),
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    })
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"app.kubernetes.io/name": "kubectl-failover", "app.kubernetes.io/component": "backstop"},
    })
}

/// The namespaces that the webhook is called for, too.
fn enrolled() -> Value {
    json!({"matchExpressions": [
        {"key": ENFORCE_LABEL, "operator": "In", "values": ["enabled", "policy"]},
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": NEVER_ENROLLED},
    ]})
}

fn variable(name: &str, expression: &str) -> Value {
    json!({"name": name, "expression": expression})
}

/// All values that count as passive, the forced one first; `null` is absence.
fn passive_values(field: &Field) -> Vec<&Value> {
    std::iter::once(&field.passive)
        .chain(&field.also_passive)
        .chain(field.absent_is_passive.then_some(&Value::Null))
        .collect()
}

fn is_fixed(field: &Field) -> bool {
    matches!(field.active, Active::Fixed(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_forbidden_and_no_policy_has_a_parameter() {
        for [policy, binding] in RuleSet::built_in().iter().flat_map(all_about) {
            assert_eq!(policy["spec"]["paramKind"], Value::Null);
            assert_eq!(binding["spec"]["paramRef"], Value::Null);
            for validation in policy["spec"]["validations"].as_array().unwrap() {
                assert_eq!(validation["reason"], "Forbidden", "{}", policy["metadata"]);
            }
        }
    }
}
