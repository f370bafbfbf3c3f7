//! The transition of the site: [`next`] advances its journal as far as the observation allows and returns the next act.

use jiff::Timestamp;

use super::journal::{begin, go_on_waiting, record, requested};
use super::step::{StepOutcome, count, later, rise};
use super::step_loop;
use super::steps::{Task, task};
use super::targets::{differing, objects_of, ordered, other_objects, setting_out};
use super::{
    Act, BLOCKED_LIMIT, Check, CheckOwner, EnrolledNamespace, Observation, check_step, layer_step,
    pause, phase_of, role_in_effect, steady,
};
use crate::api::{
    Blocked, Outcome, Phase, SiteStatus, Step, StepActivity, StepName, StepState, Transition,
};
use crate::guards::{self, GuardId, Overrides};
use crate::role::{Role, Roles};

/// Updates `status` and returns the act to perform once it is written.
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
    remove_left(observation, status);
    follow_objects(observation, status);
    loop {
        if let Some(mut transition) = status.transition.take() {
            if let Some(act) = advance_steps(observation, status, &mut transition) {
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

/// A new Site continues the revisions of the one before it: replicas report the revisions that the Namespaces still
/// have, and would otherwise seem to have observed a revision that is only about to be ordered.
fn count_on(observation: &Observation<'_>, status: &mut SiteStatus) {
    if status.revision == 0 {
        let said = observation
            .namespaces
            .iter()
            .filter_map(|n| n.state.revision);
        // Everybody who may write a Namespace of a primary may write any number here.
        let plausible = said.filter(|revision| (0..LARGEST_REVISION).contains(revision));
        status.revision = plausible.max().unwrap_or_default();
    }
}

/// No site reaches this revision in its lifetime.
const LARGEST_REVISION: i64 = 1 << 40;

/// Gives a change of the object roles a revision of its own, so that enforcers are waited for and a sweep follows. A
/// namespace that has not reached the current revision gets the change with it.
fn follow_objects(observation: &Observation<'_>, status: &mut SiteStatus) {
    let changed = observation.namespaces.iter().any(|n| {
        n.state.revision == Some(status.revision) && objects_of(observation, n) != &n.state.objects
    });
    if changed {
        rise(observation, status);
        if let Some(transition) = &mut status.transition {
            verify_anew(transition);
        }
    }
}

/// The waits and verifications of a transition no longer count: it repeats its steps, from the current layers.
fn verify_anew(transition: &mut Transition) {
    for step in &mut transition.steps {
        let task = task(step.name, transition.to);
        if task.is_some_and(|task| task != Task::Ask) {
            step.state = StepState::Pending;
            step.activity = None;
            step.blocked = vec![];
            step.not_waited_for = vec![];
            step.started_at = None;
            step.finished_at = None;
        }
    }
}

/// Starts a transition if the spec orders another one than the journal has or completed.
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
    let is_new_request = status.observed_request.as_ref() != Some(&id);
    status.observed_request = Some(id.clone());
    let mut waited = vec![];
    let mut newcomers = (vec![], Roles::default());
    match &status.transition {
        // The takeover of namespaces continues while the site stays in the role that it is_takeover them to.
        Some(running) if !running.namespaces.is_empty() && settled && !is_new_request => return,
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

/// Removes namespaces that have left from the transition that takes them over. If they come back they are taken over
/// again, from the layers that they have then.
fn remove_left(observation: &Observation<'_>, status: &mut SiteStatus) {
    let Some(mut transition) = status.transition.take() else {
        return;
    };
    let is_takeover = !transition.namespaces.is_empty();
    let is_there = |name: &String| observation.namespaces.iter().any(|n| n.name == *name);
    transition.namespaces.retain(is_there);
    if is_takeover && transition.namespaces.is_empty() {
        finish(observation, status, &transition, Outcome::Superseded);
    } else {
        status.transition = Some(transition);
    }
}

/// Advances the steps of the site's transition. `None`: the last one is done.
fn advance_steps(
    observation: &Observation<'_>,
    status: &mut SiteStatus,
    transition: &mut Transition,
) -> Option<Act> {
    status.phase = Some(phase_of(transition.to));
    let advanced = step_loop::advance(&mut SiteSteps {
        overrides: Overrides::parse_known(&transition.overrides),
        observation,
        status,
        transition,
    });
    let (act, stalled) = advanced.act(|| Act::Wait {
        until: later(observation),
    })?;
    if stalled {
        status.phase = Some(Phase::Stalled);
    }
    Some(act)
}

/// The steps of a site's transition.
struct SiteSteps<'a> {
    observation: &'a Observation<'a>,
    status: &'a mut SiteStatus,
    transition: &'a mut Transition,
    overrides: Overrides,
}

impl step_loop::Subject for SiteSteps<'_> {
    type Task = Task;
    type Act = Act;

    fn now(&self) -> Timestamp {
        self.observation.now
    }

    fn steps(&mut self) -> &mut [Step] {
        &mut self.transition.steps
    }

    fn task(&self, step: &Step) -> Option<Task> {
        task(step.name, self.transition.to)
    }

    fn begin(&mut self, index: usize, task: Task) {
        let from = ordered(self.status, self.transition);
        if let Task::Move(layers) = task {
            let revision =
                layer_step::enter(layers, self.observation, self.status, self.transition);
            self.transition.steps[index].revision = revision;
        }
        if index > 0 && self.transition.steps[index - 1].name == StepName::Guards {
            // A namespace that comes later waits until the transition has ended: it may be active in layers that are
            // already demoted.
            self.status.namespaces = setting_out(self.observation, self.status, from);
        }
    }

    fn work(&mut self, index: usize, task: Task) -> StepOutcome {
        if let Some(left) = self.left_behind(task) {
            return left;
        }
        let (observation, status) = (self.observation, &*self.status);
        let labels = if task == Task::Ask {
            // A guard may block for days; the object roles do not wait for it.
            other_objects(observation, status)
        } else {
            differing(observation, status, Some(self.transition))
        };
        let step = &self.transition.steps[index];
        if !labels.is_empty() {
            return label(observation, step, labels);
        }
        let check = Check {
            at: step.name,
            revision: status.revision,
            transition: self.transition.id.clone(),
            owner: CheckOwner::Site,
        };
        let overrides = &self.overrides;
        match task {
            Task::Ask => {
                check_step::ask(observation, status, self.transition, check, step, overrides)
            }
            Task::Move(layers) => layer_step::go_on(layers, observation, status, step, overrides),
            Task::Wait(guard) => {
                check_step::go_on(observation, status, check, step, guard, overrides)
            }
        }
    }

    fn end(&mut self, index: usize) {
        let step = &mut self.transition.steps[index];
        let report = self.observation.sweep;
        step.changed = report
            .filter(|report| step.revision == Some(report.revision))
            .map_or(0, |report| report.changed);
    }
}

impl SiteSteps<'_> {
    /// Blocks for namespaces that left after the guards were evaluated: their objects would not be made passive, and
    /// the demotion would seem complete.
    fn left_behind(&self, task: Task) -> Option<StepOutcome> {
        let demotes =
            self.transition.to == Role::Secondary && self.transition.namespaces.is_empty();
        if task == Task::Ask || !demotes {
            return None;
        }
        let left = guards::of_left(&self.status.left);
        let mut blocked: Vec<Blocked> = left.into_iter().map(Blocked::from).collect();
        blocked.retain(|blocked| !self.overrides.waives(blocked));
        if blocked.is_empty() {
            return None;
        }
        let total = count(&blocked);
        blocked.truncate(BLOCKED_LIMIT);
        Some(StepOutcome {
            total,
            activity: Some(StepActivity::EvaluatingGuards),
            blocked,
            stalled: true,
            act: Some(Act::Wait {
                until: later(self.observation),
            }),
            ..StepOutcome::default()
        })
    }
}

/// Labels the namespaces as ordered. If one refuses that, the transition does not continue: the objects of that
/// namespace would be left behind unnoticed.
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
                    "cannot write its roles: {why}; find out what refuses the write, or run kubectl failover unenroll {name}"
                ),
            })
        })
        .take(BLOCKED_LIMIT)
        .collect();
    StepOutcome {
        total: step.total,
        done: step.done,
        activity: Some(StepActivity::LabellingNamespaces),
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
