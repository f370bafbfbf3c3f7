//! The effective state of a Namespace: the only source that enforcement reads.
//!
//! It is stored in the Namespace's own labels and annotations, so that the webhook's cache, the API server's
//! `namespaceObject` and a person with kubectl see the same state, and so that it survives the Site and its CRD.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::names::{
    ENFORCE_LABEL, EXEMPT, NEVER_ENROLLED, OBJECTS_ANNOTATION, REVISION_ANNOTATION,
    SITE_ANNOTATION, UNENROLLED_ANNOTATION,
};
use crate::role::{Layer, Role, Roles};
use crate::rules::rule::{Reach, Rule};

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

/// The role of a single object, if it differs from its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectRole {
    /// No rule reaches it while it carries the exempt label.
    Exempt,
    /// It was exempt, and is deleted. A new object of its name with the exempt label is exempt again.
    ExemptIfLabelled,
    /// It follows its layer: how a policy names an object in a namespace enrolled as `policy`.
    Site,
    Primary,
    Secondary,
    /// Passive, whatever the role of its layer: its installer is gone, see [`crate::origin`].
    Orphaned,
}

impl ObjectRole {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::ExemptIfLabelled => "exempt-if-labelled",
            Self::Site => "site",
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::Orphaned => "orphaned",
        }
    }
}

/// Whether an object carries the exempt label, `failover.dev/enforce: disabled`. An exemption belongs to a name, and
/// applies only to an object with the label: a new object of that name may come without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExemptLabel {
    Present,
    Absent,
    /// A Scale does not show the labels of its object.
    Unseen,
    /// Of an existing volume, see [`Self::kept`].
    Lost,
}

impl ExemptLabel {
    /// From the value of the object's label `failover.dev/enforce`.
    pub fn of_value(value: Option<&str>) -> Self {
        if value == Some(EXEMPT) {
            Self::Present
        } else {
            Self::Absent
        }
    }

    /// Of a stored object.
    pub fn of(rule: &Rule, object: &Value) -> Self {
        Self::of_value(object["metadata"]["labels"][ENFORCE_LABEL].as_str()).kept(rule)
    }

    /// Of an existing object. A workload becomes passive as soon as it loses the label. A volume may be in use: its
    /// exemption ends only when the controller has found that nothing uses it, and removes the entry.
    #[must_use]
    pub fn kept(self, rule: &Rule) -> Self {
        match self {
            Self::Absent if rule.layer == Layer::Volumes => Self::Lost,
            other => other,
        }
    }
}

/// How enforcement treats an object, from everything that its Namespace says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectStanding {
    /// It is not rewritten, and may become more active: exempt, or not reached by any rule here.
    Free,
    /// Its layer's role is not known: it is not rewritten, and may not become more active.
    Unknown,
    Ruled(Role),
}

/// The annotation [`OBJECTS_ANNOTATION`]: `deployments/web=exempt deployments/api=primary`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectRoles(BTreeMap<String, ObjectRole>);

