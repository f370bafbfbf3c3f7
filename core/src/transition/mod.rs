//! A transition from one role to the other, as a level-triggered decision.
//!
//! ```text
//!            ┌──────────────────────────── observe ◄───────────────────────────┐
//!            ▼                                                                 │
//!   decide(Site, namespaces, webhook replicas, facts, last sweep, now)         │
//!            │                                                                 │
//!            ├─► WriteStatus   journal first: nothing is done that status does │
//!            │                 not already say                                 │
//!            ├─► Label         effective roles onto the namespaces             ├── act
//!            ├─► Sweep         re-admit what does not conform, then list again │
//!            ├─► Check         what the step waits for                         │
//!            └─► Wait          until something changes, or a time              │
//!                                                                              │
//!   step ► step ► ... ► history ───────────────────────────────────────────────┘
//! ```
//!
//! Nothing is remembered between two decisions but what the cluster says: status, labels, Leases. So a controller that is
//! killed anywhere, or a second one that takes over, continues where the journal stands.
//!
//! `steps` names the steps of a transition and what each does; `step_loop` goes through them:
//!
//! ```text
//!   to secondary   guards ► traffic ► gitops ► workloads ► podsGone ► volumes ► replication
//!   to primary     guards ► volumes ► replication ► cronJobs ► workloads + gitops ► jobs ► available ► traffic
//!
//!   a step that moves layers    journal ► label ► webhook replicas report ► sweep ► verify
//!   a step that waits           check ► check again ... ► nothing is in the way
//! ```
//!
//! Doubt stalls a transition and never turns it round: only a new order does, from the layers as they are.

mod advance;
mod check_step;
mod conditions;
mod journal;
mod layer_step;
mod membership;
mod observation;
mod policy;
mod size;
mod steady;
mod step;
mod step_loop;
mod steps;
mod targets;
mod unused_volumes;
mod unverified;

#[cfg(test)]
mod tests;

use jiff::SignedDuration;

use crate::api::{EnforcerStatus, SiteStatus};

pub use crate::namespace::EnrolledNamespace;
pub use membership::{DELETED_REMEMBERED, Presence, forget, left, remembered};
use observation::walking;
pub use observation::{
    Act, Check, CheckOwner, CheckReport, Deadlines, Enforcer, Failing, NamespaceRefusal,
    Observation, SweepProgress, SweepReport, is_paused, pause, role_in_effect,
};
pub use policy::{PolicyAct, decide_policy, promoting};
pub use size::JOURNAL_LIMIT;
pub use steps::guard_of;
pub use targets::in_transition;
pub use unused_volumes::{Closing, closing};

/// How long a live enforcer may take to report a step before the guard `enforcer-silent` holds. Twice what a Lease lives:
/// a replica that dies in the meantime has dropped out by then.
pub const ENFORCER_DEADLINE: SignedDuration = SignedDuration::from_secs(30);

/// How long sweeps, or a check, may fail in a row before the guard `not-verified` holds. Longer than a restart of the API server
/// takes, or a change of its leader.
pub const VERIFY_DEADLINE: SignedDuration = SignedDuration::from_secs(60);

/// How long after a sweep that left something a new one is made.
pub const SWEEP_RETRY: SignedDuration = SignedDuration::from_secs(5);

/// How long after a check that found something in the way another one is made: an eighth of the time that has been waited
/// already, but no sooner than the first and no later than the second. What takes a moment is noticed at once, and what takes
/// minutes is not checked all the time.
pub const CHECK_AGAIN: (SignedDuration, SignedDuration) = (
    SignedDuration::from_millis(250),
    SignedDuration::from_secs(5),
);

/// How many past transitions are kept.
pub const HISTORY_LIMIT: usize = 20;

/// The most objects that a step names as blocking it.
pub const BLOCKED_LIMIT: usize = 10;

/// Decides what to do next.
pub fn decide(observation: &Observation<'_>) -> Act {
    let before = observation.site.status.clone().unwrap_or_default();
    let mut status = before.clone();
    status.observed_generation = observation.site.metadata.generation;
    membership::follow(observation, &mut status);
    let act = advance::next(observation, &mut status);
    follow_enforcers(observation, &mut status);
    conditions::update(observation, &mut status);
    // The journal comes first: whatever is to be done must already be in the status.
    if status == before {
        act
    } else {
        Act::WriteStatus(Box::new(status))
    }
}

/// Follows which enforcers there are and what they have seen. When they were last seen moves on with every heartbeat, and
/// is written only together with something else.
fn follow_enforcers(observation: &Observation<'_>, status: &mut SiteStatus) {
    let news = |e: &Enforcer| (e.name.clone(), e.revision, e.namespaces);
    let known = |e: &EnforcerStatus| (e.name.clone(), e.revision, e.namespaces);
    if observation
        .enforcers
        .iter()
        .map(news)
        .ne(status.enforcers.iter().map(known))
    {
        status.enforcers = observation
            .enforcers
            .iter()
            .map(|e| EnforcerStatus {
                name: e.name.clone(),
                revision: e.revision,
                namespaces: e.namespaces,
                last_seen: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(e.last_seen),
            })
            .collect();
    }
}
