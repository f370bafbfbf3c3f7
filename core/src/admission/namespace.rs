//! A Namespace that is created with the enrolment label gets the site's roles in the same write. A Namespace that is
//! created without the label, under a name that the site remembers as enrolled, gets the label too.
//!
//! So a deleted Namespace does not come back outside enforcement. Creating an existing one still ends in AlreadyExists,
//! which Helm's `--create-namespace` depends on: an admission policy that refused it would answer first.
//!
//! Otherwise Flux's first apply into the Namespace would race with the controller: the backstop would refuse it, or it
//! would pass before the role is known. A manifest in Git must not set roles or exemptions of its own.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::admission::annotations;
use crate::admission::rewrite::{FieldChange, Rewrite, RewriteError};
use crate::api::Site;
use crate::json::patch::PatchBuilder;
use crate::json::pointer::Pointer;
use crate::json::view::View;
use crate::names::{
    ENFORCE_LABEL, OBJECTS_ANNOTATION, REVISION_ANNOTATION, SITE_ANNOTATION, UNENROLLED_ANNOTATION,
};
use crate::namespace::{Enforcement, may_enrol};
use crate::role::{Layer, Role, Roles};
use crate::transition::remembered;

/// The roles of a site without a transition under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub site: String,
    pub roles: Roles,
    pub revision: i64,
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
                revision: status.revision,
            })
    }
}

/// The names that the site remembers as enrolled, and their enforcement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry(BTreeMap<String, Enforcement>);

impl Registry {
    pub fn of(site: &Site) -> Self {
        let Some(status) = &site.status else {
            return Self::default();
        };
        let names = remembered(status).into_iter().map(|name| {
            let only_named = status.policy_only.iter().any(|other| other == name);
            let enforcement = if only_named {
                Enforcement::Policy
            } else {
                Enforcement::Enabled
            };
            (name.to_owned(), enforcement)
        });
        Self(names.collect())
    }

    /// `None`: the name is not remembered.
    pub fn enforcement(&self, name: &str) -> Option<Enforcement> {
        self.0.get(name).copied()
    }
}

/// Whether a Namespace that is being created needs a change. Decided without parsing it, so that an invalid one cannot
/// affect others.
pub fn concerns(registry: &Registry, name: &str, object: &str) -> bool {
    registry.enforcement(name).is_some() || object.contains(ENFORCE_LABEL)
}

