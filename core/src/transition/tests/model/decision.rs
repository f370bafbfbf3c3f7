//! The inputs and results of a decision, reduced to what matters to the exploration.

use jiff::Timestamp;

use super::cluster::{Labels, Revision};
use super::page::{CURRENT, OLD, Page, START};
use crate::api::{Blocked, Outcome, SiteStatus, StepName, StepState};
use crate::guards::GuardId;
use crate::namespace::{Enforcement, NamespaceState, ObjectRole, ObjectRoles};
use crate::role::Layer;
use crate::transition::steps::{Task, task};
use crate::transition::{Check, CheckOwner, CheckReport, EnrolledNamespace, SweepReport};

/// The result of a sweep or a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Found {
    Nothing,
    InTheWay,
}

/// The result of a sweep of some layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Swept {
    pub(super) layers: &'static [Layer],
    pub(super) found: Found,
}

/// All inputs of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) site: Page,
    pub(super) labels: Vec<Labels>,
    /// An exemption has been requested and must be in force.
    pub(super) exempt: bool,
    /// The revision that the webhook replica has observed, and in how many namespaces.
    pub(super) replica: Option<(Revision, usize)>,
    /// The result of a sweep under the current revision.
    pub(super) sweep: Option<Swept>,
    /// The result of the check that the step needs.
    pub(super) check: Option<Found>,
    /// All deadlines have passed.
    pub(super) late: bool,
    /// A retry is due.
    pub(super) soon: bool,
}

impl Question {
    /// Whether the deadline of the wait has passed, also counting an earlier request for the same transition.
    pub(super) fn is_overdue(&self) -> bool {
        let steps = self.site.transition().map_or(&[][..], |t| &t.steps);
        let running = steps.iter().find(|step| step.state != StepState::Done);
        let begun = running.and_then(|step| step.started_at.as_ref());
        self.late || begun.is_some_and(|at| at.0 < START)
    }
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Deed {
    WriteStatus(Draft),
    /// The labels to write for each namespace, if any.
    Label(Vec<Option<Labels>>),
    Sweep {
        /// The namespaces at the time of the decision.
        over: Vec<Labels>,
        layers: &'static [Layer],
        /// No role change has been ordered since.
        current: bool,
    },
    Check,
    Wait,
}

/// A status to write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Draft {
    pub(super) site: Page,
    /// It orders another role of a layer.
    pub(super) raises: bool,
    /// The deadlines restart.
    pub(super) restarts_clock: bool,
    pub(super) liberty: Liberty,
}

/// The right by which a driver completed a blocked step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Liberty {
    None,
    /// A blocked step was completed, as an override by name allows.
    Named,
    /// A blocked step was completed before its deadline or without an override; or something moved during a pause.
    Forbidden,
}

/// The guards of the steps that were completed although their check found a blocker.
pub(super) fn passed(question: &Question, after: &SiteStatus) -> Vec<GuardId> {
    let Some(before) = question.site.transition() else {
        return vec![];
    };
    let has_ended = after
        .history
        .first()
        .is_some_and(|h| h.id == before.id && h.outcome == Outcome::Succeeded);
    let now = after.transition.as_ref().filter(|t| t.id == before.id);
    let is_done = |name: StepName| {
        let mut steps = now.iter().flat_map(|t| &t.steps);
        has_ended || steps.any(|s| s.name == name && s.state == StepState::Done)
    };
    let blockers = |found: Option<Found>| found == Some(Found::InTheWay);
    let left = before.steps.iter().filter(|s| s.state != StepState::Done);
    left.filter(|step| is_done(step.name))
        .filter_map(|step| match task(step.name, before.to)? {
            Task::Ask => None,
            Task::Move(_) => {
                let found = question.sweep.map(|swept| swept.found);
                blockers(found).then_some(GuardId::NotConforming)
            }
            Task::Wait(guard) => {
                let is_checked = question.site.at == Some(step.name);
                (is_checked && blockers(question.check)).then_some(guard)
            }
        })
        .collect()
}

pub(super) fn objects(exempt: bool) -> ObjectRoles {
    let mut objects = ObjectRoles::default();
    if exempt {
        objects.set("deployments", "web", ObjectRole::Exempt);
    }
    objects
}

pub(super) fn enrolled((labels, name): (&Labels, &str)) -> EnrolledNamespace {
    EnrolledNamespace {
        name: name.to_owned(),
        state: NamespaceState {
            roles: labels.roles,
            site: labels.revision.map(|_| "east".to_owned()),
            revision: labels.revision.map(Revision::to_i64),
            objects: objects(labels.exempt),
            enforcement: Some(Enforcement::Enabled),
            unenrolled: None,
        },
    }
}

impl Labels {
    pub(super) fn of(state: &NamespaceState) -> Self {
        Self {
            roles: state.roles,
            revision: state.revision.map(|revision| {
                if revision == CURRENT {
                    Revision::Current
                } else {
                    Revision::Old
                }
            }),
            exempt: !state.objects.is_empty(),
        }
    }
}

impl Revision {
    pub(super) fn to_i64(self) -> i64 {
        match self {
            Self::Current => CURRENT,
            Self::Old => OLD,
        }
    }
}

impl Swept {
    pub(super) fn report(self, finished_at: Timestamp) -> SweepReport {
        let blocked = blockers(self.found, GuardId::NotConforming);
        SweepReport {
            revision: CURRENT,
            layers: self.layers,
            total: 1,
            changed: 0,
            left: i64::try_from(blocked.len()).unwrap(),
            blocked,
            finished_at,
        }
    }
}

pub(super) fn checked(site: &Page, found: Found, finished_at: Timestamp) -> Option<CheckReport> {
    let transition = site.transition()?;
    let at = site.at?;
    let guard = match task(at, transition.to) {
        Some(Task::Wait(guard)) => guard,
        Some(Task::Ask | Task::Move(_)) | None => GuardId::UncoveredWorkloads,
    };
    let blocked = blockers(found, guard);
    Some(CheckReport {
        check: Check {
            at,
            revision: CURRENT,
            transition: transition.id.clone(),
            owner: CheckOwner::Site,
        },
        total: 1,
        left: i64::try_from(blocked.len()).unwrap(),
        blocked,
        not_waited_for: vec![],
        finished_at,
    })
}

fn blockers(found: Found, guard: GuardId) -> Vec<Blocked> {
    match found {
        Found::Nothing => vec![],
        Found::InTheWay => vec![Blocked {
            guard: guard.to_string(),
            object: None,
            message: "blocks".to_owned(),
        }],
    }
}
