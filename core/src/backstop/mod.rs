//! The backstop: admission policies that the API server evaluates itself, generated from the rule table.
//!
//! ```text
//!   Rule ──► policy() ──► ValidatingAdmissionPolicy ─┐
//!        └─► binding() ─► its binding ───────────────┴─► manifests/policies/activation.yaml, or `rule apply`
//! ```
//!
//! The webhook rewrites, and may be down. These policies cannot be down: while an object's role is not primary they
//! refuse every write that would make the object *more active*, and allow everything else. They read the same roles as
//! the webhook: the Namespace's labels and [`OBJECTS_ANNOTATION`], from `namespaceObject`. There is no parameter
//! object, because a missing one refuses with 422, which makes Flux delete and create anew; every refusal here is 403
//! Forbidden. For the same reason no expression may fail: everything is read by optional selection on `dyn`.
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

mod cel;
mod deletion;

use serde_json::{Value, json};

use crate::names::{
    CLI_MANAGER, CONTROLLER_MANAGER, ENFORCE_LABEL, EXEMPT, GROUP, HELD_ANNOTATION, NEVER_ENROLLED,
    OBJECTS_ANNOTATION, PREVIEW_MANAGER, RESTORE_ANNOTATION, SITE_ANNOTATION,
};
use crate::rules::rule::{Active, Field, Reach, Rule};
use crate::rules::set::RuleSet;
use cel::{Values, literal};

/// Selects every object of the backstop, built in or of a RoleRule.
pub const SELECTOR: &str =
    "app.kubernetes.io/name=kubectl-failover,app.kubernetes.io/component=backstop";

/// `deployments.apps.failover.dev`: the name of the policy for a rule's kind, and of its binding.
pub fn name(rule: &Rule) -> String {
    format!("{}.{GROUP}", rule.group_resource())
}

