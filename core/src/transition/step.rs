//! Common parts of the steps of a site and of a FailoverPolicy.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Act, Observation, step_loop};
use crate::api::{SiteStatus, Step};
use crate::role::Layer;

pub(super) fn rise(observation: &Observation<'_>, status: &mut SiteStatus) {
    status.revision += 1;
    status.revision_at = Some(Time(observation.now));
}

/// The state of a step of a site, or of a FailoverPolicy.
pub(super) type StepOutcome = step_loop::StepOutcome<Act>;

/// A sweep of all layers, under the current roles.
pub(super) fn sweep_all(status: &SiteStatus) -> Act {
    Act::Sweep {
        revision: status.revision,
        layers: &Layer::ALL,
    }
}

/// When a step began; now, if it is only about to begin.
pub(super) fn begun(observation: &Observation<'_>, step: &Step) -> Timestamp {
    step.started_at.as_ref().map_or(observation.now, |t| t.0)
}

/// When to observe again if no change is expected: an event may have been missed.
pub(super) fn later(observation: &Observation<'_>) -> Timestamp {
    observation.now + observation.sweep_every
}

pub(super) fn count<T>(items: &[T]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}
