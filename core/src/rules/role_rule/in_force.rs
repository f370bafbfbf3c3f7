//! The rule in force: tightened at once, loosened only on a primary.
//!
//! A RoleRule is a file in somebody's repository. While a layer is not primary, no commit may activate the standby: not
//! one that removes a field, not one that lets another value count as passive, and not one that deletes the whole rule.
//! So the rule in force is not `spec` but `status.enforced`, which only the controller writes, by [`next`].

use super::compile::{overlap, written};
use crate::api::{RoleRule, RoleRuleField, RoleRuleSpec};
use crate::namespace::{NamespaceState, ObjectRole};
use crate::role::Role;
use crate::rules::rule::{Field, Rule};

/// The most fields that a rule in force may accumulate while it waits for a primary; the schema's limit.
const MOST_FIELDS: usize = 16;

/// The rule in force: the adopted one or, before the controller has adopted one, the written one.
pub fn spec(role_rule: &RoleRule) -> &RoleRuleSpec {
    adopted(role_rule).unwrap_or(&role_rule.spec)
}

/// Whether the controller has adopted it.
pub fn is_adopted(role_rule: &RoleRule) -> bool {
    adopted(role_rule).is_some()
}

fn adopted(role_rule: &RoleRule) -> Option<&RoleRuleSpec> {
    role_rule.status.as_ref()?.enforced.as_ref()
}

/// The next rule in force; `None` if there is none. `may_loosen`: its layer is primary everywhere (see
/// [`is_primary_everywhere`]), and no object of its kind has a record any more.
pub fn next(
    enforced: Option<&RoleRuleSpec>,
    spec: &RoleRuleSpec,
    may_loosen: bool,
) -> Option<RoleRuleSpec> {
    match (enforced, written(spec)) {
        // An invalid edit does not release the rule.
        (enforced, Err(_)) => enforced.cloned(),
        (None, Ok(_)) => Some(spec.clone()),
        (Some(_), Ok(_)) if may_loosen => Some(spec.clone()),
        (Some(enforced), Ok(_)) => Some(tightened(enforced, spec)),
    }
}

/// Whether every namespace that the rule may reach is primary: its layer, and each object of its kind with a role of
/// its own.
pub fn is_primary_everywhere<'a>(
    rule: &RoleRuleSpec,
    mut enrolled: impl Iterator<Item = &'a NamespaceState>,
) -> bool {
    enrolled.all(|namespace| {
        namespace.roles.of(rule.layer) == Some(Role::Primary)
            && !namespace.objects.iter().any(|(resource, _, role)| {
                resource == rule.resource
                    && matches!(role, ObjectRole::Secondary | ObjectRole::Orphaned)
            })
    })
}

/// The rule in force, with everything that is tighter in the written one.
fn tightened(enforced: &RoleRuleSpec, spec: &RoleRuleSpec) -> RoleRuleSpec {
    let mut next = enforced.clone();
    // The version and the kind name change nothing in any object.
    next.version.clone_from(&spec.version);
    next.kind.clone_from(&spec.kind);
    // Nor does the condition that a promotion waits for.
    next.ready.clone_from(&spec.ready);
    for field in &mut next.fields {
        let twin = spec.fields.iter().find(|f| f.pointer == field.pointer);
        if let Some(twin) = twin.filter(|twin| twin.value_type == field.value_type) {
            field
                .also_passive
                .retain(|value| twin.also_passive.contains(value) || twin.passive == *value);
            field.absent_is_passive &= twin.absent_is_passive;
            field.safeguard |= twin.safeguard;
        }
    }
    for field in &spec.fields {
        if next.fields.len() < MOST_FIELDS && !is_known(&next.fields, field) {
            next.fields.push(field.clone());
        }
    }
    next.scale |= spec.scale;
    // `scale` without a count would make the rule invalid, and so would a safeguard without a first field.
    if Rule::try_from(&next).is_err() {
        next.scale = enforced.scale;
        if let Some(first) = next.fields.first_mut() {
            first.safeguard = false;
        }
    }
    next
}

