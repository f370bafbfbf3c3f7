//! What the enrolled Namespaces are to say, and which they are.

use super::{EnrolledNamespace, Observation};
use crate::api::{Site, SiteStatus, StepName, Transition};
use crate::namespace::{NamespaceState, ObjectRoles};
use crate::role::{Role, Roles};

/// What a transition has ordered so far, of the namespaces that it is about.
pub(super) fn ordered(status: &SiteStatus, transition: &Transition) -> Roles {
    if transition.namespaces.is_empty() {
        status.layers
    } else {
        transition.layers
    }
}

/// Orders it.
pub(super) fn order(status: &mut SiteStatus, transition: &mut Transition, roles: Roles) {
    if transition.namespaces.is_empty() {
        status.layers = roles;
    } else {
        transition.layers = roles;
    }
}

/// The namespaces that do not say what is ordered of them, as they should be. While a transition is under way, one that is
/// neither registered nor taken over by it keeps the roles it has.
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

/// The namespaces that a check of the transition under way is about: those that it takes over, or else all that are registered.
/// Guards are asked before anybody is.
pub fn in_transition(
    site: &Site,
    enrolled: &[EnrolledNamespace],
    at: StepName,
) -> Vec<EnrolledNamespace> {
    let Some(status) = &site.status else {
        return vec![];
    };
    let taken_over = status.transition.as_ref().map(|t| &t.namespaces);
    let on_it = |name: &String| match taken_over.filter(|names| !names.is_empty()) {
        Some(names) => names.contains(name),
        None => at == StepName::Guards || status.namespaces.contains(name),
    };
    enrolled
        .iter()
        .filter(|namespace| on_it(&namespace.name))
        .cloned()
        .collect()
}

/// The namespaces whose single objects are to stand otherwise, with nothing else changed.
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

/// The names of what is enrolled and, unless the site is primary, of what was when it was deleted: under such a name no
/// Namespace comes back outside enforcement. One that is there without its label was released by somebody who may do so.
pub(super) fn registry(observation: &Observation<'_>, status: &SiteStatus) -> Vec<String> {
    let enrolled = observation.namespaces.iter().map(|n| n.name.clone());
    let mut names: Vec<String> = enrolled.collect();
    if status.layers.uniform() != Some(Role::Primary) {
        let vanished = status
            .namespaces
            .iter()
            .filter(|name| !observation.outside.contains(name));
        names.extend(vanished.cloned());
        names.sort();
        names.dedup();
    }
    names
}

/// The registry as a transition sets out from these layers. Of the namespaces that came since the last one it takes those along
/// that are where the layers are, or live where all of these are. One that is not would find its volumes secondary under its
/// pods, or its pods over volumes that are not primary yet.
pub(super) fn setting_out(
    observation: &Observation<'_>,
    status: &SiteStatus,
    from: Roles,
) -> Vec<String> {
    let is_live =
        |roles: &Roles| from.uniform() == Some(Role::Primary) && !roles.has(Role::Secondary);
    let mut names = registry(observation, status);
    names.retain(|name| {
        let enrolled = observation.namespaces.iter().find(|n| n.name == *name);
        let roles = enrolled.map(|namespace| &namespace.state.roles);
        status.namespaces.contains(name)
            || roles.is_some_and(|roles| *roles == from || is_live(roles))
    });
    names
}

/// What is to be in force of a namespace's single objects.
pub(super) fn objects_of<'a>(
    observation: &Observation<'a>,
    namespace: &'a EnrolledNamespace,
) -> &'a ObjectRoles {
    observation
        .objects
        .get(&namespace.name)
        .unwrap_or(&namespace.state.objects)
}
