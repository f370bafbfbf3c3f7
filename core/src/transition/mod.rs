//! A transition from one role to the other, as a level-triggered decision.
//!
//! ```text
//!            ┌──────────────────────────── observe ◄───────────────────────────┐
//!            ▼                                                                 │
//!   decide(Site, namespaces, webhook replicas, facts, last sweep, now)         │
//!            │                                                                 │
//!            ├─► WriteStatus   journal first: every act must be in the status  │
//!            │                 before it is performed                          │
//!            ├─► Label         effective roles onto the namespaces             ├── act
//!            ├─► Sweep         re-admit nonconforming objects, then list again │
//!            ├─► Check         the condition of the step                       │
//!            └─► Wait          until something changes, or a time              │
//!                                                                              │
//!   step ► step ► ... ► history ───────────────────────────────────────────────┘
//! ```
//!
//! No state is kept between two decisions but in the cluster: status, labels, Leases. So a controller that is killed at
//! any time, or a second one that becomes leader, continues from the journal.
//!
//! `steps` defines the steps of a transition and what each does; `step_loop` advances them:
//!
//! ```text
//!   to secondary   guards ► traffic ► gitops ► workloads ► podsGone ► volumes ► replication
//!   to primary     guards ► volumes ► replication ► cronJobs ► workloads + gitops ► jobs ► available ► traffic
//!
//!   a step that moves layers    journal ► label ► webhook replicas report ► sweep ► verify
//!   a step that waits           check ► check again ... ► nothing blocks
//! ```
//!
//! Doubt stalls a transition and never reverses it: only a new request does, from the current layers.

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
use observation::phase_of;
pub use observation::{
    Act, Check, CheckOwner, CheckReport, Deadlines, Enforcer, Failing, NamespaceRefusal,
    Observation, SweepProgress, SweepReport, is_paused, pause, role_in_effect,
};
pub use policy::{PolicyAct, decide_policy, promoting};
pub use size::JOURNAL_LIMIT;
pub use steps::guard_of;
pub use targets::in_transition;
pub use unused_volumes::{Closing, closing};

/// How long a live enforcer may take to report a revision before the guard `enforcer-silent` blocks. Twice the duration
/// of a Lease: a replica that dies in the meantime no longer counts by then.
pub const ENFORCER_DEADLINE: SignedDuration = SignedDuration::from_secs(30);

/// How long sweeps, or a check, may fail in a row before the guard `not-verified` blocks. Longer than a restart of the
/// API server, or a change of its leader, takes.
pub const VERIFY_DEADLINE: SignedDuration = SignedDuration::from_secs(60);

/// How long after a sweep that left nonconforming objects the next one starts.
pub const SWEEP_RETRY: SignedDuration = SignedDuration::from_secs(5);

/// How long after a check that found a blocker the next one starts: an eighth of the time waited so far, within these
/// limits. So a short wait ends at once, and a long one is not checked all the time.
pub const CHECK_AGAIN: (SignedDuration, SignedDuration) = (
    SignedDuration::from_millis(250),
    SignedDuration::from_secs(5),
);

/// How many past transitions are kept.
pub const HISTORY_LIMIT: usize = 20;

/// The most objects that a step names as blockers.
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
    // The journal comes first: an act must already be in the status.
    if status == before {
        act
    } else {
        Act::WriteStatus(Box::new(status))
    }
}

/// Updates the enforcers and their revisions. Their last heartbeat is written only together with another change.
fn follow_enforcers(observation: &Observation<'_>, status: &mut SiteStatus) {
    let reported = |e: &Enforcer| (e.name.clone(), e.revision, e.namespaces);
    let known = |e: &EnforcerStatus| (e.name.clone(), e.revision, e.namespaces);
    if observation
        .enforcers
        .iter()
        .map(reported)
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