/// Whether one of the fields equals, lies above or lies below it.
fn is_known(fields: &[RoleRuleField], new: &RoleRuleField) -> bool {
    let Ok(new) = Field::try_from(new) else {
        return true;
    };
    fields
        .iter()
        .filter_map(|field| Field::try_from(field).ok())
        .any(|field| overlap(&field, &new))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::RuleSet;
    use crate::role::{Layer, Roles};

    fn rule(fields: &Value) -> RoleRuleSpec {
        serde_json::from_value(json!({
            "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads",
            "fields": fields,
        }))
        .unwrap()
    }

    fn field(pointer: &str) -> Value {
        json!({"pointer": pointer, "type": "boolean", "passive": true})
    }

    fn pointers(spec: &RoleRuleSpec) -> Vec<&str> {
        spec.fields.iter().map(|f| f.pointer.as_str()).collect()
    }

    #[test]
    fn a_safeguard_is_in_force_at_once_and_removed_on_a_primary() {
        let guarding = |safeguard: bool| {
            let mut field = field("/spec/b");
            field["safeguard"] = json!(safeguard);
            rule(&json!([self::field("/spec/a"), field]))
        };
        let (with, without) = (guarding(true), guarding(false));
        assert_eq!(next(Some(&without), &with, false), Some(with.clone()));
        assert_eq!(next(Some(&with), &without, false), Some(with.clone()));
        assert_eq!(next(Some(&with), &without, true), Some(without));
    }

    #[test]
    fn a_new_field_is_in_force_at_once_and_a_dropped_one_until_promotion() {
        let before = rule(&json!([field("/spec/a"), field("/spec/b")]));
        let after = rule(&json!([field("/spec/b"), field("/spec/c")]));
        let secondary = next(Some(&before), &after, false).unwrap();
        assert_eq!(pointers(&secondary), ["/spec/a", "/spec/b", "/spec/c"]);
        let primary = next(Some(&secondary), &after, true).unwrap();
        assert_eq!(primary, after);
    }

    #[test]
    fn other_passive_values_layers_and_active_modes_wait_for_promotion() {
        let before = rule(&json!([{"pointer": "/spec/n", "type": "integer", "passive": 0}]));
        let mut after = rule(&json!([
            {"pointer": "/spec/n", "type": "integer", "passive": 5, "active": {"mode": "fixed", "value": 7}}
        ]));
        after.layer = Layer::Traffic;
        assert_eq!(next(Some(&before), &after, false), Some(before));
    }

    #[test]
    fn a_value_counts_as_passive_only_if_both_rules_say_so() {
        let with = |also: &Value, absent: bool| {
            rule(&json!([{
                "pointer": "/spec/s", "type": "string", "passive": "off", "alsoPassive": also, "absentIsPassive": absent
            }]))
        };
        let secondary = next(
            Some(&with(&json!(["idle", "paused"]), true)),
            &with(&json!(["paused", "on"]), false),
            false,
        );
        assert_eq!(secondary, Some(with(&json!(["paused"]), false)));
    }

    #[test]
    fn a_rule_that_becomes_invalid_stays_in_force_unchanged() {
        let before = rule(&json!([field("/spec/a")]));
        let broken = rule(&json!([field("/status/a")]));
        assert_eq!(next(Some(&before), &broken, true), Some(before));
        assert_eq!(next(None, &broken, true), None);
    }

    #[test]
    fn a_rule_in_force_is_not_displaced_by_one_with_an_earlier_name() {
        let role_rule = |name: &str, spec: &RoleRuleSpec, adopted: bool| {
            let mut rule = RoleRule::new(name, spec.clone());
            if adopted {
                rule.status.get_or_insert_default().enforced = Some(spec.clone());
            }
            rule
        };
        let strict = rule(&json!([field("/spec/a")]));
        let lax = rule(&json!([field("/spec/b")]));
        let rules = [role_rule("b", &strict, true), role_rule("a", &lax, false)];
        let (set, errors) = RuleSet::with_role_rules(&rules);
        assert_eq!(
            set.find("example.com", "widgets").unwrap().fields[0]
                .pointer
                .to_string(),
            "/spec/a"
        );
        assert_eq!(errors[0].0, "a");
    }

    #[rstest]
    #[case(Some(Role::Primary), "", true)]
    #[case(Some(Role::Secondary), "", false)]
    #[case(None, "", false)]
    #[case(Some(Role::Primary), "widgets/w=secondary", false)]
    #[case(Some(Role::Primary), "gadgets/w=secondary widgets/v=exempt", true)]
    fn loosening_waits_for_every_namespace_and_object(
        #[case] layer: Option<Role>,
        #[case] objects: &str,
        #[case] expected: bool,
    ) {
        let annotations = [(
            crate::names::OBJECTS_ANNOTATION.to_owned(),
            objects.to_owned(),
        )];
        let (mut namespace, _) = NamespaceState::parse(None, Some(&annotations.into()));
        namespace.roles = Roles {
            workloads: layer,
            ..Roles::all(Role::Secondary)
        };
        let spec = rule(&json!([field("/spec/a")]));
        assert_eq!(
            is_primary_everywhere(&spec, [&namespace].into_iter()),
            expected
        );
    }

    fn any_field() -> impl Strategy<Value = RoleRuleField> {
        let pointer = proptest::sample::select(vec![
            "/spec/a",
            "/spec/b",
            "/spec/b/c",
            "/spec/d",
            "/spec/e",
            "/spec/f",
        ]);
        let value = || proptest::sample::select(vec!["w", "x", "y", "z"]);
        (
            pointer,
            value(),
            proptest::collection::vec(value(), 0..3),
            any::<bool>(),
            proptest::option::of(value()),
        )
            .prop_map(|(pointer, passive, also, absent, fixed)| {
                let active = fixed.map_or(json!({}), |v| json!({"mode": "fixed", "value": v}));
                serde_json::from_value(json!({
                    "pointer": pointer, "type": "string", "passive": passive, "alsoPassive": also,
                    "absentIsPassive": absent, "active": active,
                }))
                .unwrap()
            })
    }

    /// Any valid rule.
    fn any_rule() -> impl Strategy<Value = RoleRuleSpec> {
        proptest::collection::vec(any_field(), 1..5)
            .prop_map(|fields| {
                let mut spec = rule(&json!([]));
                for field in fields {
                    spec.fields.push(field);
                    if written(&spec).is_err() {
                        spec.fields.pop();
                    }
                }
                spec
            })
            .prop_filter("compiles", |spec| written(spec).is_ok())
    }

    /// Whether all fields of the rule are passive in an object.
    fn is_passive(spec: &RoleRuleSpec, object: &Value) -> bool {
        let rule = Rule::try_from(spec).unwrap();
        rule.fields
            .iter()
            .all(|field| field.is_passive(field.pointer.lookup(object)))
    }

    fn any_object() -> impl Strategy<Value = Value> {
        let value =
            || proptest::option::weighted(0.8, proptest::sample::select(vec!["w", "x", "y", "z"]));
        (value(), value(), value(), value(), value())
            .prop_map(|(a, b, d, e, f)| json!({"spec": {"a": a, "b": b, "d": d, "e": e, "f": f}}))
    }

    proptest! {
        #[test]
        fn on_a_standby_no_object_needs_to_be_less_passive(
            before in any_rule(), after in any_rule(), object in any_object(),
        ) {
            let enforced = next(Some(&before), &after, false).unwrap();
            prop_assert!(Rule::try_from(&enforced).is_ok());
            prop_assert!(!is_passive(&enforced, &object) || is_passive(&before, &object));
        }

        #[test]
        fn a_written_field_without_contradiction_is_in_force_at_once(before in any_rule(), after in any_rule()) {
            let enforced = next(Some(&before), &after, false).unwrap();
            for field in &after.fields {
                prop_assert!(
                    enforced.fields.contains(field) || is_known(&before.fields, field),
                    "{field:?}"
                );
            }
        }

        #[test]
        fn deciding_again_changes_nothing_and_a_primary_follows_the_spec(before in any_rule(), after in any_rule()) {
            let enforced = next(Some(&before), &after, false).unwrap();
            let again = next(Some(&enforced), &after, false);
            prop_assert_eq!(again.as_ref(), Some(&enforced));
            prop_assert_eq!(next(Some(&enforced), &after, true), Some(after));
        }
    }
}
