//! The walk itself: [`next`] moves the journal on as far as the world allows and names the act that follows.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::steps::{self, Task, task};
use super::targets::{differing, objects_of, ordered, other_objects, setting_out};
use super::{
    Act, BLOCKED_LIMIT, EnrolledNamespace, HISTORY_LIMIT, Look, Observation, Whose, check_step,
    layer_step, pause, role_in_effect, size, steady, walking,
};
use crate::api::{
    Blocked, HistoryEntry, NotWaitedFor, Outcome, Phase, RoleRequest, SiteStatus, Step,
    StepDuration, StepName, StepState, Transition,
};
use crate::guards::{GuardId, Overrides};
use crate::role::{Layer, Role, Roles};

/// Brings `status` to what is so now, and returns what to do once that is written.
pub(super) fn next(observation: &Observation<'_>, status: &mut SiteStatus) -> Act {
    if let Some(pause) = pause(observation.site, observation.now) {
        status.phase = Some(Phase::Paused);
        let until = pause.until.as_ref();
        return Act::Wait {
            until: until.map_or_else(|| later(observation), |t| t.0),
        };
    }
    count_on(observation, status);
    start_if_ordered(observation, status);
    let_go(observation, status);
    follow_objects(observation, status);
    loop {
        if let Some(mut transition) = status.transition.take() {
            if let Some(act) = walk(observation, status, &mut transition) {
                status.transition = Some(transition);
                return act;
            }
            finish(observation, status, &transition, Outcome::Succeeded);
        }
        status.transition = steady::take_over(observation, status);
        if status.transition.is_none() {
            return steady::hold(observation, status);
        }
    }
}

/// A Site that is new counts on from the one that was before it: replicas report the numbers that the Namespaces still say,
/// and would seem to have seen what is only to be ordered.
fn count_on(observation: &Observation<'_>, status: &mut SiteStatus) {
    if status.step == 0 {
        let said = observation.namespaces.iter().filter_map(|n| n.state.step);
        // Whoever may write a Namespace of a primary may write any number.
        let plausible = said.filter(|step| (0..LARGEST_STEP).contains(step));
        status.step = plausible.max().unwrap_or_default();
    }
}

/// No site comes so far in its life.
const LARGEST_STEP: i64 = 1 << 40;

/// Gives a change of what is in force of single objects a number of its own, so that enforcers are waited for and a sweep
/// follows. A namespace that has not reached the present number gets the change with it.
fn follow_objects(observation: &Observation<'_>, status: &mut SiteStatus) {
    let changed = observation.namespaces.iter().any(|n| {
        n.state.step == Some(status.step) && objects_of(observation, n) != &n.state.objects
    });
    if changed {
        rise(observation, status);
        if let Some(transition) = &mut status.transition {
            verify_anew(transition);
        }
    }
}

/// What a walk has waited for and verified counts no more: it goes through its steps again, from the layers as they are.
fn verify_anew(transition: &mut Transition) {
    for step in &mut transition.steps {
        let task = task(step.name, transition.to);
        if task.is_some_and(|task| task != Task::Ask) {
            step.state = StepState::Pending;
            step.doing = String::new();
            step.blocked = vec![];
            step.not_waited_for = vec![];
            step.started_at = None;
            step.finished_at = None;
        }
    }
}

pub(super) fn rise(observation: &Observation<'_>, status: &mut SiteStatus) {
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
        request.id.clone()
    };
    let from = role_in_effect(status, observation.namespaces);
    let settled = status.layers.uniform() == Some(spec.role);
    let news = status.observed_request.as_ref() != Some(&id);
    status.observed_request = Some(id.clone());
    let mut waited = vec![];
    let mut newcomers = (vec![], Roles::default());
    match &status.transition {
        // That of newcomers goes on for as long as the site stays where they are led.
        Some(running) if !running.namespaces.is_empty() && settled && !news => return,
        Some(running)
            if running.namespaces.is_empty() && running.to == spec.role && running.id == id =>
        {
            return;
        }
        Some(_) => {
            let superseded = status.transition.take().expect("matched as present");
            if settled {
                newcomers = (superseded.namespaces.clone(), superseded.layers);
            }
            if superseded.to == spec.role {
                waited.clone_from(&superseded.steps);
            }
            finish(observation, status, &superseded, Outcome::Superseded);
        }
        None if settled => return,
        None => {}
    }
    let (namespaces, layers) = newcomers;
    let mut transition = begin(Transition {
        id,
        from,
        namespaces,
        layers,
        ..requested(observation, request)
    });
    go_on_waiting(&mut transition, &waited);
    status.transition = Some(transition);
}

