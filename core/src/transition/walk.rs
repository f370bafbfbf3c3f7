//! The steps themselves: [`next`] moves the journal on as far as the world allows and names the act that follows.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::namespaces::{differing, objects_of, other_objects, registry};
use super::{
    Act, BLOCKED_LIMIT, ENFORCER_DEADLINE, HISTORY_LIMIT, Observation, SWEEP_RETRY, is_paused,
    role_in_effect, walking,
};
use crate::api::{
    Blocked, HistoryEntry, Outcome, Phase, SiteStatus, Step, StepName, StepState, Transition,
};
use crate::guard::{self, GuardId, Overrides};
use crate::role::{Role, Roles};

/// Brings `status` to what is so now, and returns what to do once that is written.
pub(super) fn next(observation: &Observation<'_>, status: &mut SiteStatus) -> Act {
    if is_paused(observation.site, observation.now) {
        status.phase = Some(Phase::Paused);
        let until = observation
            .site
            .spec
            .paused
            .as_ref()
            .and_then(|p| p.until.as_ref());
        return Act::Wait {
            until: until.map_or_else(|| later(observation), |t| t.0),
        };
    }
    start_if_ordered(observation, status);
    follow_objects(observation, status);
    if let Some(mut transition) = status.transition.take() {
        if let Some(act) = walk(observation, status, &mut transition) {
            status.transition = Some(transition);
            return act;
        }
        finish(observation, status, &transition, Outcome::Succeeded);
    }
    settled(observation, status)
}

/// Gives a change of what is in force of single objects a number of its own, so that enforcers are waited for and a sweep
/// follows. A namespace that has not reached the present number gets the change with it.
fn follow_objects(observation: &Observation<'_>, status: &mut SiteStatus) {
    let changed = observation.namespaces.iter().any(|n| {
        n.state.step == Some(status.step) && objects_of(observation, n) != &n.state.objects
    });
    if !changed {
        return;
    }
    rise(observation, status);
    // What a walk has waited for and verified under the number before counts no more.
    let steps = status.transition.iter_mut().flat_map(|t| &mut t.steps);
    for step in steps.filter(|step| step.name > StepName::Roles) {
        step.state = StepState::Pending;
        step.blocked = vec![];
        step.started_at = None;
        step.finished_at = None;
    }
}

fn rise(observation: &Observation<'_>, status: &mut SiteStatus) {
    status.step += 1;
    status.step_at = Some(Time(observation.now));
}

/// Starts a transition where the spec orders another one than is journalled or done.
fn start_if_ordered(observation: &Observation<'_>, status: &mut SiteStatus) {
    let spec = &observation.site.spec;
    let request = spec.request.clone().unwrap_or_default();
    let id = if request.id.is_empty() {
        format!("birth-{}", spec.site_name)
    } else {
        request.id
    };
    let from = role_in_effect(status, observation.namespaces);
    match &status.transition {
        Some(running) if running.to == spec.role && running.id == id => return,
        Some(_) => {
            let superseded = status.transition.take().expect("matched as present");
            finish(observation, status, &superseded, Outcome::Superseded);
        }
        None if status.layers.uniform() == Some(spec.role) => return,
        None => {}
    }
    status.transition = Some(Transition {
        id,
        from,
        to: spec.role,
        epoch: spec.epoch,
        requested_by: request.requested_by,
        reason: request.reason,
        overrides: request.overrides,
        started_at: Time(observation.now),
        planned: !request.unplanned,
        steps: StepName::ALL
            .map(|name| Step {
                name,
                state: StepState::Pending,
                total: 0,
                done: 0,
                blocked: vec![],
                started_at: None,
                finished_at: None,
            })
            .into(),
    });
}