impl ObjectRoles {
    pub fn get(&self, resource: &str, name: &str) -> Option<ObjectRole> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&format!("{resource}/{name}")).copied()
    }

    pub fn set(&mut self, resource: &str, name: &str, role: ObjectRole) {
        self.0.insert(format!("{resource}/{name}"), role);
    }

    pub fn remove(&mut self, resource: &str, name: &str) -> Option<ObjectRole> {
        self.0.remove(&format!("{resource}/{name}"))
    }

    /// `(resource, name, role)`, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, ObjectRole)> {
        self.0.iter().filter_map(|(object, role)| {
            let (resource, name) = object.split_once('/')?;
            Some((resource, name, *role))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn parse(text: &str, problems: &mut Vec<NamespaceProblem>) -> Self {
        let mut roles = BTreeMap::new();
        for entry in text.split_whitespace() {
            let parsed = entry.rsplit_once('=').and_then(|(object, role)| {
                let (resource, name) = object.split_once('/')?;
                let role = match role {
                    "exempt" => ObjectRole::Exempt,
                    "exempt-if-labelled" => ObjectRole::ExemptIfLabelled,
                    "site" => ObjectRole::Site,
                    "primary" => ObjectRole::Primary,
                    "secondary" => ObjectRole::Secondary,
                    "orphaned" => ObjectRole::Orphaned,
                    _ => return None,
                };
                (!resource.is_empty() && !name.is_empty()).then_some((object, role))
            });
            match parsed {
                Some((object, role)) => {
                    roles.insert(object.to_owned(), role);
                }
                None => problems.push(NamespaceProblem::Object(entry.to_owned())),
            }
        }
        Self(roles)
    }
}

impl fmt::Display for ObjectRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (object, role)) in self.0.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            write!(f, "{space}{object}={}", role.as_str())?;
        }
        Ok(())
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

    /// The role of an object; `None` if no rule reaches it or its layer's role is not known.
    pub fn role_for(&self, rule: &Rule, name: &str, label: ExemptLabel) -> Option<Role> {
        match self.standing(rule, name, label) {
            ObjectStanding::Ruled(role) => Some(role),
            ObjectStanding::Free | ObjectStanding::Unknown => None,
        }
    }

    /// How enforcement treats an object.
    pub fn standing(&self, rule: &Rule, name: &str, label: ExemptLabel) -> ObjectStanding {
        self.standing_as(rule, self.entry_for(rule, name, label))
    }

    /// The entry of an object in [`Self::objects`]. An object without the label whose entry says exempt follows the
    /// site: the entry may be for a deleted object of the same name.
    fn entry_for(&self, rule: &Rule, name: &str, label: ExemptLabel) -> Option<ObjectRole> {
        let entry = self.objects.get(&rule.resource, name)?;
        Some(match (entry, label) {
            (
                ObjectRole::Exempt,
                ExemptLabel::Present | ExemptLabel::Unseen | ExemptLabel::Lost,
            )
            | (ObjectRole::ExemptIfLabelled, ExemptLabel::Present) => ObjectRole::Exempt,
            (ObjectRole::Exempt, ExemptLabel::Absent)
            | (
                ObjectRole::ExemptIfLabelled,
                ExemptLabel::Absent | ExemptLabel::Unseen | ExemptLabel::Lost,
            ) => ObjectRole::Site,
            (other, _) => other,
        })
    }

    /// Whether the role of an object depends on its label.
    pub fn asks_for_label(&self, rule: &Rule, name: &str) -> bool {
        let entry = self.objects.get(&rule.resource, name);
        matches!(
            entry,
            Some(ObjectRole::Exempt | ObjectRole::ExemptIfLabelled)
        )
    }

    /// How enforcement would treat an object with this entry in [`Self::objects`].
    pub fn standing_as(&self, rule: &Rule, entry: Option<ObjectRole>) -> ObjectStanding {
        let Some(enforcement) = self.enforcement else {
            return ObjectStanding::Free;
        };
        let layer = || {
            self.roles
                .of(rule.layer)
                .map_or(ObjectStanding::Unknown, ObjectStanding::Ruled)
        };
        match entry {
            Some(ObjectRole::Exempt) => ObjectStanding::Free,
            Some(ObjectRole::Primary) => ObjectStanding::Ruled(Role::Primary),
            Some(ObjectRole::Secondary | ObjectRole::Orphaned) => {
                ObjectStanding::Ruled(Role::Secondary)
            }
            Some(ObjectRole::Site | ObjectRole::ExemptIfLabelled) => layer(),
            None if enforcement == Enforcement::Policy || rule.reach == Reach::Named => {
                ObjectStanding::Free
            }
            None => layer(),
        }
    }

    /// Whether an object has the role of its layer, and so changes with it: it is neither exempt nor has a role of its
    /// own. An orphaned object is secondary with its layer, and does not follow it to primary.
    pub fn follows_layer(&self, rule: &Rule, name: &str, label: ExemptLabel) -> bool {
        match self.entry_for(rule, name, label) {
            Some(ObjectRole::Site | ObjectRole::Orphaned | ObjectRole::ExemptIfLabelled) => {
                self.enforcement.is_some()
            }
            Some(ObjectRole::Exempt | ObjectRole::Primary | ObjectRole::Secondary) => false,
            None => self.enforcement == Some(Enforcement::Enabled) && rule.reach != Reach::Named,
        }
    }

    /// Whether the originals of an object that is no longer enforced must be restored. An exempt object: always,
    /// because nothing else will ever restore it, unless it is a volume that has lost the label. An object that is
    /// merely no longer reached: while its layer is primary.
    pub fn lets_go(&self, rule: &Rule, name: &str, label: ExemptLabel) -> bool {
        let is_exempt = label != ExemptLabel::Lost
            && self.entry_for(rule, name, label) == Some(ObjectRole::Exempt);
        self.standing(rule, name, label) == ObjectStanding::Free
            && (is_exempt || self.roles.of(rule.layer) == Some(Role::Primary))
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

    #[test]
    fn single_objects_can_have_another_role_than_their_namespace() {
        let rules = crate::RuleSet::built_in();
        let deployment = rules.find("apps", "deployments").unwrap();
        let kustomization = rules
            .find("kustomize.toolkit.fluxcd.io", "kustomizations")
            .unwrap();
        let mut state = NamespaceState {
            enforcement: Some(Enforcement::Enabled),
            roles: Roles::all(Role::Secondary),
            ..NamespaceState::default()
        };
        state
            .objects
            .set("deployments", "proxy", ObjectRole::Exempt);
        state
            .objects
            .set("deployments", "moved", ObjectRole::Primary);
        state
            .objects
            .set("kustomizations", "apps", ObjectRole::Site);
        let label = ExemptLabel::Present;
        let role = |state: &NamespaceState, rule, name| state.role_for(rule, name, label);
        assert_eq!(role(&state, deployment, "web"), Some(Role::Secondary));
        assert_eq!(role(&state, deployment, "proxy"), None);
        assert_eq!(role(&state, deployment, "moved"), Some(Role::Primary));
        assert_eq!(
            role(&state, kustomization, "other"),
            None,
            "only where a policy names it"
        );
        assert_eq!(role(&state, kustomization, "apps"), Some(Role::Secondary));
        let following = |state: &NamespaceState| {
            let deployments = ["web", "proxy", "moved"]
                .into_iter()
                .filter(|name| state.follows_layer(deployment, name, label));
            let kustomizations = ["other", "apps"]
                .into_iter()
                .filter(|name| state.follows_layer(kustomization, name, label));
            deployments.chain(kustomizations).collect::<Vec<_>>()
        };
        assert_eq!(following(&state), ["web", "apps"]);

        state.enforcement = Some(Enforcement::Policy);
        assert_eq!(role(&state, deployment, "web"), None);
        assert_eq!(role(&state, deployment, "moved"), Some(Role::Primary));
        assert_eq!(following(&state), ["apps"]);

        state.enforcement = None;
        assert_eq!(role(&state, deployment, "moved"), None);
    }
}
