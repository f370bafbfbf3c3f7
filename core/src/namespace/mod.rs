//! The effective state of a Namespace: the only source that enforcement reads.
//!
//! It is stored in the Namespace's own labels and annotations, so that the webhook's cache, the API server's
//! `namespaceObject` and a person with kubectl see the same state, and so that it survives the Site and its CRD.

mod exempt_label;
mod objects;
mod standing;

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::names::{
    ENFORCE_LABEL, NEVER_ENROLLED, OBJECTS_ANNOTATION, REVISION_ANNOTATION, SITE_ANNOTATION,
    UNENROLLED_ANNOTATION,
};
use crate::role::{Layer, Role, Roles};

pub use exempt_label::ExemptLabel;
pub use objects::{ObjectRole, ObjectRoles};
pub use standing::ObjectStanding;

/// Whether, and how far, a namespace is enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// Every ruled kind.
    Enabled,
    /// Only the objects that the annotation names.
    Policy,
}

impl Enforcement {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Policy => "policy",
        }
    }
}

impl FromStr for Enforcement {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        match s {
            "enabled" => Ok(Self::Enabled),
            "policy" => Ok(Self::Policy),
            _ => Err(()),
        }
    }
}

/// Everything that enforcement reads of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceState {
    /// `None`: not enrolled.
    pub enforcement: Option<Enforcement>,
    /// Effective roles; a layer that is `None` is not known yet, and nothing of it is rewritten.
    pub roles: Roles,
    pub objects: ObjectRoles,
    /// Name of the site, for messages.
    pub site: Option<String>,
    /// The revision of the roles written here.
    pub revision: Option<i64>,
    /// When and by whom it was unenrolled. Without meaning on an enrolled namespace, from which it is removed.
    pub unenrolled: Option<String>,
}

/// An enrolled Namespace and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolledNamespace {
    pub name: String,
    pub state: NamespaceState,
}

/// An invalid label or annotation. The other parts of the state are used; the invalid part counts as absent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceProblem {
    #[error("label {label} is {value:?}: use {expected}")]
    Label {
        label: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error(
        "annotation {OBJECTS_ANNOTATION} has {0:?}: use resource/name=exempt|exempt-if-labelled|site|primary|secondary|orphaned"
    )]
    Object(String),
    #[error("annotation {REVISION_ANNOTATION} is {0:?}: it must be a number")]
    Revision(String),
}

impl NamespaceState {
    /// Parses the state from a Namespace's labels and annotations. Never fails: see [`NamespaceProblem`].
    pub fn parse(
        labels: Option<&BTreeMap<String, String>>,
        annotations: Option<&BTreeMap<String, String>>,
    ) -> (Self, Vec<NamespaceProblem>) {
        let mut problems = Vec::new();
        let label = |key: &str| labels.and_then(|l| l.get(key)).map(String::as_str);
        let annotation = |key: &str| annotations.and_then(|a| a.get(key)).map(String::as_str);

        let enforcement = label(ENFORCE_LABEL).and_then(|value| {
            value
                .parse()
                .map_err(|()| {
                    problems.push(NamespaceProblem::Label {
                        label: ENFORCE_LABEL,
                        value: value.to_owned(),
                        expected: "enabled or policy",
                    });
                })
                .ok()
        });
        let mut roles = Roles::default();
        for layer in Layer::ALL {
            if let Some(value) = label(layer.label()) {
                match value.parse::<Role>() {
                    Ok(role) => roles.set(layer, Some(role)),
                    Err(_) => problems.push(NamespaceProblem::Label {
                        label: layer.label(),
                        value: value.to_owned(),
                        expected: "primary or secondary",
                    }),
                }
            }
        }
        let objects = annotation(OBJECTS_ANNOTATION)
            .map(|text| ObjectRoles::parse(text, &mut problems))
            .unwrap_or_default();
        let revision = annotation(REVISION_ANNOTATION).and_then(|text| {
            text.parse()
                .map_err(|_| problems.push(NamespaceProblem::Revision(text.to_owned())))
                .ok()
        });
        let site = annotation(SITE_ANNOTATION).map(str::to_owned);
        let unenrolled = annotation(UNENROLLED_ANNOTATION).map(str::to_owned);
        (
            Self {
                enforcement,
                roles,
                objects,
                site,
                revision,
                unenrolled,
            },
            problems,
        )
    }

    /// The labels of this state, and the ones that must be absent (`None`).
    pub fn labels(&self) -> BTreeMap<&'static str, Option<String>> {
        let mut labels: BTreeMap<_, _> = Layer::ALL
            .iter()
            .map(|layer| {
                (
                    layer.label(),
                    self.roles.of(*layer).map(|r| r.as_str().to_owned()),
                )
            })
            .collect();
        labels.insert(
            ENFORCE_LABEL,
            self.enforcement.map(|e| e.as_str().to_owned()),
        );
        labels
    }

    /// The annotations of this state, and the ones that must be absent (`None`).
    pub fn annotations(&self) -> BTreeMap<&'static str, Option<String>> {
        BTreeMap::from([
            (
                OBJECTS_ANNOTATION,
                (!self.objects.is_empty()).then(|| self.objects.to_string()),
            ),
            (SITE_ANNOTATION, self.site.clone()),
            (REVISION_ANNOTATION, self.revision.map(|s| s.to_string())),
            (UNENROLLED_ANNOTATION, self.unenrolled.clone()),
        ])
    }
}

/// Whether a namespace may ever be enrolled; see [`NEVER_ENROLLED`].
pub fn may_enrol(namespace: &str) -> bool {
    !NEVER_ENROLLED.contains(&namespace) && !namespace.starts_with("kube-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn a_printed_state_parses_to_the_same_state() {
        let mut state = NamespaceState {
            enforcement: Some(Enforcement::Policy),
            roles: Roles {
                volumes: None,
                ..Roles::all(Role::Secondary)
            },
            site: Some("east".into()),
            revision: Some(7),
            ..NamespaceState::default()
        };
        state.objects.set("deployments", "web", ObjectRole::Exempt);
        state.objects.set("cronjobs", "a.b", ObjectRole::Site);
        let present = |m: BTreeMap<&'static str, Option<String>>| -> BTreeMap<String, String> {
            m.into_iter()
                .filter_map(|(k, v)| Some((k.to_owned(), v?)))
                .collect()
        };
        let (labels, annotations) = (present(state.labels()), present(state.annotations()));
        assert_eq!(
            annotations[OBJECTS_ANNOTATION],
            "cronjobs/a.b=site deployments/web=exempt"
        );
        assert_eq!(
            NamespaceState::parse(Some(&labels), Some(&annotations)),
            (state, vec![])
        );
    }

    #[test]
    fn an_invalid_part_counts_as_absent_and_is_reported() {
        let labels = map(&[
            (ENFORCE_LABEL, "enabled"),
            ("failover.dev/workloads", "banana"),
            ("failover.dev/traffic", "secondary"),
        ]);
        let annotations = map(&[
            (
                OBJECTS_ANNOTATION,
                "deployments/web=exempt =primary web deployments/=exempt deployments/x=live",
            ),
            (REVISION_ANNOTATION, "many"),
        ]);
        let (state, problems) = NamespaceState::parse(Some(&labels), Some(&annotations));
        assert_eq!(
            state.roles,
            Roles {
                traffic: Some(Role::Secondary),
                ..Roles::default()
            }
        );
        assert_eq!(
            state.objects.get("deployments", "web"),
            Some(ObjectRole::Exempt)
        );
        assert_eq!(state.revision, None);
        assert_eq!(problems.len(), 6, "{problems:?}");
    }
}
