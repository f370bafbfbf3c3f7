//! The `/scale` subresource: a second door to a workload's replicas.
//!
//! What comes through it is an `autoscaling/v1 Scale` without labels or annotations of its parent, and with
//! `spec.replicas` absent when it is 0. So nothing can be recorded here: the parent's record stays as it is. And so a parent
//! that is still active, since the sweep after a change of role has not come to it, is not made passive here: the count it
//! had would be lost, and it would be passive on the next primary. It may only not become more active, until the sweep
//! records what it has.
//!
//! Nor does a Scale show whether a lower count destroys something, as it does to the claims of a StatefulSet with
//! `whenScaled: Delete`. The count of such a kind stands still until its safeguards are forced with it, on the object itself.

use json_patch::Patch;
use serde_json::{Value, json};

use crate::admission::rewrite::{FieldChange, Note, Rewrite, RewriteError};
use crate::json::patch::PatchBuilder;
use crate::json::pointer::Pointer;
use crate::json::view::View;
use crate::role::Role;
use crate::rules::rule::Rule;

/// What a Scale must say under a role.
pub(crate) fn rewrite(
    rule: &Rule,
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
    if role == Role::Primary {
        return Ok(unchanged);
    }
    let asked = view.value(0);
    let stored = old.map(parse).transpose()?.and_then(|old| old.value(0));
    let most = stored.as_ref().and_then(Value::as_u64).unwrap_or(0);
    // A count that is no number is none of those that may be asked for.
    let count = asked
        .as_ref()
        .map_or(Some(0), Value::as_u64)
        .unwrap_or(u64::MAX);
    let lowers_unsafely = count < most && rule.scale_is_unsafe();
    if count <= most && !lowers_unsafely {
        return Ok(unchanged);
    }
    let mut patch = PatchBuilder::new(&view, &[&pointer], &[]);
    patch.set(&pointer, json!(most))?;
    let mut rewrite = Rewrite {
        patch: patch.build(),
        ..unchanged
    };
    if lowers_unsafely {
        rewrite.notes.push(Note::NotThroughScale);
    } else {
        rewrite.changes.push(FieldChange {
            pointer,
            before: asked,
            after: Some(json!(most)),
        });
    }
    Ok(rewrite)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::rules::set::RuleSet;

    fn rule(resource: &str) -> Rule {
        RuleSet::built_in().find("apps", resource).unwrap().clone()
    }

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
        assert_eq!(scaled("deployments", role, stored, asked).0, after);
    }

    #[rstest]
    #[case::lowered(Role::Secondary, Some(3), Some(2), Some(3))]
    #[case::to_zero(Role::Secondary, Some(3), Some(0), Some(3))]
    #[case::to_zero_by_absence(Role::Secondary, Some(3), None, Some(3))]
    #[case::raised(Role::Secondary, Some(3), Some(5), Some(3))]
    #[case::passive_already(Role::Secondary, None, None, None)]
    #[case::raised_once_passive(Role::Secondary, None, Some(3), Some(0))]
    #[case::primary(Role::Primary, Some(3), None, None)]
    fn a_count_that_may_take_data_along_does_not_fall_through_scale(
        #[case] role: Role,
        #[case] stored: Option<u64>,
        #[case] asked: Option<u64>,
        #[case] after: Option<u64>,
    ) {
        let (stored_then, rewrite) = scaled("statefulsets", role, stored, asked);
        assert_eq!(stored_then, after);
        let lowered = after > asked && role == Role::Secondary && after != Some(0);
        assert_eq!(rewrite.notes.contains(&Note::NotThroughScale), lowered);
    }

    /// The count that is stored then.
    fn scaled(
        resource: &str,
        role: Role,
        stored: Option<u64>,
        asked: Option<u64>,
    ) -> (Option<u64>, Rewrite) {
        let scale = |replicas| match replicas {
            Some(replicas) => json!({"spec": {"replicas": replicas}}),
            None => json!({"spec": {}}),
        };
        let mut object = scale(asked);
        let old = scale(stored).to_string();
        let rewrite = rewrite(&rule(resource), role, &object.to_string(), Some(&old)).unwrap();
        json_patch::patch(&mut object, &rewrite.patch).unwrap();
        let after = object["spec"]["replicas"].as_u64();
        assert_eq!(rewrite.is_empty(), asked == after);
        (after, rewrite)
    }

    #[test]
    fn says_what_was_done() {
        let scale = |resource, stored: &str, asked: &str| {
            let rewrite = rewrite(&rule(resource), Role::Secondary, asked, Some(stored)).unwrap();
            rewrite.warnings(Some("east"), &format!("{resource}/web"))
        };
        let (none, three) = (r#"{"spec":{}}"#, r#"{"spec":{"replicas":3}}"#);
        assert_eq!(
            scale("deployments", none, three),
            ["site east is secondary: deployments/web replicas 3 -> 0 (kubectl failover status)"]
        );
        let held = scale("statefulsets", three, none);
        assert!(
            held[0].chars().count() <= 120 && held[0].contains("not scaled"),
            "{held:?}"
        );
    }
}
