//! A sweep, or a check, that fails again and again: how objects stand is not known.

use super::step::StepOutcome;
use super::{Failing, Observation, VERIFY_DEADLINE};
use crate::api::{Blocked, Step, StepActivity};
use crate::guards::{Applicability, GuardId, Overrides};
use crate::role::Role;

/// Where failing for so long leaves a step.
pub(super) enum Unverified {
    /// A person should look.
    Blocked(Box<StepOutcome>),
    /// Somebody has said that it goes on without.
    Waived,
}

/// Whether it has failed for so long that it counts. `covers` are the guards under which what is not seen would hold: going on
/// without having looked takes the consent to each of them, on top of that to not having looked.
pub(super) fn unverified<T>(
    observation: &Observation<'_>,
    failing: Option<&Failing<T>>,
    covers: &[GuardId],
    step: &Step,
    overrides: &Overrides,
) -> Option<Unverified> {
    let failing = failing.filter(|f| observation.now >= f.since + VERIFY_DEADLINE)?;
    let mut needed = vec![GuardId::NotVerified];
    needed.extend_from_slice(covers);
    if needed.iter().all(|guard| overrides.allows(*guard)) {
        return Some(Unverified::Waived);
    }
    let needed: Vec<_> = needed.iter().map(|guard| guard.as_str()).collect();
    Some(Unverified::Blocked(Box::new(StepOutcome {
        total: step.total,
        done: step.done,
        activity: Some(StepActivity::Retrying),
        blocked: vec![Blocked {
            guard: GuardId::NotVerified.to_string(),
            object: None,
            message: format!(
                "{}; it is retried; check that the API server answers the controller, and read the log of the controller; to continue without verification, override {}",
                failing.why,
                needed.join(" and ")
            ),
        }],
        stalled: true,
        ..StepOutcome::default()
    })))
}

/// The guards of the start that are found by looking.
pub(super) fn found_by_checking(to: Role) -> Vec<GuardId> {
    let at_the_start = |guard: &GuardId| guard.asked(to) == Some(Applicability::AtTheStart);
    let all = GuardId::ALL.into_iter();
    all.filter(at_the_start)
        .filter(|guard| guard.names_objects())
        .collect()
}