/// A transition about which nothing is said yet but what a request does.
pub(super) fn requested(observation: &Observation<'_>, request: RoleRequest) -> Transition {
    Transition {
        requested_by: request.requested_by,
        reason: request.reason,
        overrides: request.overrides,
        run_missed: request.run_missed,
        run_held_jobs: request.run_held_jobs,
        held_jobs_to_run: request.held_jobs_to_run,
        planned: !request.unplanned,
        ..steady::blank(observation)
    }
}

/// An order that repeats a running one, to override what holds it, does not begin its waits anew.
pub(super) fn go_on_waiting(transition: &mut Transition, waited: &[Step]) {
    for step in &mut transition.steps {
        let waits = matches!(task(step.name, transition.to), Some(Task::Wait(_)));
        let before = waited.iter().find(|before| before.name == step.name);
        if let Some(before) = before.filter(|before| waits && before.state != StepState::Done) {
            step.started_at.clone_from(&before.started_at);
        }
    }
}

/// Takes namespaces that have left out of the walk that takes them over. Should they come back they are led anew, from the
/// layers as they are then.
fn let_go(observation: &Observation<'_>, status: &mut SiteStatus) {
    let Some(mut transition) = status.transition.take() else {
        return;
    };
    let leads = !transition.namespaces.is_empty();
    let is_there = |name: &String| observation.namespaces.iter().any(|n| n.name == *name);
    transition.namespaces.retain(is_there);
    if leads && transition.namespaces.is_empty() {
        finish(observation, status, &transition, Outcome::Superseded);
    } else {
        status.transition = Some(transition);
    }
}

