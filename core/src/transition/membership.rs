//! The namespaces that belong to the site: a label alone does not decide it, because everybody who owns a Namespace's
//! labels can drop it.
//!
//! ```text
//!                    unenroll (marks its write)
//!   enrolled ──────────────────────────────────────────► outside
//!     │  ▲ │
//!     │  │ └─ label lost ─► left ── labelled again: taken over as one that is new; or unenrolled
//!     │  │                   ▲
//!     │  │                   └─ created again, without its label
//!     │  └─ created again, with its label
//!     └─ deleted ─► deleted ── unenrolled: the name is forgotten
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::{Observation, is_paused};
use crate::api::SiteStatus;
use crate::namespace::{Enforcement, NamespaceState};
use crate::role::Role;

/// How many names of deleted namespaces a primary remembers: previews come under new names every day, and never come
/// back.
pub const DELETED_REMEMBERED: usize = 1000;

/// The current state of the Namespace of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Enrolled,
    /// Not enrolled, and released by `unenroll`.
    Unenrolled,
    /// Not enrolled, and not released.
    Outside,
    /// It does not exist.
    Absent,
}

impl Presence {
    /// The presence of an existing Namespace.
    pub fn of(state: &NamespaceState) -> Self {
        match (state.enforcement, &state.unenrolled) {
            (Some(_), _) => Self::Enrolled,
            (None, Some(_)) => Self::Unenrolled,
            (None, None) => Self::Outside,
        }
    }
}

/// Every name that the site remembers.
pub fn remembered(status: &SiteStatus) -> BTreeSet<&str> {
    let lists = [&status.namespaces, &status.left, &status.deleted];
    lists.into_iter().flatten().map(String::as_str).collect()
}

/// The namespaces that have left, sorted: those that the site remembers, that exist, and that are neither enrolled nor
/// unenrolled.
pub fn left(status: &SiteStatus, presence: impl Fn(&str) -> Presence) -> Vec<String> {
    let names = remembered(status).into_iter();
    let left = names.filter(|name| presence(name) == Presence::Outside);
    left.map(str::to_owned).collect()
}

/// Forgets the name of a Namespace that does not exist. Returns whether it was remembered.
pub fn forget(status: &mut SiteStatus, name: &str) -> bool {
    let lists = [
        &mut status.namespaces,
        &mut status.left,
        &mut status.deleted,
        &mut status.policy_only,
    ];
    let mut forgotten = false;
    for list in lists {
        let before = list.len();
        list.retain(|other| other != name);
        forgotten |= list.len() < before;
    }
    forgotten
}

/// Updates which namespaces have left, and which were deleted.
pub(super) fn follow(observation: &Observation<'_>, status: &mut SiteStatus) {
    let enrolled: BTreeSet<&str> = observation.namespaces.iter().map(|n| &*n.name).collect();
    let outside: BTreeSet<&str> = observation.outside.iter().map(|n| &**n).collect();
    let unenrolled: BTreeSet<&str> = observation.unenrolled.iter().map(|n| &**n).collect();
    let presence = |name: &str| {
        if enrolled.contains(name) {
            Presence::Enrolled
        } else if unenrolled.contains(name) {
            Presence::Unenrolled
        } else if outside.contains(name) {
            Presence::Outside
        } else {
            Presence::Absent
        }
    };
    let left = left(status, presence);
    let deleted = deleted(observation, status, presence);
    let leaves = |name: &String| left.contains(name) || presence(name) == Presence::Absent;
    status.namespaces.retain(|name| !leaves(name));
    come_back(observation, status);
    if is_paused(observation.site, observation.now) {
        register(observation, status);
    }
    (status.left, status.deleted) = (left, deleted);
    status.policy_only = policy_only(observation, status);
}

/// On a site that is not primary, registers deleted namespaces that were created again: a running transition goes on with
/// them, and a standby needs none. One that has an active layer that the site has not is taken over like a new one: its
/// state is unknown.
fn come_back(observation: &Observation<'_>, status: &mut SiteStatus) {
    if status.layers.uniform() == Some(Role::Primary) {
        return;
    }
    let back = observation
        .namespaces
        .iter()
        .filter(|n| status.deleted.contains(&n.name))
        .filter(|n| n.state.roles == status.layers || !n.state.roles.has(Role::Primary))
        .map(|n| n.name.clone())
        .filter(|name| !status.namespaces.contains(name));
    let back: Vec<String> = back.collect();
    add(status, back);
}

fn add(status: &mut SiteStatus, names: Vec<String>) {
    status.namespaces.extend(names);
    status.namespaces.sort();
}

/// Registers namespaces that came during a pause and already have the roles of the site: if one of them loses its label
/// meanwhile, it has left.
fn register(observation: &Observation<'_>, status: &mut SiteStatus) {
    if status.transition.is_some() || status.layers.uniform().is_none() {
        return;
    }
    let came = observation
        .namespaces
        .iter()
        .filter(|n| n.state.roles == status.layers)
        .map(|n| n.name.clone())
        .filter(|name| !status.namespaces.contains(name));
    let came: Vec<String> = came.collect();
    add(status, came);
}

/// The names of namespaces that are enrolled as `policy`, or were when they were last enrolled.
fn policy_only(observation: &Observation<'_>, status: &SiteStatus) -> Vec<String> {
    let enrolled: BTreeMap<&str, Option<Enforcement>> = observation
        .namespaces
        .iter()
        .map(|n| (&*n.name, n.state.enforcement))
        .collect();
    let mut names = remembered(status);
    names.extend(enrolled.keys());
    let is_policy_only = |name: &&str| match enrolled.get(name) {
        Some(enforcement) => *enforcement == Some(Enforcement::Policy),
        None => status.policy_only.iter().any(|known| known == name),
    };
    let names = names.into_iter().filter(is_policy_only);
    names.map(str::to_owned).collect()
}

/// The names under which enrolled namespaces were deleted, the last ones at the end. Terminating namespaces count too:
/// a namespace that is created right after them must find their names here.
fn deleted(
    observation: &Observation<'_>,
    status: &SiteStatus,
    presence: impl Fn(&str) -> Presence,
) -> Vec<String> {
    let going: BTreeSet<&str> = observation.terminating.iter().map(|n| &**n).collect();
    let is_deleted = |name: &str| going.contains(name) || presence(name) == Presence::Absent;
    let known: BTreeSet<&str> = status.deleted.iter().map(|n| &**n).collect();
    let before = status.deleted.iter().map(|n| &**n);
    let mut all = remembered(status);
    all.extend(&going);
    let new = all.into_iter().filter(|name| !known.contains(name));
    let names = before.chain(new).filter(|name| is_deleted(name));
    let mut deleted: Vec<String> = names.map(str::to_owned).collect();
    // While the site is secondary, no name is forgotten.
    if status.layers.uniform() == Some(Role::Primary) {
        let too_many = deleted.len().saturating_sub(DELETED_REMEMBERED);
        deleted.drain(..too_many);
    }
    deleted
}
