//! The journal of a transition: how it begins, its entries, and what is kept of it when it ends.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::steps::{self, Task, task};
use super::{HISTORY_LIMIT, Observation, size};
use crate::api::{HistoryEntry, Outcome, RoleRequest, Step, StepDuration, StepState, Transition};
use crate::role::Roles;

/// A transition with only the fields of a request.
pub(super) fn requested(observation: &Observation<'_>, request: RoleRequest) -> Transition {
    Transition {
        requested_by: request.requested_by,
        reason: request.reason,
        overrides: request.overrides,
        run_missed: request.run_missed,
        run_held_jobs: request.run_held_jobs,
        held_jobs_to_run: request.held_jobs_to_run,
        planned: !request.unplanned,
        ..blank(observation)
    }
}

/// A request that repeats a running one, to override a guard, does not restart the waits.
pub(super) fn go_on_waiting(transition: &mut Transition, waited: &[Step]) {
    for step in &mut transition.steps {
        let waits = matches!(task(step.name, transition.to), Some(Task::Wait(_)));
        let before = waited.iter().find(|before| before.name == step.name);
        if let Some(before) = before.filter(|before| waits && before.state != StepState::Done) {
            step.started_at.clone_from(&before.started_at);
        }
    }
}

/// The transition with the steps that it needs.
pub(super) fn begin(mut transition: Transition) -> Transition {
    transition.steps = steps::steps(&transition);
    transition
}

/// Adds a transition to a history.
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

/// A transition without any details yet.
pub(super) fn blank(observation: &Observation<'_>) -> Transition {
    Transition {
        id: String::new(),
        from: None,
        to: observation.site.spec.role,
        epoch: observation.site.spec.epoch,
        mode: observation.site.spec.mode,
        requested_by: String::new(),
        reason: String::new(),
        overrides: vec![],
        run_missed: false,
        run_held_jobs: false,
        held_jobs_to_run: vec![],
        namespaces: vec![],
        layers: Roles::default(),
        started_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(observation.now),
        planned: true,
        steps: vec![],
    }
}