/// Walks on. `None`: the last step is done.
fn walk(
    observation: &Observation<'_>,
    status: &mut SiteStatus,
    transition: &mut Transition,
) -> Option<Act> {
    status.phase = Some(walking(transition.to));
    let overrides = Overrides::parse_known(&transition.overrides);
    loop {
        let from = transition.from;
        let to = transition.to;
        let step = transition
            .steps
            .iter_mut()
            .find(|s| s.state != StepState::Done)?;
        let entered = step.state == StepState::Pending;
        if entered {
            step.state = StepState::Running;
            step.started_at = Some(Time(observation.now));
        }
        if step.name == StepName::Guards {
            // A guard may hold for days; what is asked of single objects does not wait for it.
            let objects = other_objects(observation, status);
            if !objects.is_empty() {
                return Some(Act::Label(objects));
            }
        }
        // Namespaces that came, or were tampered with, after the roles were written.
        if step.name > StepName::Roles {
            let differing = differing(observation, status);
            if !differing.is_empty() {
                return Some(Act::Label(differing));
            }
        }
        let outcome = match step.name {
            StepName::Guards => guards(from, to, observation, status, &overrides),
            StepName::Roles => {
                if entered {
                    status.layers = Roles::all(to);
                    rise(observation, status);
                }
                status.namespaces = registry(observation, status);
                roles(observation, status)
            }
            StepName::Enforcers => enforcers(observation, status, step, &overrides),
            StepName::Sweep => sweep(observation, status),
            StepName::Verify => verify(observation, status, &overrides),
        };
        step.total = outcome.total;
        step.done = outcome.done;
        step.blocked = outcome.blocked;
        match outcome.act {
            None => {
                step.state = StepState::Done;
                step.finished_at = Some(Time(observation.now));
            }
            Some(act) => {
                let held = !step.blocked.is_empty();
                step.state = if held {
                    StepState::Blocked
                } else {
                    StepState::Running
                };
                if held {
                    status.phase = Some(Phase::Stalled);
                }
                return Some(act);
            }
        }
    }
}

/// Where a step stands, and what to do for it; no act: it is done.
struct StepOutcome {
    total: i64,
    done: i64,
    blocked: Vec<Blocked>,
    act: Option<Act>,
}

fn guards(
    from: Option<Role>,
    to: Role,
    observation: &Observation<'_>,
    status: &SiteStatus,
    overrides: &Overrides,
) -> StepOutcome {
    let holds = guard::holding(from, to, &observation.facts, overrides);
    let blocked: Vec<Blocked> = holds
        .into_iter()
        .map(|hold| Blocked {
            guard: hold.guard.to_string(),
            object: hold.object,
            message: format!("{}; {}", hold.message, hold.hint),
        })
        .collect();
    StepOutcome {
        total: count(&blocked),
        done: 0,
        act: (!blocked.is_empty()).then(|| {
            let swept = observation.sweep.is_some_and(|r| r.step == status.step);
            if swept || status.layers.uniform().is_none() {
                Act::Wait {
                    until: later(observation),
                }
            } else {
                Act::Sweep { step: status.step }
            }
        }),
        blocked,
    }
}

fn roles(observation: &Observation<'_>, status: &SiteStatus) -> StepOutcome {
    let differing = differing(observation, status);
    let total = count(observation.namespaces);
    StepOutcome {
        total,
        done: total - count(&differing),
        blocked: vec![],
        act: (!differing.is_empty()).then_some(Act::Label(differing)),
    }
}

fn enforcers(
    observation: &Observation<'_>,
    status: &SiteStatus,
    step: &Step,
    overrides: &Overrides,
) -> StepOutcome {
    let enrolled = count(observation.namespaces);
    let silent: Vec<_> = observation
        .enforcers
        .iter()
        .filter(|e| enrolled > 0 && (e.step < status.step || e.namespaces < enrolled))
        .collect();
    let total = count(observation.enforcers);
    let done = total - count(&silent);
    if silent.is_empty() || overrides.allows(GuardId::EnforcerSilent) {
        return StepOutcome {
            total,
            done,
            blocked: vec![],
            act: None,
        };
    }
    let deadline = step.started_at.as_ref().map_or(observation.now, |t| t.0) + ENFORCER_DEADLINE;
    let blocked = if observation.now < deadline {
        vec![]
    } else {
        silent
            .iter()
            .take(BLOCKED_LIMIT)
            .map(|e| Blocked {
                guard: GuardId::EnforcerSilent.to_string(),
                object: None,
                message: format!(
                    "webhook replica {} is alive but has seen step {} of {} in {} of {enrolled} namespaces; restart it, or override",
                    e.name, e.step, status.step, e.namespaces
                ),
            })
            .collect()
    };
    let until = if blocked.is_empty() {
        deadline
    } else {
        later(observation)
    };
    StepOutcome {
        total,
        done,
        blocked,
        act: Some(Act::Wait { until }),
    }
}

/// Done as soon as a sweep under these roles has been made; what it left is for [`verify`].
fn sweep(observation: &Observation<'_>, status: &SiteStatus) -> StepOutcome {
    match observation
        .sweep
        .filter(|report| report.step == status.step)
    {
        Some(report) => StepOutcome {
            total: report.total,
            done: report.total - report.left,
            blocked: vec![],
            act: None,
        },
        None => StepOutcome {
            total: 0,
            done: 0,
            blocked: vec![],
            act: Some(Act::Sweep { step: status.step }),
        },
    }
}

