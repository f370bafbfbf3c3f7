//! What the enrolled Namespaces are to say, and which they are.

use super::{EnrolledNamespace, Observation};
use crate::api::SiteStatus;
use crate::namespace::{NamespaceState, ObjectRoles};
use crate::role::Role;

/// The namespaces that do not say what the status orders, as they should be.
pub(super) fn differing(
    observation: &Observation<'_>,
    status: &SiteStatus,
) -> Vec<EnrolledNamespace> {
    observation
        .namespaces
        .iter()
        .filter_map(|namespace| {
            let state = NamespaceState {
                roles: status.layers,
                site: Some(observation.site.spec.site_name.clone()),
                step: Some(status.step),
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
                    step: Some(status.step),
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
