//! The `/scale` subresource: a second door to a workload's replicas.
//!
//! What comes through it is an `autoscaling/v1 Scale` without labels or annotations of its parent, and with
//! `spec.replicas` absent when it is 0. So nothing can be recorded here: the parent's record stays as it is. And so a parent
//! that is still active, since the sweep after a change of role has not come to it, is not made passive here: the count it
//! had would be lost, and it would be passive on the next primary. It may only not become more active, until the sweep
//! records what it has.

use json_patch::Patch;
use serde_json::{Value, json};

use crate::patch::PatchBuilder;
use crate::pointer::Pointer;
use crate::rewrite::{FieldChange, Rewrite, RewriteError};
use crate::role::Role;
use crate::view::View;

/// What a Scale must say under a role.
pub(crate) fn rewrite(
    role: Role,
    object: &str,
    old: Option<&str>,
) -> Result<Rewrite, RewriteError> {
    let pointer = Pointer::of(&["spec", "replicas"]);
    let parse = |text| View::parse(text, [&pointer]).map_err(RewriteError::NotJson);
    let view = parse(object)?;
    let unchanged = Rewrite {
        role: Some(role),
        patch: Patch(vec![]),
        changes: vec![],
        notes: vec![],
    };
    let asked = match (role, view.value(0)) {
        (Role::Primary, _) | (Role::Secondary, None) => return Ok(unchanged),
        (Role::Secondary, Some(asked)) => asked,
    };
    let stored = old.map(parse).transpose()?.and_then(|old| old.value(0));
    let most = stored.as_ref().and_then(Value::as_u64).unwrap_or(0);
    if asked.as_u64().is_some_and(|asked| asked <= most) {
        return Ok(unchanged);
    }
    let mut patch = PatchBuilder::new(&view, &[&pointer], &[]);
    patch.set(&pointer, json!(most))?;
    let change = FieldChange {
        pointer,
        before: Some(asked),
        after: Some(json!(most)),
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

    use super::*;

    #[rstest]
    #[case::raised(Role::Secondary, Some(0), Some(3), Some(0))]
    #[case::raised_from_absent(Role::Secondary, None, Some(3), Some(0))]
    #[case::passive(Role::Secondary, Some(0), None, None)]
    #[case::not_swept_yet(Role::Secondary, Some(3), Some(5), Some(3))]
    #[case::lowered_before_the_sweep(Role::Secondary, Some(3), Some(2), Some(2))]
    #[case::to_zero_before_the_sweep(Role::Secondary, Some(3), Some(0), Some(0))]
    #[case::primary(Role::Primary, Some(0), Some(3), Some(3))]
    fn on_a_secondary_a_count_may_only_fall(
        #[case] role: Role,
        #[case] stored: Option<u64>,
        #[case] asked: Option<u64>,
        #[case] after: Option<u64>,
    ) {
        let scale = |replicas| match replicas {
            Some(replicas) => json!({"spec": {"replicas": replicas}}),
            None => json!({"spec": {}}),
        };
        let mut object = scale(asked);
        let old = scale(stored).to_string();
        let rewrite = rewrite(role, &object.to_string(), Some(&old)).unwrap();
        json_patch::patch(&mut object, &rewrite.patch).unwrap();
        assert_eq!(object, scale(after));
        assert_eq!(rewrite.is_empty(), asked == after);
    }

    #[test]
    fn says_what_was_done() {
        let rewrite = rewrite(Role::Secondary, r#"{"spec":{"replicas":3}}"#, None).unwrap();
        assert_eq!(
            rewrite.warnings(Some("east"), "deployments/web"),
            ["site east is secondary: deployments/web replicas 3 -> 0 (kubectl failover status)"]
        );
    }
}