fn verify(
    observation: &Observation<'_>,
    status: &SiteStatus,
    overrides: &Overrides,
) -> StepOutcome {
    let Some(report) = observation
        .sweep
        .filter(|report| report.step == status.step)
    else {
        // A controller that took over has not seen for itself.
        return StepOutcome {
            total: 0,
            done: 0,
            blocked: vec![],
            act: Some(Act::Sweep { step: status.step }),
        };
    };
    let (total, done) = (report.total, report.total - report.left);
    let waived = |blocked: &Blocked| {
        blocked
            .object
            .as_deref()
            .is_some_and(|o| overrides.allows_object(GuardId::NotConforming, o))
    };
    let all_named = count(&report.blocked) == report.left;
    if report.left == 0
        || overrides.allows(GuardId::NotConforming)
        || (all_named && report.blocked.iter().all(waived))
    {
        return StepOutcome {
            total,
            done,
            blocked: vec![],
            act: None,
        };
    }
    let retry = report.finished_at + SWEEP_RETRY;
    let act = if observation.now < retry {
        Act::Wait { until: retry }
    } else {
        Act::Sweep { step: status.step }
    };
    StepOutcome {
        total,
        done,
        blocked: report.blocked.clone(),
        act: Some(act),
    }
}

/// No transition: hold what is, take in newly enrolled namespaces, sweep now and then.
fn settled(observation: &Observation<'_>, status: &mut SiteStatus) -> Act {
    status.phase = Some(Phase::Stable);
    let came = observation.namespaces.iter().any(|namespace| {
        let registered = status.namespaces.contains(&namespace.name);
        // Deleted and created anew: what the last sweep saw under its name is gone.
        let returned = namespace.state.step.is_none()
            && observation
                .sweep
                .is_some_and(|report| report.step == status.step);
        !registered || returned
    });
    if came {
        // A new number, so that enforcers report that they have seen the newcomers, and the sweep counts as due.
        rise(observation, status);
    }
    status.namespaces = registry(observation, status);
    let differing = differing(observation, status);
    if !differing.is_empty() {
        return Act::Label(differing);
    }
    match observation.sweep {
        Some(report) if report.step == status.step => {
            let due = report.finished_at
                + if report.left > 0 {
                    SWEEP_RETRY
                } else {
                    observation.sweep_every
                };
            if observation.now < due {
                Act::Wait { until: due }
            } else {
                Act::Sweep { step: status.step }
            }
        }
        _ => match catching_up(observation, status) {
            Some(until) => Act::Wait { until },
            None => Act::Sweep { step: status.step },
        },
    }
}

/// Until when a live enforcer is waited for that has not seen the present number yet. After that the sweep goes ahead: it
/// writes what the webhook does not.
fn catching_up(observation: &Observation<'_>, status: &SiteStatus) -> Option<jiff::Timestamp> {
    let enrolled = count(observation.namespaces);
    let until = status.step_at.as_ref()?.0 + ENFORCER_DEADLINE;
    let behind = observation
        .enforcers
        .iter()
        .any(|e| enrolled > 0 && (e.step < status.step || e.namespaces < enrolled));
    (behind && observation.now < until).then_some(until)
}

/// Moves a transition into the history.
fn finish(
    observation: &Observation<'_>,
    status: &mut SiteStatus,
    transition: &Transition,
    outcome: Outcome,
) {
    let changed = observation
        .sweep
        .filter(|report| report.step == status.step)
        .map_or(0, |report| report.changed);
    status.history.insert(
        0,
        HistoryEntry {
            id: transition.id.clone(),
            from: transition.from,
            to: transition.to,
            epoch: transition.epoch,
            requested_by: transition.requested_by.clone(),
            reason: transition.reason.clone(),
            overrides: transition.overrides.clone(),
            started_at: transition.started_at.clone(),
            finished_at: Time(observation.now),
            objects: changed,
            outcome,
        },
    );
    status.history.truncate(HISTORY_LIMIT);
}

/// When to look again where nothing is expected: what was observed may have missed something.
fn later(observation: &Observation<'_>) -> jiff::Timestamp {
    observation.now + observation.sweep_every
}

fn count<T>(items: &[T]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}
