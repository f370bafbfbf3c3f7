//! While an object's role is not primary, no write may make it more active.

use serde_json::{Value, json};

use super::cel::{Values, literal};
use super::{is_fixed, name, passive_values, policy_of, record, role};
use crate::rules::rule::{Active, Field, Rule};

/// The ValidatingAdmissionPolicy for the kind of a rule.
pub fn policy(rule: &Rule) -> Value {
    let mut variables = role::variables(rule, "object");
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
        variables.extend(record::variables());
        for (i, field) in rule.fields.iter().enumerate() {
            if record::keeps_a_record(field) {
                validations.push(record::keeps_its_record(field));
            }
            if field.active == Active::Manual {
                validations.push(record::is_marked_on_create(field));
            }
            if !is_fixed(field) {
                validations.push(record::brings_its_record(
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
