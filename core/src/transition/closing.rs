//! Volumes that nothing orders to be live any more: the policy that did is gone, or the exemption.
//!
//! Their workloads close at once, with the same change. They themselves wait until nothing uses them, as in any walk; but here
//! is no walk, and nobody to ask: who wants them closed all the same orders it, by a policy.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::moving::silent;
use super::waiting::is_recent;
use super::{LOOK_AGAIN, Look, Observation, Whose, is_paused};
use crate::api::StepName;
use crate::compile::ObjectKey;
use crate::role::Layer;

/// Whether volumes may close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Nothing uses them any more.
    Unused,
    /// Look at who does.
    Look(Look),
    /// Something still does, or has not been told to end yet; at the latest at this time there is more to say.
    Wait { until: Timestamp },
}

/// Whether these volumes may close. `observation.look` is the last look that was made for [`Whose::Nobody`].
pub fn closing(observation: &Observation<'_>, volumes: &BTreeSet<ObjectKey>) -> Closing {
    let later = Closing::Wait {
        until: observation.now + observation.sweep_every,
    };
    let Some(status) = &observation.site.status else {
        return later;
    };
    let names: Vec<String> = volumes.iter().map(ToString::to_string).collect();
    let look = Look {
        at: StepName::PodsGone,
        step: status.step,
        transition: names.join(" "),
        whose: Whose::Nobody,
    };
    let last = observation
        .look
        .filter(|report| report.look.transition == look.transition);
    // The number rises when they are let go, after what was seen.
    if let Some(report) = last
        && report.left == 0
        && is_recent(observation, report)
    {
        return Closing::Unused;
    }
    let told_to_end = status.transition.is_none()
        && !is_paused(observation.site, observation.now)
        && silent(observation, status).is_empty()
        && observation
            .sweep
            .is_some_and(|report| report.covers(&Layer::ALL, status));
    if !told_to_end {
        return later;
    }
    let again = last.map_or(observation.now, |report| report.finished_at + LOOK_AGAIN.1);
    if observation.now < again {
        Closing::Wait { until: again }
    } else {
        Closing::Look(look)
    }
}