/// What a Namespace that is being created must look like. Without settled roles its roles stay unknown: nothing in it
/// is rewritten until the controller has labelled it.
pub fn admit_namespace(
    settled: Option<&Settled>,
    registry: &Registry,
    object: &str,
) -> Result<Rewrite, RewriteError> {
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
                Pointer::annotation(REVISION_ANNOTATION),
                settled.map(|s| s.revision.to_string()),
            ),
            (Pointer::annotation(OBJECTS_ANNOTATION), None),
            (Pointer::annotation(UNENROLLED_ANNOTATION), None),
        ])
        .collect();
    let enrolment = Pointer::of(&["metadata", "labels", ENFORCE_LABEL]);
    let pointers = wanted.iter().map(|(pointer, _)| pointer);
    // The label comes first: a warning names the first change.
    let pointers: Vec<&Pointer> = [&enrolment].into_iter().chain(pointers).collect();
    let view = View::parse(object, pointers.iter().copied()).map_err(RewriteError::NotJson)?;

    let label = view.enforce_label().and_then(|value| value.parse().ok());
    let remembered = || registry.enforcement(&view.own_name()?);
    let Some(enforcement) = label.or_else(remembered) else {
        return Ok(Rewrite::default());
    };
    if view.name().is_none_or(|name| !may_enrol(&name)) {
        return Ok(Rewrite::default());
    }
    let mut patch = PatchBuilder::new(&view, &pointers, &[]);
    let mut changes = Vec::new();
    let enrolled = (enrolment.clone(), Some(enforcement.as_str().to_owned()));
    for (i, (pointer, value)) in [&enrolled].into_iter().chain(&wanted).enumerate() {
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
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn settled() -> Settled {
        Settled {
            site: "east".into(),
            roles: Roles::all(Role::Secondary),
            revision: 4,
        }
    }

    fn registry() -> Registry {
        let site = json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": {"name": "cluster"},
            "spec": {"siteName": "east", "role": "secondary"},
            "status": {
                "namespaces": ["known", "kube-public"], "left": ["lost"], "deleted": ["gone", "flux"],
                "policyOnly": ["flux"],
            },
        });
        Registry::of(&serde_json::from_value(site).unwrap())
    }

    #[rstest]
    #[case("known", None, "enabled")]
    #[case("lost", None, "enabled")]
    #[case("gone", None, "enabled")]
    #[case::remembered_as_policy("flux", None, "policy")]
    #[case::own_label("gone", Some("policy"), "policy")]
    #[case::invalid_label("gone", Some("disabled"), "enabled")]
    fn a_namespace_with_a_remembered_name_comes_back_enrolled(
        #[case] name: &str,
        #[case] label: Option<&str>,
        #[case] expected: &str,
    ) {
        let mut namespace = json!({"metadata": {
            "name": name, "annotations": {UNENROLLED_ANNOTATION: "2026-01-01T00:00:00Z bob"},
        }});
        if let Some(label) = label {
            namespace["metadata"]["labels"] = json!({ENFORCE_LABEL: label});
        }
        assert!(concerns(&registry(), name, &namespace.to_string()));
        let created = admitted(Some(&settled()), namespace);
        let labels = &created["metadata"]["labels"];
        assert_eq!(labels[ENFORCE_LABEL], expected);
        assert_eq!(labels["failover.dev/workloads"], "secondary");
        let mark = &created["metadata"]["annotations"][UNENROLLED_ANNOTATION];
        assert!(mark.is_null(), "nobody unenrols one by creating it");
    }

    #[test]
    fn a_generated_name_is_not_a_remembered_name() {
        let namespace = json!({"metadata": {"generateName": "gone"}});
        assert!(!concerns(&registry(), "", &namespace.to_string()));
        assert_eq!(admitted(Some(&settled()), namespace.clone()), namespace);
    }

    fn admitted(settled: Option<&Settled>, mut namespace: Value) -> Value {
        let rewrite = admit_namespace(settled, &registry(), &namespace.to_string()).unwrap();
        json_patch::patch(&mut namespace, &rewrite.patch).unwrap();
        let again = admit_namespace(settled, &registry(), &namespace.to_string()).unwrap();
        assert!(again.is_empty(), "{again:?}");
        namespace
    }

    #[test]
    fn a_new_namespace_gets_the_settled_roles() {
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
                "annotations": {SITE_ANNOTATION: "east", REVISION_ANNOTATION: "4"},
            }})
        );
    }

    #[test]
    fn a_new_namespace_cannot_bring_roles_or_exemptions() {
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
    fn a_namespace_without_room_for_its_roles_is_refused() {
        let padding = "y".repeat(crate::admission::annotations::LIMIT - 1);
        let namespace = json!({"metadata": {
            "name": "shop", "labels": {ENFORCE_LABEL: "enabled"}, "annotations": {"x": padding},
        }});
        let refused = admit_namespace(Some(&settled()), &registry(), &namespace.to_string());
        assert!(
            matches!(refused, Err(RewriteError::NoRoom { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_namespace_that_is_not_or_never_enrolled_is_unchanged() {
        for metadata in [
            json!({"name": "shop"}),
            json!({"name": "kube-public"}),
            json!({"name": "shop", "labels": {ENFORCE_LABEL: "disabled"}}),
            json!({"name": "kube-system", "labels": {ENFORCE_LABEL: "enabled"}}),
            json!({"name": "failover-system", "labels": {ENFORCE_LABEL: "enabled"}}),
        ] {
            let namespace = json!({"metadata": metadata});
            assert_eq!(admitted(Some(&settled()), namespace.clone()), namespace);
        }
    }
}
