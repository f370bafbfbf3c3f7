//! The steps of a transition, their order and their tasks.

use crate::api::{Mode, Step, StepName, StepState, Transition};
use crate::guards::GuardId;
use crate::role::{Layer, Role};

/// The task of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Evaluate the guards.
    Ask,
    /// Move layers.
    Move(&'static [Layer]),
    /// Wait until nothing blocks; a blocker is reported under this guard.
    Wait(GuardId),
}

/// `None`: a later version has written it.
pub(super) fn task(step: StepName, to: Role) -> Option<Task> {
    Some(match (step, to) {
        (StepName::Guards, _) => Task::Ask,
        (StepName::Traffic, _) => Task::Move(&[Layer::Traffic]),
        (StepName::Gitops, _) => Task::Move(&[Layer::Gitops]),
        // Gitops moves in the same step, so that Flux's first apply finds the roles in force.
        (StepName::Workloads, Role::Primary) => Task::Move(&[Layer::Workloads, Layer::Gitops]),
        (StepName::Workloads, Role::Secondary) => Task::Move(&[Layer::Workloads]),
        (StepName::Volumes, _) => Task::Move(&[Layer::Volumes]),
        (StepName::Layers, _) => Task::Move(&Layer::ALL),
        (StepName::PodsGone, _) => Task::Wait(GuardId::PodsRunning),
        (StepName::Replication, _) => Task::Wait(GuardId::ReplicationUnconfirmed),
        (StepName::Available, _) => Task::Wait(GuardId::WorkloadsUnavailable),
        (StepName::CronJobs | StepName::Jobs, _) => Task::Wait(GuardId::BatchUnsettled),
        (StepName::Unknown(_), _) => return None,
    })
}

/// The guard that a step reports when its condition cannot even be checked.
pub fn guard_of(step: StepName, to: Role) -> GuardId {
    match (task(step, to), to) {
        (Some(Task::Wait(guard)), _) => guard,
        (Some(Task::Ask), Role::Secondary) => GuardId::UncoveredWorkloads,
        (Some(Task::Ask), Role::Primary) => GuardId::VolumeNotSynced,
        (Some(Task::Move(_)) | None, _) => GuardId::NotConforming,
    }
}

/// The steps of a transition, all pending.
pub(super) fn steps(transition: &Transition) -> Vec<Step> {
    names(transition)
        .into_iter()
        .map(|name| Step {
            name,
            state: StepState::Pending,
            total: 0,
            done: 0,
            activity: None,
            blocked: vec![],
            not_waited_for: vec![],
            revision: None,
            changed: 0,
            started_at: None,
            finished_at: None,
        })
        .collect()
}

fn names(transition: &Transition) -> Vec<StepName> {
    use StepName::{
        Available, CronJobs, Gitops, Guards, Jobs, Layers, PodsGone, Replication, Traffic, Volumes,
        Workloads,
    };
    // A new site that is already active: only the labels change.
    if transition.from.is_none() && transition.to == Role::Primary {
        return vec![Guards, Layers];
    }
    let mut names = match (transition.to, transition.mode) {
        (Role::Secondary, Mode::Safe) => vec![
            Guards,
            Traffic,
            Gitops,
            Workloads,
            PodsGone,
            Volumes,
            Replication,
        ],
        (Role::Primary, Mode::Safe) => vec![
            Guards,
            Volumes,
            Replication,
            CronJobs,
            Workloads,
            Jobs,
            Available,
            Traffic,
        ],
        (Role::Secondary, Mode::Unsafe) => vec![Guards, Layers],
        (Role::Primary, Mode::Unsafe) => vec![Guards, CronJobs, Layers, Jobs],
    };
    names.retain(|name| match name {
        // The user who enrolled them has confirmed the consequences.
        Guards => transition.namespaces.is_empty(),
        CronJobs => !transition.run_missed,
        Jobs => !transition.held_jobs().is_none(),
        _ => true,
    });
    names
}
