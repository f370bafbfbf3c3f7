//! What a decision depends on and what comes of it, in the few words that matter to the exploration.

use jiff::Timestamp;

use super::cluster::{Labels, Revision};
use super::page::{CURRENT, OLD, Page, START};
use crate::api::{Blocked, Outcome, SiteStatus, StepName, StepState};
use crate::guards::GuardId;
use crate::namespace::{Enforcement, NamespaceState, ObjectRole, ObjectRoles};
use crate::role::Layer;
use crate::transition::steps::{Task, task};
use crate::transition::{Check, CheckOwner, CheckReport, EnrolledNamespace, SweepReport};

/// What a sweep or a check has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Found {
    Nothing,
    InTheWay,
}

/// What a sweep of some layers has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Swept {
    pub(super) layers: &'static [Layer],
    pub(super) found: Found,
}

/// All that a decision depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) site: Page,
    pub(super) labels: Vec<Labels>,
    /// An exemption has been asked for and is to be in force.
    pub(super) exempt: bool,
    /// The revision that the webhook replica has seen, and in how many namespaces.
    pub(super) replica: Option<(Revision, usize)>,
    /// Of a sweep under the current revision.
    pub(super) sweep: Option<Swept>,
    /// Of the check that the step asks for.
    pub(super) check: Option<Found>,
    /// All deadlines have passed.
    pub(super) late: bool,
    /// A retry is due.
    pub(super) soon: bool,
}

impl Question {
    /// Whether the deadline of what is waited for has passed, be it in an order before that asked for the same.
    pub(super) fn is_overdue(&self) -> bool {
        let steps = self.site.transition().map_or(&[][..], |t| &t.steps);
        let running = steps.iter().find(|step| step.state != StepState::Done);
        let begun = running.and_then(|step| step.started_at.as_ref());
        self.late || begun.is_some_and(|at| at.0 < START)
    }
}

/// What has been decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Deed {
    WriteStatus(Draft),
    /// Of each namespace what is to be written, if anything.
    Label(Vec<Option<Labels>>),
    Sweep {
        /// The namespaces as they were when it was decided.
        over: Vec<Labels>,
        layers: &'static [Layer],
        /// No change of roles has been ordered since.
        current: bool,
    },
    Check,
    Wait,
}

/// A status to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Draft {
    pub(super) site: Page,
    /// It orders another role of a layer.
    pub(super) raises: bool,
    /// The deadlines start to run anew.
    pub(super) restarts_clock: bool,
    pub(super) liberty: Liberty,
}

/// What a driver has taken upon itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Liberty {
    None,
    /// A step was done although something was in its way, as was ordered by name.
    Named,
    /// So it was before its deadline or without being asked; or something moved in a pause.
    Forbidden,
}

/// The guards of the steps that are done although what was checked was in their way.
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
    let in_the_way = |found: Option<Found>| found == Some(Found::InTheWay);
    let left = before.steps.iter().filter(|s| s.state != StepState::Done);
    left.filter(|step| is_done(step.name))
        .filter_map(|step| match task(step.name, before.to)? {
            Task::Ask => None,
            Task::Move(_) => {
                let found = question.sweep.map(|swept| swept.found);
                in_the_way(found).then_some(GuardId::NotConforming)
            }
            Task::Wait(guard) => {
                let is_looked_at = question.site.at == Some(step.name);
                (is_looked_at && in_the_way(question.check)).then_some(guard)
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
        let blocked = in_the_way(self.found, GuardId::NotConforming);
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

pub(super) fn looked(site: &Page, found: Found, finished_at: Timestamp) -> Option<CheckReport> {
    let transition = site.transition()?;
    let at = site.at?;
    let guard = match task(at, transition.to) {
        Some(Task::Wait(guard)) => guard,
        Some(Task::Ask | Task::Move(_)) | None => GuardId::UncoveredWorkloads,
    };
    let blocked = in_the_way(found, guard);
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

fn in_the_way(found: Found, guard: GuardId) -> Vec<Blocked> {
    match found {
        Found::Nothing => vec![],
        Found::InTheWay => vec![Blocked {
            guard: guard.to_string(),
            object: None,
            message: "is in the way".to_owned(),
        }],
    }
}