/// The transition with the steps that it needs.
pub(super) fn begin(mut transition: Transition) -> Transition {
    transition.steps = steps::steps(&transition);
    transition
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

/// Walks on. `None`: the last step is done.
fn walk(
    observation: &Observation<'_>,
    status: &mut SiteStatus,
    transition: &mut Transition,
) -> Option<Act> {
    status.phase = Some(walking(transition.to));
    let overrides = Overrides::parse_known(&transition.overrides);
    loop {
        let index = transition
            .steps
            .iter()
            .position(|s| s.state != StepState::Done)?;
        let Some(task) = known(&transition.steps[index], transition.to) else {
            status.phase = Some(Phase::Stalled);
            return Some(Act::Wait {
                until: later(observation),
            });
        };
        if transition.steps[index].state == StepState::Pending {
            let step = &mut transition.steps[index];
            step.state = StepState::Running;
            step.started_at.get_or_insert(Time(observation.now));
            let from = ordered(status, transition);
            if let Task::Move(layers) = task {
                let number = layer_step::enter(layers, observation, status, transition);
                transition.steps[index].number = number;
            }
            if index > 0 && transition.steps[index - 1].name == StepName::Guards {
                // Who comes from here on waits until the walk has ended: it may be live in layers left behind.
                status.namespaces = setting_out(observation, status, from);
            }
        }
        let labels = if task == Task::Ask {
            // A guard may hold for days; what is asked of single objects does not wait for it.
            other_objects(observation, status)
        } else {
            differing(observation, status, Some(transition))
        };
        let step = &transition.steps[index];
        let outcome = if labels.is_empty() {
            let look = Look {
                at: step.name,
                step: status.step,
                transition: transition.id.clone(),
                whose: Whose::Site,
            };
            match task {
                Task::Ask => {
                    check_step::ask(observation, status, transition, look, step, &overrides)
                }
                Task::Move(layers) => {
                    layer_step::go_on(layers, observation, status, step, &overrides)
                }
                Task::Wait(guard) => {
                    check_step::go_on(observation, status, look, step, guard, &overrides)
                }
            }
        } else {
            label(observation, step, labels)
        };
        let step = &mut transition.steps[index];
        let Some(act) = note(observation, step, outcome) else {
            step.changed = observation
                .sweep
                .filter(|report| step.number == Some(report.step))
                .map_or(0, |report| report.changed);
            continue;
        };
        if step.state == StepState::Blocked {
            status.phase = Some(Phase::Stalled);
        }
        return Some(act);
    }
}

/// What a step is about; `None`: a later version has written it. Then the walk stands, until that version is back or a new order
/// takes its place.
pub(super) fn known(step: &Step, to: Role) -> Option<Task> {
    task(step.name, to).filter(|_| !step.is_unknown())
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

/// Has the namespaces say what is ordered. Where one refuses that, the walk does not go ahead: what is in it would be left
/// behind unseen.
fn label(
    observation: &Observation<'_>,
    step: &Step,
    labels: Vec<EnrolledNamespace>,
) -> StepOutcome {
    let blocked: Vec<Blocked> = labels
        .iter()
        .filter_map(|namespace| {
            let (name, refusal) = observation.refused.get_key_value(&namespace.name)?;
            let why = &refusal.why;
            Some(Blocked {
                guard: GuardId::NotConforming.to_string(),
                object: Some(format!("{name}/namespaces/{name}")),
                message: format!(
                    "its roles cannot be written: {why}; find who refuses that, or take it out: kubectl failover unenroll {name}"
                ),
            })
        })
        .take(BLOCKED_LIMIT)
        .collect();
    StepOutcome {
        total: step.total,
        done: step.done,
        doing: "labelling the namespaces",
        stalled: !blocked.is_empty(),
        blocked,
        act: Some(Act::Label(labels)),
        ..StepOutcome::default()
    }
}

/// Moves a transition into the history.
fn finish(
    observation: &Observation<'_>,
    status: &mut SiteStatus,
    transition: &Transition,
    outcome: Outcome,
) {
    record(observation, &mut status.history, transition, outcome);
    if outcome == Outcome::Succeeded {
        status
            .namespaces
            .extend(transition.namespaces.iter().cloned());
        status.namespaces.sort();
    }
}

/// Puts a transition into a history.
pub(super) fn record(
    observation: &Observation<'_>,
    history: &mut Vec<HistoryEntry>,
    transition: &Transition,
    outcome: Outcome,
) {
    let took = |step: &Step| {
        let (from, to) = (step.started_at.as_ref()?, step.finished_at.as_ref()?);
        Some(StepDuration {
            name: step.name,
            seconds: to.0.duration_since(from.0).as_secs(),
        })
    };
    history.insert(
        0,
        HistoryEntry {
            id: transition.id.clone(),
            from: transition.from,
            to: transition.to,
            epoch: transition.epoch,
            requested_by: transition.requested_by.clone(),
            reason: transition.reason.clone(),
            overrides: transition.overrides.clone(),
            run_missed: transition.run_missed,
            run_held_jobs: transition.run_held_jobs,
            held_jobs_to_run: transition.held_jobs_to_run.clone(),
            namespaces: transition.namespaces.clone(),
            started_at: transition.started_at.clone(),
            finished_at: Time(observation.now),
            objects: transition.steps.iter().map(|step| step.changed).sum(),
            steps: transition.steps.iter().filter_map(took).collect(),
            outcome,
        },
    );
    history.truncate(HISTORY_LIMIT);
    history.iter_mut().for_each(size::cut_past);
}

/// A sweep of everything, under the roles that there are now.
pub(super) fn sweep_all(status: &SiteStatus) -> Act {
    Act::Sweep {
        step: status.step,
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
