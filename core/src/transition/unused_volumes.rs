//! Volumes that nothing orders to be live any more: the policy that did is gone, or the exemption.
//!
//! Their workloads close at once, with the same change. They themselves wait until nothing uses them, as in any transition; but here
//! is no transition, and nobody to ask: who wants them closed all the same orders it, by a policy.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::check_step::is_recent;
use super::step::count;
use super::{CHECK_AGAIN, Check, CheckOwner, CheckReport, Observation, is_paused};
use crate::api::{SiteStatus, StepName};
use crate::object::ObjectKey;
use crate::role::Layer;

/// Whether volumes may close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Nothing uses these any more.
    Unused(BTreeSet<ObjectKey>),
    /// Check who uses them.
    Check(Check),
    /// All of them are used, or their users have not been told to end yet; at the latest at this time there is more to say.
    Wait { until: Timestamp },
}

/// Whether these volumes may close. `observation.check` is the last check that was made for [`CheckOwner::Nobody`].
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
        // When they are let go, the revision rises once. With any other change something may have come to use them since.
        let nothing_else = status.revision <= report.check.revision + 1;
        let unused = unused(volumes, report);
        if nothing_else && is_recent(observation, report) && !unused.is_empty() {
            return Closing::Unused(unused);
        }
    }
    // Whoever used them has been told to end: all are swept, by the webhook or without it.
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

/// Those of which nothing was found that uses them. What was found and is none of them may use any.
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
