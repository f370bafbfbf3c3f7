//! The inputs of a decision, and its possible results.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::EnrolledNamespace;
use crate::api::{Blocked, NotWaitedFor, Pause, Phase, Site, SiteStatus, StepName, Unreadable};
use crate::guards::Facts;
use crate::namespace::ObjectRoles;
use crate::role::{Layer, Role};

/// Why a Namespace could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceRefusal {
    pub why: String,
    /// When that was tried.
    pub at: Timestamp,
}

/// A live webhook replica, as its Lease reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforcer {
    pub name: String,
    /// The lowest revision it has observed over all enrolled namespaces.
    pub revision: i64,
    pub namespaces: i64,
    pub last_seen: Timestamp,
}

/// The result of a sweep, and of the list that verified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepReport {
    /// The revision of the roles it enforced.
    pub revision: i64,
    /// The layers whose objects it swept.
    pub layers: &'static [Layer],
    /// Observed ruled objects.
    pub total: i64,
    /// Objects that were changed by it and by earlier sweeps under the same revision.
    pub changed: i64,
    /// Objects that do not conform after it.
    pub left: i64,
    /// The first of those, at most [`BLOCKED_LIMIT`](super::BLOCKED_LIMIT).
    pub blocked: Vec<Blocked>,
    pub finished_at: Timestamp,
}

impl SweepReport {
    /// Whether it is a result for these layers under the current roles.
    pub(super) fn covers(&self, layers: &[Layer], status: &SiteStatus) -> bool {
        self.revision == status.revision && layers.iter().all(|layer| self.layers.contains(layer))
    }
}

/// The progress of a running sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepProgress {
    /// Observed objects.
    pub total: i64,
    /// The ones that need nothing more.
    pub done: i64,
}

/// A check of the condition of a step. Two equal ones ask the same question under the same roles.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    pub at: StepName,
    /// The revision of the roles that it checks.
    pub revision: i64,
    /// The id of the transition that needs it.
    pub transition: String,
    pub owner: CheckOwner,
}

/// The owner of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckOwner {
    #[default]
    Site,
    /// `namespace/name`.
    Policy(String),
    /// The check of volumes that nothing orders to be active any more, see [`super::closing()`].
    Nobody,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    pub check: Check,
    /// Objects that were checked.
    pub total: i64,
    /// The ones that block, or guards that block.
    pub left: i64,
    /// The first of those, at most [`BLOCKED_LIMIT`](super::BLOCKED_LIMIT); for guards at the start all of them.
    pub blocked: Vec<Blocked>,
    /// The first of those that are not waited for, at most [`BLOCKED_LIMIT`](super::BLOCKED_LIMIT).
    pub not_waited_for: Vec<NotWaitedFor>,
    pub finished_at: Timestamp,
}

/// An operation that keeps failing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing<T> {
    pub of: T,
    /// When it first failed in this series.
    pub since: Timestamp,
    /// Why it failed the last time.
    pub why: String,
}

/// How long steps wait before they count as blocked. They continue to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    pub pods_gone: SignedDuration,
    pub replication: SignedDuration,
    pub available: SignedDuration,
}

impl Default for Deadlines {
    /// Longer than the wait usually takes: a pod's grace period of 30 s; a first demotion's 15 s and a resync's 30 s,
    /// of the csi-addons controller; an image pull.
    fn default() -> Self {
        Self {
            pods_gone: SignedDuration::from_mins(2),
            replication: SignedDuration::from_mins(3),
            available: SignedDuration::from_mins(5),
        }
    }
}

/// All inputs of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    pub site: &'a Site,
    /// Sorted by name.
    pub namespaces: &'a [EnrolledNamespace],
    /// The desired roles of single objects, by namespace, see [`crate::object_roles`]. A namespace that is not listed
    /// keeps its entries.
    pub objects: &'a BTreeMap<String, ObjectRoles>,
    /// Names of all other existing Namespaces.
    pub outside: &'a [String],
    /// Names of those among them that were unenrolled.
    pub unenrolled: &'a [String],
    /// Names of enrolled Namespaces that are being deleted.
    pub terminating: &'a [String],
    /// Namespaces whose roles could not be written at the last attempt.
    pub refused: &'a BTreeMap<String, NamespaceRefusal>,
    /// Objects of our API that this version cannot read. Their orders are not known, so no namespace that they may
    /// concern is reported as enforced.
    pub unreadable: &'a [Unreadable],
    /// Live ones only.
    pub enforcers: &'a [Enforcer],
    pub facts: Facts,
    /// The last sweep that this controller has finished, if any.
    pub sweep: Option<&'a SweepReport>,
    /// The progress of the running sweep, if there is one, as last reported. Every new value is written into the
    /// journal.
    pub sweep_progress: Option<SweepProgress>,
    /// Set while sweeps fail, with the revision of the failing sweep.
    pub failing_sweep: Option<&'a Failing<i64>>,
    /// The last check that it has finished, if any.
    pub check: Option<&'a CheckReport>,
    /// Set while the check fails.
    pub failing_check: Option<&'a Failing<Check>>,
    pub deadlines: Deadlines,
    /// How often a settled site is swept.
    pub sweep_every: SignedDuration,
    pub now: Timestamp,
}

/// The next act. After each, observe and decide again.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Write the status, with the resourceVersion it was decided on.
    WriteStatus(Box<SiteStatus>),
    /// Write these states onto these namespaces.
    Label(Vec<EnrolledNamespace>),
    /// Sweep the objects of these layers in all enrolled namespaces and list again.
    Sweep {
        revision: i64,
        layers: &'static [Layer],
    },
    /// Check what a step waits for.
    Check(Check),
    /// Nothing, until something changes or until this time.
    Wait { until: Timestamp },
}

/// The role in effect: the last ordered role, or the role of the namespaces if the status is lost. One secondary layer
/// in one namespace makes the site secondary: a transition from there needs guards.
pub fn role_in_effect(status: &SiteStatus, namespaces: &[EnrolledNamespace]) -> Option<Role> {
    status.layers.uniform().or_else(|| {
        let roles = || {
            namespaces
                .iter()
                .flat_map(|ns| Layer::ALL.into_iter().filter_map(|l| ns.state.roles.of(l)))
        };
        roles()
            .find(|role| *role == Role::Secondary)
            .or_else(|| roles().next())
    })
}

/// The pause in effect at this time.
pub fn pause(site: &Site, now: Timestamp) -> Option<&Pause> {
    let lasts = |pause: &&Pause| pause.until.as_ref().is_none_or(|until| until.0 > now);
    site.spec.paused.as_ref().filter(lasts)
}

/// Whether the site is paused at this time.
pub fn is_paused(site: &Site, now: Timestamp) -> bool {
    pause(site, now).is_some()
}

/// The phase of a transition to this role.
pub(super) fn phase_of(to: Role) -> Phase {
    match to {
        Role::Primary => Phase::Promoting,
        Role::Secondary => Phase::Demoting,
    }
}
