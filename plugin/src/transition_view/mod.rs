//! A transition, as a person follows it.
//!
//! ```text
//!   Site.status.transition ─┬─► table       every step, one line each: redrawn in place on a terminal, and kept at the end
//!                           └─► log lines   what changed since the last report: appended, one line each
//!                                  both name what blocks a step, and the command that overrides it
//! ```

mod blockers;
mod log_lines;
mod renderer;
mod table;
#[cfg(test)]
mod tests;

pub use blockers::{override_command, paused, what};
pub use renderer::Show;
pub use table::transition_lines;

use failover_core::Roles;
use failover_core::api::{HistoryEntry, Mode, Step, StepActivity, StepName, StepState, Transition};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::output::counted;

/// The step that is running or blocked.
pub fn current(transition: &Transition) -> Option<(usize, &Step)> {
    let mut steps = transition.steps.iter().enumerate();
    steps.find(|(_, step)| step.state != StepState::Done)
}

/// The progress of a step, after a comma; empty if there is nothing to count.
fn count(step: &Step) -> String {
    if step.state == StepState::Done && step.revision.is_some() {
        return format!(", {} changed", counted(step.changed, "object"));
    }
    if step.total == 0 {
        return String::new();
    }
    // One workload may have many pods that block: `done` may be negative.
    format!(", {} of {}", step.done.max(0), step.total)
}

/// The transition at its end: as last observed, with every step done.
fn concluded(last: Option<Transition>, entry: &HistoryEntry) -> Transition {
    let mut transition = last
        .filter(|t| t.id == entry.id)
        .unwrap_or_else(|| Transition {
            id: entry.id.clone(),
            from: entry.from,
            to: entry.to,
            epoch: entry.epoch,
            mode: Mode::default(),
            requested_by: entry.requested_by.clone(),
            reason: entry.reason.clone(),
            overrides: entry.overrides.clone(),
            run_missed: entry.run_missed,
            run_held_jobs: entry.run_held_jobs,
            held_jobs_to_run: entry.held_jobs_to_run.clone(),
            namespaces: entry.namespaces.clone(),
            layers: Roles::default(),
            started_at: entry.started_at.clone(),
            planned: true,
            steps: entry.steps.iter().map(|step| begun(step.name)).collect(),
        });
    let is_open = |step: &&Step| step.state != StepState::Done;
    let open = transition.steps.iter().filter(is_open).count();
    let reported: i64 = transition.steps.iter().map(|step| step.changed).sum();
    for step in &mut transition.steps {
        if step.state == StepState::Done {
            continue;
        }
        step.state = StepState::Done;
        step.done = step.total;
        if open == 1 {
            step.changed = entry.objects - reported;
        } else {
            // How many objects each of them changed was not observed.
            step.revision = None;
        }
        let took = entry.steps.iter().find(|took| took.name == step.name);
        let from = step
            .started_at
            .get_or_insert_with(|| entry.started_at.clone())
            .0;
        step.finished_at = took.map(|took| Time(from + SignedDuration::from_secs(took.seconds)));
    }
    transition
}

/// What a running step does.
fn activity(step: &Step) -> &str {
    step.activity
        .as_ref()
        .map_or("starting", StepActivity::phrase)
}

fn begun(name: StepName) -> Step {
    Step {
        name,
        state: StepState::Running,
        total: 0,
        done: 0,
        activity: None,
        blocked: Vec::new(),
        not_waited_for: Vec::new(),
        revision: None,
        changed: 0,
        started_at: None,
        finished_at: None,
    }
}
