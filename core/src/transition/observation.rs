//! What a decision depends on, and what it can decide.

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
    /// The lowest revision it has seen over all enrolled namespaces.
    pub revision: i64,
    pub namespaces: i64,
    pub last_seen: Timestamp,
}

/// What a sweep, and the list that verified it, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepReport {
    /// The revision of the roles it enforced.
    pub revision: i64,
    /// Those whose objects it swept.
    pub layers: &'static [Layer],
    /// Ruled objects seen.
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
    /// Whether it says how these layers stand under the present roles.
    pub(super) fn covers(&self, layers: &[Layer], status: &SiteStatus) -> bool {
        self.revision == status.revision && layers.iter().all(|layer| self.layers.contains(layer))
    }
}

/// How far a sweep has come that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepProgress {
    /// Objects seen.
    pub total: i64,
    /// Those of them that need nothing more.
    pub done: i64,
}

/// A check of what a step waits for. Two that are equal ask the same question under the same roles.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    pub at: StepName,
    /// The revision of the roles it is about.
    pub revision: i64,
    /// The transition that asks.
    pub transition: String,
    pub owner: CheckOwner,
}

/// Who wants a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckOwner {
    #[default]
    Site,
    /// `namespace/name`.
    Policy(String),
    /// That of volumes which nothing orders to be live any more, see [`super::closing()`].
    Nobody,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    pub check: Check,
    /// Objects that were checked.
    pub total: i64,
    /// Those of them that are in the way, or guards that hold.
    pub left: i64,
    /// The first of those, at most [`BLOCKED_LIMIT`](super::BLOCKED_LIMIT); of what guards hold at the start all of them.
    pub blocked: Vec<Blocked>,
    /// The first of those that are not waited for, at most [`BLOCKED_LIMIT`](super::BLOCKED_LIMIT).
    pub not_waited_for: Vec<NotWaitedFor>,
    pub finished_at: Timestamp,
}

/// Something that could not be done, however often it was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing<T> {
    pub of: T,
    /// When it first failed of those times.
    pub since: Timestamp,
    /// Why it failed the last time.
    pub why: String,
}

/// How long steps wait before what is in the way counts as holding them. They go on checking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    pub pods_gone: SignedDuration,
    pub replication: SignedDuration,
    pub available: SignedDuration,
}

impl Default for Deadlines {
    /// Longer than what the wait usually takes: a pod's grace of 30 s; a first demotion's 15 s and a resync's 30 s, of the
    /// csi-addons controller; an image that has to be pulled.
    fn default() -> Self {
        Self {
            pods_gone: SignedDuration::from_mins(2),
            replication: SignedDuration::from_mins(3),
            available: SignedDuration::from_mins(5),
        }
    }
}

/// Everything a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    pub site: &'a Site,
    /// Sorted by name.
    pub namespaces: &'a [EnrolledNamespace],
    /// What is to be in force of single objects, by namespace, see [`crate::object_roles`]. One that is not named keeps what it
    /// has.
    pub objects: &'a BTreeMap<String, ObjectRoles>,
    /// Names of all other Namespaces that there are.
    pub outside: &'a [String],
    /// Names of those of them that were unenrolled.
    pub unenrolled: &'a [String],
    /// Names of enrolled Namespaces that are being deleted.
    pub terminating: &'a [String],
    /// Namespaces whose roles could not be written when that was last tried.
    pub refused: &'a BTreeMap<String, NamespaceRefusal>,
    /// Objects of our API that this version cannot read. What they order is not known, so nothing that they may be about
    /// is called enforced.
    pub unreadable: &'a [Unreadable],
    /// Live ones only.
    pub enforcers: &'a [Enforcer],
    pub facts: Facts,
    /// The last sweep that this controller has finished, if any.
    pub sweep: Option<&'a SweepReport>,
    /// That of the sweep under way, if one is, as it was last to be shown. Every new value is written into the journal.
    pub sweep_progress: Option<SweepProgress>,
    /// Since then it could not: sweeps under this revision.
    pub failing_sweep: Option<&'a Failing<i64>>,
    /// The last check that it has finished, if any.
    pub check: Option<&'a CheckReport>,
    /// Since then it could not.
    pub failing_check: Option<&'a Failing<Check>>,
    pub deadlines: Deadlines,
    /// How often a settled site is swept.
    pub sweep_every: SignedDuration,
    pub now: Timestamp,
}

/// The next thing to do. After each, observe and decide anew.
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

/// The role in effect: what was ordered last, or what the namespaces say when the status is lost. One secondary layer in
/// one namespace is enough to be secondary: coming from there is what needs guards.
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

/// The pause that the site is in at this time.
pub fn pause(site: &Site, now: Timestamp) -> Option<&Pause> {
    let lasts = |pause: &&Pause| pause.until.as_ref().is_none_or(|until| until.0 > now);
    site.spec.paused.as_ref().filter(lasts)
}

/// Whether the site is paused at this time.
pub fn is_paused(site: &Site, now: Timestamp) -> bool {
    pause(site, now).is_some()
}

/// The phase while a walk goes on.
pub(super) fn walking(to: Role) -> Phase {
    match to {
        Role::Primary => Phase::Promoting,
        Role::Secondary => Phase::Demoting,
    }
}
