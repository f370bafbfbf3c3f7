//! What the steps of a site and of a FailoverPolicy have in common.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Act, Observation, step_loop};
use crate::api::{SiteStatus, Step};
use crate::role::Layer;

pub(super) fn rise(observation: &Observation<'_>, status: &mut SiteStatus) {
    status.revision += 1;
    status.revision_at = Some(Time(observation.now));
}

/// Where a step of a site, or of a FailoverPolicy, stands.
pub(super) type StepOutcome = step_loop::StepOutcome<Act>;

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