/// The ValidatingAdmissionPolicy for the kind of a rule.
pub fn policy(rule: &Rule) -> Value {
    let mut variables = role_variables(rule, "object");
    let mut validations = Vec::new();
    for (i, field) in rule.fields.iter().enumerate() {
        let values = Values::of_field(i, &field.pointer);
        variables.extend(values.variables(rule.scale && i == 0, &field.passive));
        validations.push(validation(field, &values));
    }
    validations.extend(
        rule.safeguards()
            .map(|field| passive_only_with(rule, field)),
    );
    if rule.fields.iter().any(|field| !is_fixed(field)) {
        variables.extend(record_variables());
        for (i, field) in rule.fields.iter().enumerate() {
            if keeps_a_record(field) {
                validations.push(keeps_its_record(field));
            }
            if field.active == Active::Manual {
                validations.push(is_marked_on_create(field));
            }
            if !is_fixed(field) {
                validations.push(brings_its_record(
                    field,
                    &Values::of_field(i, &field.pointer),
                ));
            }
        }
    }
    policy_of(
        &name(rule),
        &json!({
            "apiGroups": [rule.group],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"],
            "resources": resources(rule),
            "scope": "Namespaced",
        }),
        &variables,
        &validations,
    )
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

/// The missing or changed parts of the built-in backstop, as `policy NAME` or `binding NAME`; empty means that it is in
/// force. The API server is asked for policies and bindings by name.
pub fn missing(
    find_policy: impl Fn(&str) -> Option<Value>,
    find_binding: impl Fn(&str) -> Option<Value>,
) -> Vec<String> {
    let is_there =
        |found: Option<Value>, written: &Value| found.is_some_and(|f| has_spec_of(written, &f));
    let of = |[policy, binding]: [Value; 2]| {
        let name = policy["metadata"]["name"].as_str().unwrap_or_default();
        let has_policy = is_there(find_policy(name), &policy);
        let has_binding = is_there(find_binding(name), &binding);
        [
            (!has_policy).then(|| format!("policy {name}")),
            (!has_binding).then(|| format!("binding {name}")),
        ]
    };
    let rules = RuleSet::built_in();
    let all = rules.iter().flat_map(all_about);
    all.flat_map(of).flatten().collect()
}

/// Whether the spec of an object equals the written one. Empty values that the API server fills in are ignored.
fn has_spec_of(written: &Value, found: &Value) -> bool {
    fn covers(written: &Value, found: &Value) -> bool {
        match (written, found) {
            (Value::Object(written), Value::Object(found)) => {
                let all = written
                    .iter()
                    .all(|(key, value)| found.get(key).is_some_and(|f| covers(value, f)));
                all && found
                    .iter()
                    .all(|(key, value)| written.contains_key(key) || is_empty(value))
            }
            (Value::Array(written), Value::Array(found)) => {
                written.len() == found.len() && written.iter().zip(found).all(|(w, f)| covers(w, f))
            }
            (written, found) => written == found,
        }
    }
    covers(&written["spec"], &found["spec"])
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
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

/// Every resource through which the fields can change. Some built-in kinds accept changed annotations through
/// `/status`; for the others this policy has nothing to refuse there.
fn resources(rule: &Rule) -> Vec<String> {
    let mut resources = vec![rule.resource.to_string()];
    if rule.scale {
        resources.push(format!("{}/scale", rule.resource));
    }
    let in_metadata = |field: &Field| field.pointer.segments().next() == Some("metadata");
    if rule.fields.iter().any(in_metadata) {
        resources.push(format!("{}/status", rule.resource));
    }
    resources
}

/// The role of the object, as [`crate::NamespaceState::role_for`] decides it: `primary`, `secondary`, `unknown`, or
/// `exempt` if no rule reaches it. `root`: which of `object` and `oldObject` exists.
fn role_variables(rule: &Rule, root: &str) -> Vec<Value> {
    let label = |key: &str| format!("namespaceObject.?metadata.?labels[?{}]", literal(key));
    let annotation =
        |key: &str| format!("namespaceObject.?metadata.?annotations[?{}]", literal(key));
    let named_only = match rule.reach {
        Reach::Named => "true".to_owned(),
        Reach::All | Reach::Uncontrolled => {
            format!("{}.orValue('') == 'policy'", label(ENFORCE_LABEL))
        }
    };
    let layer = label(rule.layer.label());
    // The layer's role, or "unknown", which refuses activation.
    let layer = format!(
        "({layer}.orValue('') in ['primary', 'secondary'] ? {layer}.orValue('') : 'unknown')"
    );
    // An exemption applies only to an object with the label; a Scale shows no label.
    let unseen = if rule.scale {
        " || request.?subResource.orValue('') == 'scale'"
    } else {
        ""
    };
    let own = format!(
        "variables.object + '=secondary' in variables.named || variables.object + '=orphaned' in variables.named ? 'secondary' : \
         variables.object + '=exempt' in variables.named && (variables.labelled{unseen}) ? 'exempt' : \
         variables.object + '=exempt-if-labelled' in variables.named && variables.labelled ? 'exempt' : \
         variables.object + '=primary' in variables.named ? 'primary' : \
         {named_only} && !['=site', '=exempt', '=exempt-if-labelled'].exists(entry, variables.object + entry in variables.named) ? 'exempt' : {layer}"
    );
    let role = match rule.reach {
        // An object with a controlling owner follows that owner. A Scale does not show the owner, and is enforced.
        Reach::Uncontrolled => format!(
            "dyn({root})[?'metadata'][?'ownerReferences'].orValue(dyn([])).exists(owner, owner[?'controller'].orValue(false) == true) ? 'exempt' : {own}"
        ),
        Reach::All | Reach::Named => own,
    };
    // A preview asks whether a change would be accepted after the roles have changed. Nothing is stored.
    let preview = literal(PREVIEW_MANAGER);
    let role = format!(
        "request.?dryRun.orValue(false) && request.?options.?fieldManager.orValue('') == {preview} ? 'exempt' : {role}"
    );
    vec![
        variable(
            "named",
            &format!("{}.orValue('').split(' ')", annotation(OBJECTS_ANNOTATION)),
        ),
        // An object that is created may have no name in the request yet, and an object of a collection delete has none.
        variable(
            "object",
            &format!(
                "{} + (request.?name.orValue('') != '' ? request.?name.orValue('') : dyn({root})[?'metadata'][?'name'].orValue(''))",
                literal(&format!("{}/", rule.resource))
            ),
        ),
        variable(
            "labelled",
            &format!(
                "dyn({root})[?'metadata'][?'labels'][?{}].orValue('') == {}",
                literal(ENFORCE_LABEL),
                literal(EXEMPT)
            ),
        ),
        variable("role", &role),
        variable(
            "site",
            &format!("{}.orValue('')", annotation(SITE_ANNOTATION)),
        ),
    ]
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

/// One field must not become more active, unless the object is primary or no rule reaches it.
fn validation(field: &Field, values: &Values) -> Value {
    json!({
        "expression": format!(
            "variables.role in ['primary', 'exempt'] || {}",
            values.not_more_active(&passive_values(field), field.value_type)
        ),
        "message": format!("{} may not become more active here (kubectl failover status)", field.pointer),
        "messageExpression": format!(
            "(variables.role == 'unknown' ? 'the role of namespace ' + request.?namespace.orValue('') + ' is not known yet: ' \
             : 'site ' + variables.site + ' is secondary: ') + variables.object + {}",
            literal(&format!(": {} may not become more active (kubectl failover status)", field.pointer))
        ),
        "reason": "Forbidden",
    })
}

/// The first field must not become passive while a safeguard is not. A Scale does not show the safeguard: through it
/// the count of such a kind may not fall. An object that is already passive and unsafe may be written, or it could not
/// even be deleted.
fn passive_only_with(rule: &Rule, safeguard: &Field) -> Value {
    let of = |wanted: &Field| {
        let i = rule.fields.iter().position(|field| field == wanted);
        Values::of_field(i.unwrap_or_default(), &wanted.pointer)
    };
    let first = &rule.fields[0];
    let (count, guard) = (of(first), of(safeguard));
    let becomes_passive = format!("!({})", count.was_or_is_not(&passive_values(first)));
    let on_the_object = format!(
        "!({becomes_passive}) || {}",
        guard.is_passive(&passive_values(safeguard))
    );
    let expression = if rule.scale {
        format!(
            "request.?subResource.orValue('') == 'scale' ? ({} || {}) : ({on_the_object})",
            count.was_passive(&passive_values(first)),
            count.is_unchanged()
        )
    } else {
        on_the_object
    };
    let what = format!(
        ": {} may not become passive here without {} {}, or data is destroyed: write both in one update of the object (kubectl failover status)",
        first.pointer,
        safeguard.pointer,
        safeguard
            .passive
            .as_str()
            .map_or_else(|| safeguard.passive.to_string(), str::to_owned),
    );
    json!({
        "expression": format!("variables.role in ['primary', 'exempt'] || ({expression})"),
        "message": format!("an object{what}"),
        "messageExpression": format!("variables.object + {}", literal(&what)),
        "reason": "Forbidden",
    })
}

/// An object created here runs only on consent, so the webhook must mark it as held. If it were created passive while
/// the webhook is down, it could not be distinguished later from one that has run.
fn is_marked_on_create(field: &Field) -> Value {
    let entry = literal(&Value::String(field.pointer.to_string()).to_string());
    let what = ": cannot be created here while the webhook is down, because a promotion would then start it: try again (kubectl failover status)";
    json!({
        "expression": format!(
            "oldObject != null || variables.role in ['primary', 'exempt'] || variables.recordAfter.contains({entry})"
        ),
        "message": format!("an object{what}"),
        "messageExpression": format!("variables.object + {}", literal(what)),
        "reason": "Forbidden",
    })
}

fn is_fixed(field: &Field) -> bool {
    matches!(field.active, Active::Fixed(_))
}

/// Whether a record of the field is kept while its role is not primary. A field that is passive by absence may be
/// removed by its writer, together with its record.
fn keeps_a_record(field: &Field) -> bool {
    !is_fixed(field) && !field.absent_is_passive
}

/// What is recorded on the object before and after a write, in either annotation.
fn record_variables() -> [Value; 2] {
    let of = |root: &str| {
        [RESTORE_ANNOTATION, HELD_ANNOTATION]
            .map(|key| {
                let key = literal(key);
                format!("dyn({root})[?'metadata'][?'annotations'][?{key}].orValue('')")
            })
            .join(" + ")
    };
    [
        variable(
            "recordBefore",
            &format!("oldObject == null ? '' : {}", of("oldObject")),
        ),
        variable("recordAfter", &of("object")),
    ]
}

/// A field that has a record keeps it. Our own writes may drop an unreadable one.
fn keeps_its_record(field: &Field) -> Value {
    let entry = literal(&Value::String(field.pointer.to_string()).to_string());
    let ours = [CONTROLLER_MANAGER, CLI_MANAGER].map(literal).join(", ");
    let what = format!(
        ": the restore record of {} may not be removed here, keep the annotation {RESTORE_ANNOTATION} (kubectl failover status)",
        field.pointer
    );
    json!({
        "expression": format!(
            "variables.role in ['primary', 'exempt'] || !variables.recordBefore.contains({entry}) \
             || variables.recordAfter.contains({entry}) || request.?options.?fieldManager.orValue('') in [{ours}]"
        ),
        "message": format!("an object{what}"),
        "messageExpression": format!("variables.object + {}", literal(&what)),
        "reason": "Forbidden",
    })
}

/// The controller must record what it makes passive in the same write. Otherwise a webhook replica that still takes the
/// site for primary would drop the record, and its content would be lost. The controller retries until no replica does
/// so.
fn brings_its_record(field: &Field, values: &Values) -> Value {
    let entry = literal(&Value::String(field.pointer.to_string()).to_string());
    let what = format!(
        ": refused, because a stale webhook replica dropped the restore record of {} (kubectl failover status)",
        field.pointer
    );
    json!({
        "expression": format!(
            "request.?options.?fieldManager.orValue('') != {} || variables.role in ['primary', 'exempt'] \
             || {} || variables.recordAfter.contains({entry})",
            literal(CONTROLLER_MANAGER),
            values.was_or_is_not(&passive_values(field)),
        ),
        "message": format!("an object{what}"),
        "messageExpression": format!("variables.object + {}", literal(&what)),
        "reason": "Forbidden",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_was_edited_does_not_count_and_one_that_the_server_filled_in_does() {
        let missing_with = |edit: fn(&mut Value)| {
            let rules = RuleSet::built_in();
            let all: Vec<_> = rules.iter().flat_map(all_about).collect();
            let served = |name: &str, i: usize| {
                let found = all.iter().find(|both| both[i]["metadata"]["name"] == name);
                let mut object = found.unwrap()[i].clone();
                if name.starts_with("deployments") {
                    edit(&mut object);
                }
                Some(object)
            };
            missing(|name| served(name, 0), |name| served(name, 1))
        };
        let filled_in = |object: &mut Value| {
            object["metadata"]["uid"] = json!("u");
            if object["kind"] == "ValidatingAdmissionPolicy" {
                object["spec"]["matchConstraints"]["objectSelector"] = json!({});
            }
        };
        assert_eq!(missing_with(filled_in), Vec::<String>::new());
        let edits: [fn(&mut Value); 4] = [
            |o| o["spec"]["matchConditions"] = json!([{"name": "x", "expression": "false"}]),
            |o| o["spec"]["failurePolicy"] = json!("Ignore"),
            |o| o["spec"]["validationActions"] = json!(["Warn"]),
            |o| {
                o["spec"]["matchResources"] =
                    json!({"namespaceSelector": {"matchLabels": {"x": "y"}}});
            },
        ];
        for edit in edits {
            let missing = missing_with(edit);
            assert!(
                missing
                    .iter()
                    .any(|m| m.ends_with("deployments.apps.failover.dev")),
                "{missing:?}"
            );
        }
    }

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
