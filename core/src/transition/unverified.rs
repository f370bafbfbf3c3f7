//! A sweep, or a check, that keeps failing: the state of the objects is not known.

use super::step::StepOutcome;
use super::{Failing, Observation, VERIFY_DEADLINE};
use crate::api::{Blocked, Step, StepActivity};
use crate::guards::{Applicability, GuardId, Overrides};
use crate::role::Role;

/// The effect of a long failure on a step.
pub(super) enum Unverified {
    /// A person has to act.
    Blocked(Box<StepOutcome>),
    /// An override lets it continue without verification.
    Waived,
}

/// Whether it has failed long enough to count. `covers` are the guards that might block unnoticed: continuing without a
/// check needs an override of each of them, in addition to `not-verified`.
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

/// The guards at the start that need a check.
pub(super) fn found_by_checking(to: Role) -> Vec<GuardId> {
    let at_the_start = |guard: &GuardId| guard.asked(to) == Some(Applicability::AtTheStart);
    let all = GuardId::ALL.into_iter();
    all.filter(at_the_start)
        .filter(|guard| guard.names_objects())
        .collect()
}
