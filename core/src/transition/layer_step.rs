//! A step that moves layers: label, wait for the enforcers, sweep, verify. Its progress follows from the observation,
//! so nothing needs to be remembered.

use super::step::{StepOutcome, begun, count, later, rise};
use super::targets::{order, ordered};
use super::unverified::{Unverified, unverified};
use super::{Act, BLOCKED_LIMIT, ENFORCER_DEADLINE, Enforcer, Observation, SWEEP_RETRY};
use crate::api::{Blocked, SiteStatus, Step, StepActivity, Transition};
use crate::guards::{GuardId, Overrides};
use crate::role::Layer;

/// Orders the layers; the namespaces are labelled once that is written. Returns the new revision, if the roles change.
pub(super) fn enter(
    layers: &[Layer],
    observation: &Observation<'_>,
    status: &mut SiteStatus,
    transition: &mut Transition,
) -> Option<i64> {
    let mut roles = ordered(status, transition);
    for layer in layers {
        roles.set(*layer, Some(transition.to));
    }
    if roles == ordered(status, transition) {
        return None;
    }
    order(status, transition, roles);
    rise(observation, status);
    Some(status.revision)
}

/// The work that is left once the namespaces have the ordered labels.
pub(super) fn go_on(
    layers: &'static [Layer],
    observation: &Observation<'_>,
    status: &SiteStatus,
    step: &Step,
    overrides: &Overrides,
) -> StepOutcome {
    enforcers(observation, status, overrides)
        .unwrap_or_else(|| sweep(layers, observation, status, step, overrides))
}

/// Waits until every live enforcer has observed the current revision; `None`: they have.
pub(super) fn enforcers(
    observation: &Observation<'_>,
    status: &SiteStatus,
    overrides: &Overrides,
) -> Option<StepOutcome> {
    let enrolled = count(observation.namespaces);
    let silent = silent(observation, status);
    if silent.is_empty() {
        return None;
    }
    let total = count(observation.enforcers);
    let raised = status.revision_at.as_ref().map_or(observation.now, |t| t.0);
    let deadline = raised + ENFORCER_DEADLINE;
    let stalled = observation.now >= deadline;
    // Enforcers that are still catching up are waited for, whatever the override.
    if stalled && overrides.allows(GuardId::EnforcerSilent) {
        return None;
    }
    let blocked: Vec<Blocked> = silent
        .iter()
        .take(BLOCKED_LIMIT)
        .map(|e| Blocked {
            guard: GuardId::EnforcerSilent.to_string(),
            object: None,
            message: format!(
                "webhook replica {} lags behind: revision {} of {}, {} of {enrolled} namespaces; restart it, or override",
                e.name, e.revision, status.revision, e.namespaces
            ),
        })
        .collect();
    Some(StepOutcome {
        total,
        done: total - count(&silent),
        activity: Some(StepActivity::WaitingForWebhooks),
        blocked: if stalled { blocked } else { vec![] },
        stalled,
        act: Some(Act::Wait {
            until: if stalled {
                later(observation)
            } else {
                deadline
            },
        }),
        ..StepOutcome::default()
    })
}

/// The live enforcers that have not observed the current revision in every namespace.
pub(super) fn silent<'a>(observation: &Observation<'a>, status: &SiteStatus) -> Vec<&'a Enforcer> {
    let enrolled = count(observation.namespaces);
    observation
        .enforcers
        .iter()
        .filter(|e| enrolled > 0 && (e.revision < status.revision || e.namespaces < enrolled))
        .collect()
}

/// Waits until a sweep of these layers under their roles has found only conforming objects. Other layers do not block:
/// they have their own steps.
fn sweep(
    layers: &'static [Layer],
    observation: &Observation<'_>,
    status: &SiteStatus,
    step: &Step,
    overrides: &Overrides,
) -> StepOutcome {
    let again = Act::Sweep {
        revision: status.revision,
        layers,
    };
    let Some(report) = observation
        .sweep
        .filter(|report| report.covers(layers, status))
    else {
        let failing = observation
            .failing_sweep
            .filter(|f| f.of == status.revision);
        let covers = [GuardId::NotConforming];
        return match unverified(observation, failing, &covers, step, overrides) {
            Some(Unverified::Waived) => StepOutcome::default(),
            Some(Unverified::Blocked(outcome)) => StepOutcome {
                act: Some(again),
                ..*outcome
            },
            None => {
                let progress = observation.sweep_progress.unwrap_or_default();
                StepOutcome {
                    total: progress.total,
                    done: progress.done,
                    activity: Some(StepActivity::Sweeping),
                    act: Some(again),
                    ..StepOutcome::default()
                }
            }
        };
    };
    let (total, done) = (report.total, report.total - report.left);
    // An object that has only lost a race is not left behind: the override is for objects that a second sweep cannot
    // bring in line either.
    let again_in_vain = report.finished_at >= begun(observation, step) + SWEEP_RETRY
        && overrides.waive(GuardId::NotConforming, &report.blocked, report.left);
    if report.left == 0 || again_in_vain {
        return StepOutcome {
            total,
            done,
            ..StepOutcome::default()
        };
    }
    let retry = report.finished_at + SWEEP_RETRY;
    StepOutcome {
        total,
        done,
        activity: Some(StepActivity::Sweeping),
        blocked: report.blocked.clone(),
        stalled: true,
        act: Some(if observation.now < retry {
            Act::Wait { until: retry }
        } else {
            again
        }),
        ..StepOutcome::default()
    }
}
