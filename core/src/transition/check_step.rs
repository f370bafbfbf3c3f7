//! A step that waits for a condition: it checks again and again until nothing blocks.

use jiff::SignedDuration;

use super::step::{StepOutcome, begun, later, sweep_all};
use super::unverified::{Unverified, found_by_checking, unverified};
use super::{Act, CHECK_AGAIN, Check, CheckReport, Observation};
use crate::api::{Blocked, SiteStatus, Step, StepActivity, StepName, Transition};
use crate::guards::{self, GuardId, Overrides};
use crate::role::Role;

pub(super) fn go_on(
    observation: &Observation<'_>,
    status: &SiteStatus,
    check: Check,
    step: &Step,
    guard: GuardId,
    overrides: &Overrides,
) -> StepOutcome {
    let failing = observation.failing_check.filter(|f| f.of == check);
    match unverified(observation, failing, &[guard], step, overrides) {
        Some(Unverified::Waived) => return StepOutcome::default(),
        Some(Unverified::Blocked(outcome)) => {
            return StepOutcome {
                act: Some(Act::Check(check)),
                ..*outcome
            };
        }
        None => {}
    }
    let Some(report) = fresh(observation, step, &check) else {
        return StepOutcome {
            total: step.total,
            done: step.done,
            blocked: step.blocked.clone(),
            not_waited_for: step.not_waited_for.clone(),
            activity: Some(StepActivity::Checking),
            act: Some(Act::Check(check)),
            ..StepOutcome::default()
        };
    };
    let (total, done) = (report.total, report.total - report.left);
    let not_waited_for = report.not_waited_for.clone();
    let begun = begun(observation, step);
    let overdue = observation.now >= begun + deadline(observation, step.name);
    // An override ends the wait at its deadline, it does not skip it: a condition that is met in time is never
    // overridden.
    let waived = overdue && overrides.waive(guard, &report.blocked, report.left);
    let passes = report.left == 0 || waived;
    if passes && is_recent(observation, report) {
        return StepOutcome {
            total,
            done,
            not_waited_for,
            ..StepOutcome::default()
        };
    }
    let waited = report.finished_at.duration_since(begun);
    let next = report.finished_at + (waited / 8).clamp(CHECK_AGAIN.0, CHECK_AGAIN.1);
    StepOutcome {
        total,
        done,
        activity: Some(StepActivity::Waiting),
        blocked: report.blocked.clone(),
        not_waited_for,
        stalled: overdue && !passes,
        act: Some(if observation.now >= next {
            Act::Check(check)
        } else {
            sweep_meanwhile(observation, status).unwrap_or(Act::Wait { until: next })
        }),
    }
}

/// A wait may be long, and already changed layers may drift meanwhile: the condition would then never be met.
fn sweep_meanwhile(observation: &Observation<'_>, status: &SiteStatus) -> Option<Act> {
    let swept = observation.sweep.is_some_and(|report| {
        report.revision == status.revision
            && observation.now < report.finished_at + observation.sweep_every
    });
    (!swept).then(|| sweep_all(status))
}

/// Evaluates the guards, after the check that they need.
pub(super) fn ask(
    observation: &Observation<'_>,
    status: &SiteStatus,
    transition: &Transition,
    check: Check,
    step: &Step,
    overrides: &Overrides,
) -> StepOutcome {
    let failing = observation.failing_check.filter(|f| f.of == check);
    let covers = found_by_checking(transition.to);
    let nothing_seen = CheckReport {
        check: check.clone(),
        total: 0,
        left: 0,
        blocked: vec![],
        not_waited_for: vec![],
        finished_at: observation.now,
    };
    let report = match unverified(observation, failing, &covers, step, overrides) {
        // The guards that need no check are still evaluated.
        Some(Unverified::Waived) => Some(&nothing_seen),
        Some(Unverified::Blocked(outcome)) => {
            return StepOutcome {
                act: Some(Act::Check(check)),
                ..*outcome
            };
        }
        None => fresh(observation, step, &check),
    };
    let Some(report) = report else {
        return StepOutcome {
            activity: Some(StepActivity::EvaluatingGuards),
            act: Some(Act::Check(check)),
            ..StepOutcome::default()
        };
    };
    let standing = guards::holding(
        transition.from,
        transition.to,
        &observation.facts,
        overrides,
    );
    let mut blocked: Vec<Blocked> = standing.into_iter().map(Blocked::from).collect();
    if transition.to == Role::Secondary && transition.namespaces.is_empty() {
        let left = guards::of_left(&status.left).into_iter().map(Blocked::from);
        blocked.extend(left.filter(|b| !overrides.waives(b)));
    }
    let seen = report.blocked.iter().filter(|b| !overrides.waives(b));
    blocked.extend(seen.cloned());
    if blocked.is_empty() {
        return StepOutcome {
            act: (!is_recent(observation, report)).then_some(Act::Check(check)),
            ..StepOutcome::default()
        };
    }
    let total = super::step::count(&blocked);
    blocked.truncate(super::BLOCKED_LIMIT);
    let next = report.finished_at + observation.sweep_every.min(ASK_AGAIN);
    // A guard may block for days.
    let sweep = status
        .layers
        .uniform()
        .and_then(|_| sweep_meanwhile(observation, status));
    StepOutcome {
        total,
        done: 0,
        activity: Some(StepActivity::EvaluatingGuards),
        blocked,
        stalled: true,
        act: Some(if observation.now >= next {
            Act::Check(check)
        } else {
            sweep.unwrap_or(Act::Wait {
                until: next.min(later(observation)),
            })
        }),
        ..StepOutcome::default()
    }
}

/// How long the writes to batch workloads may take.
const SETTLED_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// How often guards that block are evaluated again.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// The last check, if it was made for this step, under these roles, since the step began: as far as known, because
/// another leader's clock may be ahead of ours.
fn fresh<'a>(observation: &Observation<'a>, step: &Step, check: &Check) -> Option<&'a CheckReport> {
    let begun = begun(observation, step);
    observation.check.filter(|report| {
        let since = report.finished_at >= begun || begun > observation.now;
        report.check == *check && since
    })
}

/// The maximum age of a check that lets a transition continue. A check ages if the transition does not continue at
/// once: while the site is paused, or the journal cannot be written.
const RECENT: SignedDuration = SignedDuration::from_secs(10);

pub(super) fn is_recent(observation: &Observation<'_>, report: &CheckReport) -> bool {
    observation.now.duration_since(report.finished_at) <= RECENT
}

fn deadline(observation: &Observation<'_>, step: StepName) -> SignedDuration {
    let deadlines = observation.deadlines;
    match step {
        StepName::PodsGone => deadlines.pods_gone,
        StepName::Replication => deadlines.replication,
        StepName::Available => deadlines.available,
        // Somebody else may have written it first, or the API server was busy.
        _ => SETTLED_WITHIN,
    }
}
