//! The `/scale` subresource: a second way to change the replicas of a workload.
//!
//! The request contains an `autoscaling/v1 Scale` without labels or annotations of its parent, and without
//! `spec.replicas` when that is 0. So nothing can be recorded here, and the parent's record stays unchanged. A parent
//! that is still active, because the sweep after a role change has not reached it yet, is not made passive here: its
//! count would be lost, and it would stay passive on the next primary. Its count may only not rise, until the sweep
//! records it.
//!
//! A Scale does not show whether a lower count destroys data either, such as the claims of a StatefulSet with
//! `whenScaled: Delete`. The count of such a kind is unchanged until its safeguards are forced with it, on the object
//! itself.

use json_patch::Patch;
use serde_json::{Value, json};

use crate::admission::rewrite::{FieldChange, Note, Rewrite, RewriteError};
use crate::json::patch::PatchBuilder;
use crate::json::pointer::Pointer;
use crate::json::view::View;
use crate::role::Role;
use crate::rules::rule::Rule;

/// Computes the desired state of a Scale under a role.
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
    // A count that is no number is never allowed.
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
    fn a_count_that_protects_data_does_not_fall_through_scale(
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

    /// The count that is stored afterwards.
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
    fn a_warning_says_what_was_changed() {
        let scale = |resource, stored: &str, asked: &str| {
            let rewrite = rewrite(&rule(resource), Role::Secondary, asked, Some(stored)).unwrap();
            rewrite.warnings(Some("east"), &format!("{resource}/web"))
        };
        let (none, three) = (r#"{"spec":{}}"#, r#"{"spec":{"replicas":3}}"#);
        assert_eq!(
            scale("deployments", none, three),
            ["site east is secondary: deployments/web replicas 3 -> 0 (kubectl failover status)"]
        );
        let warnings = scale("statefulsets", three, none);
        assert!(
            warnings[0].chars().count() <= 120 && warnings[0].contains("not scaled"),
            "{warnings:?}"
        );
    }
}
