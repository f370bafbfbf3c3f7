//! A Namespace that is created with the enrolment label gets the site's roles in that same write.
//!
//! Otherwise Flux's first apply into it would race with the controller: refused by the policy, or let through before the
//! role is known. And a manifest in Git must not bring roles or exemptions of its own choosing.

use serde_json::Value;

use crate::annotations;
use crate::api::Site;
use crate::names::{OBJECTS_ANNOTATION, SITE_ANNOTATION, STEP_ANNOTATION};
use crate::namespace::{Enforcement, may_enrol};
use crate::patch::PatchBuilder;
use crate::pointer::Pointer;
use crate::rewrite::{FieldChange, Rewrite, RewriteError};
use crate::role::{Layer, Role, Roles};
use crate::view::View;

/// What a site has settled on: no transition is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub site: String,
    pub roles: Roles,
    pub step: i64,
}

impl Settled {
    /// `None` while the roles are not known or are changing.
    pub fn of(site: &Site) -> Option<Self> {
        let status = site.status.as_ref()?;
        let known = Layer::ALL
            .iter()
            .all(|layer| status.layers.of(*layer).is_some());
        (status.transition.is_none() && known && status.layers.uniform() == Some(site.spec.role))
            .then(|| Self {
                site: site.spec.site_name.clone(),
                roles: status.layers,
                step: status.step,
            })
    }
}

/// What a Namespace that is being created must look like. With nothing settled its roles stay unknown: nothing is
/// rewritten in it until the controller has labelled it.
pub fn admit_namespace(settled: Option<&Settled>, object: &str) -> Result<Rewrite, RewriteError> {
    let wanted: Vec<(Pointer, Option<String>)> = Layer::ALL
        .iter()
        .map(|layer| {
            let role = settled.and_then(|s| s.roles.of(*layer));
            (
                Pointer::of(&["metadata", "labels", layer.label()]),
                role.map(|r: Role| r.to_string()),
            )
        })
        .chain([
            (
                Pointer::annotation(SITE_ANNOTATION),
                settled.map(|s| s.site.clone()),
            ),
            (
                Pointer::annotation(STEP_ANNOTATION),
                settled.map(|s| s.step.to_string()),
            ),
            (Pointer::annotation(OBJECTS_ANNOTATION), None),
        ])
        .collect();
    let pointers: Vec<&Pointer> = wanted.iter().map(|(pointer, _)| pointer).collect();
    let view = View::parse(object, pointers.iter().copied()).map_err(RewriteError::NotJson)?;

    let enrolled = view
        .enforce_label()
        .is_some_and(|value| value.parse::<Enforcement>().is_ok());
    if !enrolled || view.name().is_none_or(|name| !may_enrol(&name)) {
        return Ok(Rewrite::default());
    }
    let mut patch = PatchBuilder::new(&view, &pointers, &[]);
    let mut changes = Vec::new();
    for (i, (pointer, value)) in wanted.iter().enumerate() {
        let before = view.value(i);
        let after = value.clone().map(Value::String);
        if before == after {
            continue;
        }
        match &after {
            Some(after) => patch.set(pointer, after.clone())?,
            None => patch.remove(pointer, None),
        }
        changes.push(FieldChange {
            pointer: pointer.clone(),
            before,
            after,
        });
    }
    let role = settled.and_then(|s| s.roles.uniform());
    let patch = patch.build();
    if let Some(size) = annotations::overflow(&view, &patch) {
        return Err(RewriteError::NoRoom { size });
    }
    Ok(Rewrite {
        role,
        patch,
        changes,
        notes: vec![],
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::names::ENFORCE_LABEL;

    fn settled() -> Settled {
        Settled {
            site: "east".into(),
            roles: Roles::all(Role::Secondary),
            step: 4,
        }
    }

    fn admitted(settled: Option<&Settled>, mut namespace: Value) -> Value {
        let rewrite = admit_namespace(settled, &namespace.to_string()).unwrap();
        json_patch::patch(&mut namespace, &rewrite.patch).unwrap();
        let again = admit_namespace(settled, &namespace.to_string()).unwrap();
        assert!(again.is_empty(), "{again:?}");
        namespace
    }

    #[test]
    fn gets_the_roles_that_the_site_has_settled_on() {
        let namespace = json!({"metadata": {"name": "shop", "labels": {ENFORCE_LABEL: "enabled"}}});
        assert_eq!(
            admitted(Some(&settled()), namespace),
            json!({"metadata": {
                "name": "shop",
                "labels": {
                    ENFORCE_LABEL: "enabled",
                    "failover.dev/volumes": "secondary", "failover.dev/workloads": "secondary",
                    "failover.dev/gitops": "secondary", "failover.dev/traffic": "secondary",
                },
                "annotations": {SITE_ANNOTATION: "east", STEP_ANNOTATION: "4"},
            }})
        );
    }

    #[test]
    fn brings_no_roles_or_exemptions_of_its_own() {
        let namespace = json!({"metadata": {
            "name": "shop",
            "labels": {ENFORCE_LABEL: "enabled", "failover.dev/workloads": "primary"},
            "annotations": {OBJECTS_ANNOTATION: "deployments/web=exempt"},
        }});
        assert_eq!(
            admitted(None, namespace),
            json!({"metadata": {"name": "shop", "labels": {ENFORCE_LABEL: "enabled"}}})
        );
    }

    #[test]
    fn one_without_room_for_its_roles_is_refused_and_not_made_invalid() {
        let padding = "y".repeat(crate::annotations::LIMIT - 1);
        let namespace = json!({"metadata": {
            "name": "shop", "labels": {ENFORCE_LABEL: "enabled"}, "annotations": {"x": padding},
        }});
        let refused = admit_namespace(Some(&settled()), &namespace.to_string());
        assert!(
            matches!(refused, Err(RewriteError::NoRoom { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn one_that_is_not_or_never_enrolled_is_left_alone() {
        for metadata in [
            json!({"name": "shop"}),
            json!({"name": "shop", "labels": {ENFORCE_LABEL: "disabled"}}),
            json!({"name": "kube-system", "labels": {ENFORCE_LABEL: "enabled"}}),
            json!({"name": "failover-system", "labels": {ENFORCE_LABEL: "enabled"}}),
        ] {
            let namespace = json!({"metadata": metadata});
            assert_eq!(admitted(Some(&settled()), namespace.clone()), namespace);
        }
    }
}
