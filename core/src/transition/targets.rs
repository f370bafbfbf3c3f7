//! The desired state of the enrolled Namespaces, and which they are.

use super::{EnrolledNamespace, Observation};
use crate::api::{Site, SiteStatus, StepName, Transition};
use crate::namespace::{NamespaceState, ObjectRoles};
use crate::role::{Role, Roles};

/// The roles that a transition has ordered so far, for the namespaces that it includes.
pub(super) fn ordered(status: &SiteStatus, transition: &Transition) -> Roles {
    if transition.namespaces.is_empty() {
        status.layers
    } else {
        transition.layers
    }
}

/// Orders roles.
pub(super) fn order(status: &mut SiteStatus, transition: &mut Transition, roles: Roles) {
    if transition.namespaces.is_empty() {
        status.layers = roles;
    } else {
        transition.layers = roles;
    }
}

/// The namespaces that differ from their desired state, with that state. During a transition, a namespace that is
/// neither registered nor taken over by it keeps its roles.
pub(super) fn differing(
    observation: &Observation<'_>,
    status: &SiteStatus,
    transition: Option<&Transition>,
) -> Vec<EnrolledNamespace> {
    let taken_over = |name: &String| transition.filter(|t| t.namespaces.contains(name));
    let waits = |name: &String| {
        transition.is_some() && taken_over(name).is_none() && !status.namespaces.contains(name)
    };
    observation
        .namespaces
        .iter()
        .filter_map(|namespace| {
            let roles = if waits(&namespace.name) {
                namespace.state.roles
            } else {
                taken_over(&namespace.name).map_or(status.layers, |t| t.layers)
            };
            let state = NamespaceState {
                roles,
                site: Some(observation.site.spec.site_name.clone()),
                revision: Some(status.revision),
                unenrolled: None,
                objects: objects_of(observation, namespace).clone(),
                enforcement: namespace.state.enforcement,
            };
            (state != namespace.state).then(|| EnrolledNamespace {
                name: namespace.name.clone(),
                state,
            })
        })
        .collect()
}

/// The namespaces that a check of the running transition includes: the ones that it takes over, or else all registered
/// ones. Guards are evaluated before any is registered.
pub fn in_transition(
    site: &Site,
    enrolled: &[EnrolledNamespace],
    at: StepName,
) -> Vec<EnrolledNamespace> {
    let Some(status) = &site.status else {
        return vec![];
    };
    let taken_over = status.transition.as_ref().map(|t| &t.namespaces);
    let is_included = |name: &String| match taken_over.filter(|names| !names.is_empty()) {
        Some(names) => names.contains(name),
        None => at == StepName::Guards || status.namespaces.contains(name),
    };
    enrolled
        .iter()
        .filter(|namespace| is_included(&namespace.name))
        .cloned()
        .collect()
}

/// The namespaces whose object roles differ, with nothing else changed.
pub(super) fn other_objects(
    observation: &Observation<'_>,
    status: &SiteStatus,
) -> Vec<EnrolledNamespace> {
    observation
        .namespaces
        .iter()
        .filter_map(|namespace| {
            let objects = objects_of(observation, namespace);
            (*objects != namespace.state.objects).then(|| EnrolledNamespace {
                name: namespace.name.clone(),
                state: NamespaceState {
                    objects: objects.clone(),
                    revision: Some(status.revision),
                    ..namespace.state.clone()
                },
            })
        })
        .collect()
}

/// The names of enrolled namespaces.
pub(super) fn registry(observation: &Observation<'_>) -> Vec<String> {
    let enrolled = observation.namespaces.iter();
    enrolled.map(|namespace| namespace.name.clone()).collect()
}

/// The registry when a transition starts from these layers. It includes new namespaces whose roles match the layers, or
/// that are active while all layers are primary. Any other would get secondary volumes under its pods, or pods on
/// volumes that are not primary yet.
pub(super) fn setting_out(
    observation: &Observation<'_>,
    status: &SiteStatus,
    from: Roles,
) -> Vec<String> {
    let is_live =
        |roles: &Roles| from.uniform() == Some(Role::Primary) && !roles.has(Role::Secondary);
    let mut names = registry(observation);
    names.retain(|name| {
        let enrolled = observation.namespaces.iter().find(|n| n.name == *name);
        let roles = enrolled.map(|namespace| &namespace.state.roles);
        status.namespaces.contains(name)
            || roles.is_some_and(|roles| *roles == from || is_live(roles))
    });
    names
}

/// The desired object roles of a namespace.
pub(super) fn objects_of<'a>(
    observation: &Observation<'a>,
    namespace: &'a EnrolledNamespace,
) -> &'a ObjectRoles {
    observation
        .objects
        .get(&namespace.name)
        .unwrap_or(&namespace.state.objects)
}
