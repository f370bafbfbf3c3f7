//! No transition: enforce the roles, take over new namespaces, sweep at intervals.

use super::journal::begin;
use super::journal::blank;
use super::layer_step::silent;
use super::size::TAKEN_OVER_AT_ONCE;
use super::step::{rise, sweep_all};
use super::targets::{differing, registry};
use super::{Act, ENFORCER_DEADLINE, Observation, SWEEP_RETRY};
use crate::api::{Phase, SiteStatus, Transition};
use crate::role::{Layer, Role, Roles};

/// Begins the takeover of new namespaces, from their current layers. They may come to a secondary active: their volumes
/// must not be demoted before their pods are gone. They come to a primary active and are only labelled, unless the
/// transition that demoted them was reversed midway.
/// Namespaces that already have the ordered roles were created empty, with the roles in the same write.
pub(super) fn take_over(
    observation: &Observation<'_>,
    status: &mut SiteStatus,
) -> Option<Transition> {
    let to = status.layers.uniform()?;
    let needs_transition = |roles: &Roles| match to {
        Role::Secondary => *roles != status.layers,
        Role::Primary => roles.has(Role::Secondary),
    };
    let came: Vec<_> = observation
        .namespaces
        .iter()
        .filter(|n| needs_transition(&n.state.roles) && !status.namespaces.contains(&n.name))
        .collect();
    let layers = came.first()?.state.roles;
    let together = came.iter().filter(|n| n.state.roles == layers);
    let together = together.take(TAKEN_OVER_AT_ONCE);
    let namespaces = together.map(|namespace| namespace.name.clone()).collect();
    rise(observation, status);
    Some(begin(Transition {
        id: format!("enrol-{}", status.revision),
        from: (to == Role::Primary).then_some(Role::Secondary),
        to,
        namespaces,
        layers,
        ..blank(observation)
    }))
}

pub(super) fn hold(observation: &Observation<'_>, status: &mut SiteStatus) -> Act {
    status.phase = Some(Phase::Stable);
    let came = observation.namespaces.iter().any(|namespace| {
        let registered = status.namespaces.contains(&namespace.name);
        // Deleted and created again: the objects that the last sweep observed under its name are gone.
        let returned = namespace.state.revision.is_none()
            && observation
                .sweep
                .is_some_and(|report| report.revision == status.revision);
        !registered || returned
    });
    if came {
        // A new revision, so that enforcers report that they have observed the new namespaces, and a sweep is due.
        rise(observation, status);
    }
    status.namespaces = registry(observation);
    let differing = differing(observation, status, None);
    if !differing.iter().all(|n| refuses(observation, &n.name)) {
        return Act::Label(differing);
    }
    match observation.sweep {
        Some(report) if report.covers(&Layer::ALL, status) => {
            let due = report.finished_at
                + if report.left > 0 {
                    SWEEP_RETRY
                } else {
                    observation.sweep_every
                };
            if observation.now < due {
                Act::Wait { until: due }
            } else {
                sweep_all(status)
            }
        }
        _ => match catching_up(observation, status) {
            Some(until) => Act::Wait { until },
            None => sweep_all(status),
        },
    }
}

/// Whether a namespace has just refused its roles. It is retried at intervals, and does not keep others from being
/// swept.
fn refuses(observation: &Observation<'_>, name: &str) -> bool {
    let refusal = observation.refused.get(name);
    refusal.is_some_and(|refusal| observation.now < refusal.at + observation.sweep_every)
}

/// Until when to wait for a live enforcer that has not observed the current revision yet. After that the sweep starts:
/// it writes what the webhook does not.
fn catching_up(observation: &Observation<'_>, status: &SiteStatus) -> Option<jiff::Timestamp> {
    let until = status.revision_at.as_ref()?.0 + ENFORCER_DEADLINE;
    let behind = !silent(observation, status).is_empty();
    (behind && observation.now < until).then_some(until)
}
