//! Which namespaces the site answers for: a label alone does not say it, since whoever owns a Namespace's labels can drop it.
//!
//! ```text
//!                    unenroll (marks its write)
//!   enrolled ──────────────────────────────────────────► outside
//!     │  ▲ │
//!     │  │ └─ label lost ─► left ── labelled again: taken over as one that is new; or unenrolled
//!     │  │
//!     │  └─ created again, with its label
//!     └─ deleted, while a layer is not primary ─► deleted
//! ```

use std::collections::BTreeSet;

use super::Observation;
use crate::api::SiteStatus;
use crate::role::Role;

/// Follows which namespaces have left, and which were deleted.
pub(super) fn follow(observation: &Observation<'_>, status: &mut SiteStatus) {
    let outside: BTreeSet<&String> = observation.outside.iter().collect();
    let unenrolled: BTreeSet<&String> = observation.unenrolled.iter().collect();
    let enrolled: BTreeSet<&String> = observation.namespaces.iter().map(|n| &n.name).collect();
    let known: BTreeSet<String> = [&status.namespaces, &status.left, &status.deleted]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    let (there, gone): (Vec<_>, Vec<_>) = known
        .into_iter()
        .filter(|name| !enrolled.contains(name))
        .partition(|name| outside.contains(name));
    status.left = there
        .into_iter()
        .filter(|name| !unenrolled.contains(name))
        .collect();
    // One that comes back is taken over anew: what it was doing meanwhile nobody knows.
    status.namespaces.retain(|name| !status.left.contains(name));
    // Those that are still going count, too: what is created when they are gone must find their names here.
    let going = observation.terminating.iter().cloned();
    status.deleted = if status.layers.uniform() == Some(Role::Primary) {
        vec![]
    } else {
        let deleted: BTreeSet<String> = gone.into_iter().chain(going).collect();
        deleted.into_iter().collect()
    };
}
