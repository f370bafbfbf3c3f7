//! Volumes that nothing orders to be active any more: their policy, or their exemption, is gone.
//!
//! Their workloads become passive at once, in the same change. The volumes wait until nothing uses them, as in any
//! transition. There is no transition here that could be overridden: a user who wants them passive anyway orders it
//! with a policy.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::check_step::is_recent;
use super::step::count;
use super::{CHECK_AGAIN, Check, CheckOwner, CheckReport, Observation, is_paused};
use crate::api::{SiteStatus, StepName};
use crate::object::ObjectKey;
use crate::role::Layer;

/// Whether volumes may become passive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Nothing uses these any more.
    Unused(BTreeSet<ObjectKey>),
    /// Check who uses them.
    Check(Check),
    /// All of them are in use, or their users have not been made passive yet; decide again at this time at the latest.
    Wait { until: Timestamp },
}

/// Whether these volumes may become passive. `observation.check` is the last check that was made for
/// [`CheckOwner::Nobody`].
pub fn closing(observation: &Observation<'_>, volumes: &BTreeSet<ObjectKey>) -> Closing {
    let later = Closing::Wait {
        until: observation.now + observation.sweep_every,
    };
    let settled = |status: &&SiteStatus| status.transition.is_none();
    let status = observation.site.status.as_ref().filter(settled);
    let Some(status) = status.filter(|_| !is_paused(observation.site, observation.now)) else {
        return later;
    };
    let names: Vec<String> = volumes.iter().map(ToString::to_string).collect();
    let check = Check {
        at: StepName::PodsGone,
        revision: status.revision,
        transition: names.join(" "),
        owner: CheckOwner::Nobody,
    };
    let last = observation
        .check
        .filter(|report| report.check.transition == check.transition);
    if let Some(report) = last {
        // Releasing them raises the revision once. After any other change something may have started to use them.
        let nothing_else = status.revision <= report.check.revision + 1;
        let unused = unused(volumes, report);
        if nothing_else && is_recent(observation, report) && !unused.is_empty() {
            return Closing::Unused(unused);
        }
    }
    // Their users have been made passive: all are swept, by the webhook or without it.
    let swept = observation
        .sweep
        .is_some_and(|report| report.covers(&Layer::ALL, status));
    if !swept {
        return later;
    }
    let again = last
        .filter(|report| report.check.revision == status.revision)
        .map_or(observation.now, |report| report.finished_at + CHECK_AGAIN.1);
    if observation.now < again {
        Closing::Wait { until: again }
    } else {
        Closing::Check(check)
    }
}

/// The volumes that no finding names. If a finding names none of them, any of them may be in use.
fn unused(volumes: &BTreeSet<ObjectKey>, report: &CheckReport) -> BTreeSet<ObjectKey> {
    let names: BTreeSet<String> = volumes.iter().map(ToString::to_string).collect();
    let found = report.blocked.iter().map(|found| found.object.as_ref());
    let used: BTreeSet<&String> = found.flatten().filter(|o| names.contains(*o)).collect();
    if report.left != count(&report.blocked) || used.len() != report.blocked.len() {
        return BTreeSet::new();
    }
    let is_unused = |volume: &&ObjectKey| !used.contains(&volume.to_string());
    volumes.iter().filter(is_unused).cloned().collect()
}
