//! Messages for Events and the log, derived from the status before and after a successful write, and from what a sweep
//! did.

use std::collections::BTreeSet;

use failover_core::api::{
    FailoverPolicyStatus, HistoryEntry, Outcome, SiteStatus, Step, StepName, StepState, Transition,
};
use failover_core::guards::GuardId;
use failover_core::object_roles::Deferred;

use crate::events::Message;
use crate::sweep::Swept;

/// The transition and the history of a Site or a FailoverPolicy.
#[derive(Clone, Copy, Debug)]
pub struct Journal<'a> {
    transition: Option<&'a Transition>,
    history: &'a [HistoryEntry],
}

impl<'a> Journal<'a> {
    pub fn of_site(status: &'a SiteStatus) -> Self {
        Self {
            transition: status.transition.as_ref(),
            history: &status.history,
        }
    }

    pub fn of_policy(status: &'a FailoverPolicyStatus) -> Self {
        Self {
            transition: status.transition.as_ref(),
            history: &status.history,
        }
    }
}

/// What is new in a journal.
pub fn of_transition(before: Journal<'_>, after: Journal<'_>) -> Vec<Message> {
    let mut messages = Vec::new();
    let ended = after
        .history
        .iter()
        .take_while(|entry| before.history.first() != Some(*entry));
    let mut ended: Vec<_> = ended.map(finished).collect();
    ended.reverse();
    messages.extend(ended);
    let Some(transition) = after.transition else {
        return messages;
    };
    let old = before
        .transition
        .filter(|old| old.id == transition.id && old.to == transition.to);
    if old.is_none() {
        messages.push(started(transition));
    }
    for step in &transition.steps {
        let before = old.and_then(|old| old.steps.iter().find(|s| s.name == step.name));
        messages.extend(of_step(transition, before, step));
    }
    messages
}

/// What is new in a status.
pub fn of_status(before: &SiteStatus, after: &SiteStatus) -> Vec<Message> {
    let mut messages = of_transition(Journal::of_site(before), Journal::of_site(after));
    let enrolled: Vec<_> = after
        .namespaces
        .iter()
        .filter(|name| !before.namespaces.contains(name))
        .map(String::as_str)
        .collect();
    let left: Vec<_> = before
        .namespaces
        .iter()
        .filter(|name| !after.namespaces.contains(name))
        .map(String::as_str)
        .collect();
    if !enrolled.is_empty() {
        messages.push(Message::normal(
            "NamespaceEnrolled",
            format!("enrolled: {}", enrolled.join(", ")),
        ));
    }
    if !left.is_empty() {
        messages.push(Message::normal(
            "NamespaceLeft",
            format!("no longer enrolled: {}", left.join(", ")),
        ));
    }
    messages
}

/// The guards that block now and did not before.
pub fn newly_blocking_guards(before: Journal<'_>, after: Journal<'_>) -> BTreeSet<String> {
    let blocking = |journal: Journal<'_>| -> BTreeSet<String> {
        let steps = journal
            .transition
            .iter()
            .flat_map(|transition| &transition.steps);
        // A step also names what it waits for, which does not block yet.
        steps
            .filter(|step| step.state == StepState::Blocked)
            .flat_map(|step| &step.blocked)
            .map(|blocked| blocked.guard.clone())
            .collect()
    };
    blocking(after)
        .difference(&blocking(before))
        .cloned()
        .collect()
}

/// Requests for single objects that are deferred and were not reported before. Only the first are reported in full: a
/// thousand labels must not cause a thousand Events.
pub fn of_deferred(reported: &BTreeSet<Deferred>, deferred: &[Deferred]) -> Option<Message> {
    const IN_FULL: usize = 3;
    let new: Vec<_> = deferred
        .iter()
        .filter(|deferred| !reported.contains(*deferred))
        .collect();
    let named: Vec<_> = new
        .iter()
        .take(IN_FULL)
        .map(|deferred| format!("{}: {}", deferred.object, deferred.why))
        .collect();
    let more = match new.len().saturating_sub(IN_FULL) {
        0 => String::new(),
        more => format!("; and {more} more, see kubectl failover status"),
    };
    (!new.is_empty()).then(|| Message::warning("Deferred", format!("{}{more}", named.join("; "))))
}

