//! One step: where it stands, and what is noted of it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Act, Observation, size};
use crate::api::{Blocked, NotWaitedFor, SiteStatus, Step, StepState};
use crate::role::Layer;

pub(super) fn rise(observation: &Observation<'_>, status: &mut SiteStatus) {
    status.revision += 1;
    status.revision_at = Some(Time(observation.now));
}

/// Where a step stands, and what to do for it; no act: it is done.
#[derive(Debug, Default)]
pub(super) struct StepOutcome {
    pub total: i64,
    pub done: i64,
    pub doing: &'static str,
    pub blocked: Vec<Blocked>,
    pub not_waited_for: Vec<NotWaitedFor>,
    /// What is in the way holds the step, and somebody should look.
    pub stalled: bool,
    pub act: Option<Act>,
}

/// Notes in the journal where a step stands, and returns what there is to do for it; nothing: it is done.
pub(super) fn note(
    observation: &Observation<'_>,
    step: &mut Step,
    outcome: StepOutcome,
) -> Option<Act> {
    step.total = outcome.total;
    step.done = outcome.done;
    step.blocked = outcome.blocked;
    size::cut_blocked(&mut step.blocked);
    step.not_waited_for = outcome.not_waited_for;
    if outcome.act.is_none() {
        step.state = StepState::Done;
        step.doing = String::new();
        step.finished_at = Some(Time(observation.now));
        return None;
    }
    outcome.doing.clone_into(&mut step.doing);
    step.state = if outcome.stalled {
        StepState::Blocked
    } else {
        StepState::Running
    };
    outcome.act
}

/// A sweep of everything, under the roles that there are now.
pub(super) fn sweep_all(status: &SiteStatus) -> Act {
    Act::Sweep {
        revision: status.revision,
        layers: &Layer::ALL,
    }
}

/// When a step began; one that is only about to begins now.
pub(super) fn begun(observation: &Observation<'_>, step: &Step) -> Timestamp {
    step.started_at.as_ref().map_or(observation.now, |t| t.0)
}

/// When to look again where nothing is expected: what was observed may have missed something.
pub(super) fn later(observation: &Observation<'_>) -> Timestamp {
    observation.now + observation.sweep_every
}

pub(super) fn count<T>(items: &[T]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}
