//! The `/scale` subresource: a second door to a workload's replicas.
//!
//! What comes through it is an `autoscaling/v1 Scale` without labels or annotations of its parent, and with
//! `spec.replicas` absent when it is 0. So nothing can be recorded here: the parent's record stays as it is.

use json_patch::Patch;
use serde_json::json;

use crate::patch::PatchBuilder;
use crate::pointer::Pointer;
use crate::rewrite::{FieldChange, Rewrite, RewriteError};
use crate::role::Role;
use crate::view::View;

/// What a Scale must say under a role.
pub(crate) fn rewrite(role: Role, object: &str) -> Result<Rewrite, RewriteError> {
    let pointer = Pointer::of(&["spec", "replicas"]);
    let view = View::parse(object, [&pointer]).map_err(RewriteError::NotJson)?;
    let unchanged = Rewrite {
        role: Some(role),
        patch: Patch(vec![]),
        changes: vec![],
        notes: vec![],
    };
    let asked = match (role, view.value(0)) {
        (Role::Primary, _) | (Role::Secondary, None) => return Ok(unchanged),
        (Role::Secondary, Some(value)) if value == json!(0) => return Ok(unchanged),
        (Role::Secondary, Some(value)) => value,
    };
    let mut patch = PatchBuilder::new(&view, &[&pointer], &[]);
    patch.set(&pointer, json!(0))?;
    let change = FieldChange {
        pointer,
        before: Some(asked),
        after: Some(json!(0)),
    };
    Ok(Rewrite {
        patch: patch.build(),
        changes: vec![change],
        ..unchanged
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::Value;

    use super::*;

    #[rstest]
    #[case(Role::Secondary, json!({"spec": {"replicas": 3}}), json!({"spec": {"replicas": 0}}))]
    #[case(Role::Secondary, json!({"spec": {}}), json!({"spec": {}}))]
    #[case(Role::Secondary, json!({}), json!({}))]
    #[case(Role::Primary, json!({"spec": {"replicas": 3}}), json!({"spec": {"replicas": 3}}))]
    fn scaling_up_is_undone_on_a_secondary_only(
        #[case] role: Role,
        #[case] mut scale: Value,
        #[case] after: Value,
    ) {
        let rewrite = rewrite(role, &scale.to_string()).unwrap();
        json_patch::patch(&mut scale, &rewrite.patch).unwrap();
        assert_eq!(scale, after);
    }

    #[test]
    fn says_what_was_done() {
        let rewrite = rewrite(Role::Secondary, r#"{"spec":{"replicas":3}}"#).unwrap();
        assert_eq!(
            rewrite.warnings(Some("east"), "deployments/web"),
            ["site east is secondary: deployments/web replicas 3 -> 0 (kubectl failover status)"]
        );
    }
}
