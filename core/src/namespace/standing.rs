//! How enforcement treats an object.

use super::{Enforcement, ExemptLabel, NamespaceState, ObjectRole};
use crate::role::Role;
use crate::rules::rule::{Reach, Rule};

/// How enforcement treats an object, from everything that its Namespace says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectStanding {
    /// It is not rewritten, and may become more active: exempt, or not reached by any rule here.
    Free,
    /// Its layer's role is not known: it is not rewritten, and may not become more active.
    Unknown,
    Ruled(Role),
}

impl NamespaceState {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Roles;

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