/// What a sweep outside a transition corrected; `first`: it is the first since namespaces were enrolled or a controller
/// took over.
pub fn of_sweep(swept: &Swept, first: bool) -> Option<Message> {
    if swept.changed() == 0 {
        return None;
    }
    let more = swept.changed() - i64::try_from(swept.names.len()).unwrap_or(i64::MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let note = format!(
        "{} objects did not conform and were corrected ({} by the webhook, {} by the controller): {}{more}",
        swept.changed(),
        swept.readmitted,
        swept.rewritten,
        swept.names.join(", ")
    );
    // Objects of a newly enrolled namespace are expected not to conform.
    Some(if first {
        Message::normal("SweepCorrected", note)
    } else {
        Message::warning("SweepCorrected", note)
    })
}

fn started(transition: &Transition) -> Message {
    let from = transition
        .from
        .map_or("unknown", failover_core::Role::as_str);
    let who = if transition.requested_by.is_empty() {
        String::new()
    } else {
        format!(" by {}", transition.requested_by)
    };
    let why = if transition.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", transition.reason)
    };
    let overrides = if transition.overrides.is_empty() {
        String::new()
    } else {
        format!(" (overrides {})", transition.overrides.join(", "))
    };
    Message::normal(
        "TransitionStarted",
        format!(
            "{from} to {}, epoch {}, request {}{who}{why}{overrides}",
            transition.to, transition.epoch, transition.id
        ),
    )
}

fn finished(entry: &HistoryEntry) -> Message {
    match entry.outcome {
        Outcome::Succeeded => {
            // Times in a status are whole seconds.
            let seconds = entry
                .finished_at
                .0
                .duration_since(entry.started_at.0)
                .as_secs();
            Message::normal(
                "TransitionFinished",
                format!(
                    "{} after {seconds} s, {} objects changed, request {}",
                    entry.to, entry.objects, entry.id
                ),
            )
        }
        Outcome::Superseded => Message::warning(
            "Superseded",
            format!(
                "the transition to {} (request {}) was superseded by a newer request",
                entry.to, entry.id
            ),
        ),
        Outcome::Unknown(word) => Message::warning(
            "TransitionFinished",
            format!(
                "the transition to {} (request {}) ended: {}",
                entry.to,
                entry.id,
                word.as_str()
            ),
        ),
    }
}

fn of_step(transition: &Transition, before: Option<&Step>, step: &Step) -> Option<Message> {
    let is_new = before.is_none_or(|before| before.state != step.state);
    match step.state {
        StepState::Done if is_new && step.name != StepName::Guards => Some(Message::normal(
            "StepFinished",
            format!(
                "to {}: {}{}{}",
                transition.to,
                step.name.as_str(),
                after(step),
                not_waited_for(step)
            ),
        )),
        StepState::Blocked => {
            // Reported again when something else blocks it, not at every check.
            let what = |step: &Step| {
                step.blocked
                    .iter()
                    .map(|b| (b.guard.clone(), b.object.clone()))
                    .collect::<Vec<_>>()
            };
            if !is_new && before.is_some_and(|before| what(before) == what(step)) {
                return None;
            }
            let not_conforming = step
                .blocked
                .iter()
                .any(|b| b.guard == GuardId::NotConforming.as_str());
            let reason = if step.name == StepName::Guards {
                "GuardBlocked"
            } else if not_conforming {
                "NotConforming"
            } else {
                "Stalled"
            };
            let what: Vec<_> = step
                .blocked
                .iter()
                .map(|b| match &b.object {
                    Some(object) => format!("{}={object}: {}", b.guard, b.message),
                    None => format!("{}: {}", b.guard, b.message),
                })
                .collect();
            Some(Message::warning(
                reason,
                format!(
                    "to {}, {}: {}",
                    transition.to,
                    step.name.as_str(),
                    what.join("; ")
                ),
            ))
        }
        StepState::Pending | StepState::Running | StepState::Done | StepState::Unknown(_) => None,
    }
}

/// How long a step took, and what it changed.
fn after(step: &Step) -> String {
    let took = step.started_at.as_ref().zip(step.finished_at.as_ref());
    let took = took.map_or_else(String::new, |(from, to)| {
        format!(" after {} s", to.0.duration_since(from.0).as_secs())
    });
    match step.changed {
        0 => took,
        changed => format!("{took}, {changed} objects changed"),
    }
}

/// What a step did not wait for.
fn not_waited_for(step: &Step) -> String {
    if step.not_waited_for.is_empty() {
        return String::new();
    }
    let named: Vec<_> = step
        .not_waited_for
        .iter()
        .map(|left_out| format!("{}: {}", left_out.object, left_out.message))
        .collect();
    format!("; not waited for: {}", named.join("; "))
}

#[cfg(test)]
mod tests;
