//! The changes that a role would make: [`plan_object`] runs the same function as the webhook on a copy.

use serde_json::Value;

use crate::admission::rewrite::{Rewrite, RewriteError, is_owned, rewrite_stored};
use crate::names::RESTORE_ANNOTATION;
use crate::namespace::{ExemptLabel, NamespaceState, ObjectStanding};
use crate::object::ObjectRef;
use crate::role::{Layer, Role};
use crate::rules::rule::Rule;

/// The planned change of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub object: ObjectRef,
    pub kind: String,
    pub layer: Layer,
    pub role: Role,
    pub rewrite: Rewrite,
    /// The object after the change.
    pub after: Value,
}

/// The role that a stored object must conform to; `None` if enforcement does not concern it. A released object is
/// primary while it carries a record of ours, or the controller owns a field of it: nobody else would restore it, or
/// give the field back.
pub fn role_of(rule: &Rule, state: &NamespaceState, object: &Value) -> Option<Role> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if !rule.reaches(object) {
        return None;
    }
    let label = ExemptLabel::of(rule, object);
    match state.standing(rule, name, label) {
        ObjectStanding::Ruled(role) => Some(role),
        ObjectStanding::Unknown => None,
        ObjectStanding::Free => {
            let recorded = object["metadata"]["annotations"].get(RESTORE_ANNOTATION);
            let is_ours = recorded.is_some() || is_owned(rule, object);
            (is_ours && state.lets_go(rule, name, label)).then_some(Role::Primary)
        }
    }
}

/// The effect of a role on a stored object; `None` if it changes nothing and there is no note.
pub fn plan_object(
    rule: &Rule,
    role: Role,
    namespace: &str,
    object: &Value,
) -> Result<Option<Item>, RewriteError> {
    let rewrite = rewrite_stored(rule, role, object)?;
    if rewrite.is_empty() && rewrite.notes.is_empty() {
        return Ok(None);
    }
    let mut after = object.clone();
    json_patch::patch(&mut after, &rewrite.patch)
        .expect("a patch made for this object applies to it");
    Ok(Some(Item {
        object: ObjectRef::of(rule, namespace, object),
        kind: rule.kind.to_string(),
        layer: rule.layer,
        role,
        rewrite,
        after,
    }))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::names::{ENFORCE_LABEL, EXEMPT};
    use crate::namespace::{Enforcement, ObjectRole};
    use crate::role::Roles;
    use crate::rules::set::RuleSet;

    #[rstest]
    #[case::ruled(
        Enforcement::Enabled,
        Role::Secondary,
        None,
        true,
        Some(Role::Secondary)
    )]
    #[case::exempt(
        Enforcement::Enabled,
        Role::Secondary,
        Some(ObjectRole::Exempt),
        true,
        Some(Role::Primary)
    )]
    #[case::exempt_and_given_back(
        Enforcement::Enabled,
        Role::Secondary,
        Some(ObjectRole::Exempt),
        false,
        None
    )]
    #[case::no_longer_named(Enforcement::Policy, Role::Primary, None, true, Some(Role::Primary))]
    #[case::not_reached_on_a_secondary(Enforcement::Policy, Role::Secondary, None, true, None)]
    fn a_released_object_gets_its_recorded_values_back(
        #[case] enforcement: Enforcement,
        #[case] role: Role,
        #[case] entry: Option<ObjectRole>,
        #[case] recorded: bool,
        #[case] expected: Option<Role>,
    ) {
        let rules = RuleSet::built_in();
        let rule = rules.find("apps", "deployments").unwrap();
        let mut state = NamespaceState {
            enforcement: Some(enforcement),
            roles: Roles::all(role),
            ..NamespaceState::default()
        };
        if let Some(entry) = entry {
            state.objects.set("deployments", "web", entry);
        }
        let mut object = json!({"metadata": {"name": "web"}, "spec": {"replicas": 0}});
        if entry == Some(ObjectRole::Exempt) {
            object["metadata"]["labels"] = json!({ENFORCE_LABEL: EXEMPT});
        }
        if recorded {
            object["metadata"]["annotations"] =
                json!({RESTORE_ANNOTATION: r#"{"/spec/replicas":3}"#});
        }
        assert_eq!(role_of(rule, &state, &object), expected);
    }
}
