//! What is worth telling: derived from the status before and after a write that succeeded, and from what a sweep did.

use std::collections::BTreeSet;

use failover_core::api::{
    FailoverPolicyStatus, HistoryEntry, Outcome, SiteStatus, Step, StepName, StepState, Transition,
};
use failover_core::guards::GuardId;
use failover_core::object_roles::Deferred;

use crate::events::Message;
use crate::sweep::Swept;

/// What a Site or a FailoverPolicy says of its transitions.
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
    let mut news = Vec::new();
    let ended = after
        .history
        .iter()
        .take_while(|entry| before.history.first() != Some(*entry));
    let mut ended: Vec<_> = ended.map(finished).collect();
    ended.reverse();
    news.extend(ended);
    let Some(transition) = after.transition else {
        return news;
    };
    let old = before
        .transition
        .filter(|old| old.id == transition.id && old.to == transition.to);
    if old.is_none() {
        news.push(started(transition));
    }
    for step in &transition.steps {
        let before = old.and_then(|old| old.steps.iter().find(|s| s.name == step.name));
        news.extend(of_step(transition, before, step));
    }
    news
}

/// What is new in a status.
pub fn of_status(before: &SiteStatus, after: &SiteStatus) -> Vec<Message> {
    let mut news = of_transition(Journal::of_site(before), Journal::of_site(after));
    let came: Vec<_> = after
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
    if !came.is_empty() {
        news.push(Message::normal(
            "NamespaceEnrolled",
            format!("enrolled: {}", came.join(", ")),
        ));
    }
    if !left.is_empty() {
        news.push(Message::normal(
            "NamespaceLeft",
            format!("no longer enrolled: {}", left.join(", ")),
        ));
    }
    news
}

/// The guards that hold now and did not before.
pub fn guards_that_came_to_hold(before: Journal<'_>, after: Journal<'_>) -> BTreeSet<String> {
    let holding = |journal: Journal<'_>| -> BTreeSet<String> {
        let steps = journal.transition.iter().flat_map(|walk| &walk.steps);
        // What a step waits for is named too, and holds nothing yet.
        steps
            .filter(|step| step.state == StepState::Blocked)
            .flat_map(|step| &step.blocked)
            .map(|blocked| blocked.guard.clone())
            .collect()
    };
    holding(after)
        .difference(&holding(before))
        .cloned()
        .collect()
}

/// What is asked of single objects and held back, and was not told before. The first are told in full: a thousand labels
/// must not be a thousand events.
pub fn of_held(told: &BTreeSet<Deferred>, held: &[Deferred]) -> Option<Message> {
    const IN_FULL: usize = 3;
    let new: Vec<_> = held.iter().filter(|held| !told.contains(*held)).collect();
    let named: Vec<_> = new
        .iter()
        .take(IN_FULL)
        .map(|held| format!("{}: {}", held.object, held.why))
        .collect();
    let more = match new.len().saturating_sub(IN_FULL) {
        0 => String::new(),
        more => format!("; and {more} more, see kubectl failover status"),
    };
    (!new.is_empty()).then(|| Message::warning("Deferred", format!("{}{more}", named.join("; "))))
}

/// What a sweep outside a transition corrected; `first` since namespaces came or a controller took over.
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
    // Objects of a namespace that has just come are expected not to conform.
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
    let news = before.is_none_or(|before| before.state != step.state);
    match step.state {
        StepState::Done if news && step.name != StepName::Guards => Some(Message::normal(
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
            // Again when something else holds it, not each time it is checked.
            let what = |step: &Step| {
                step.blocked
                    .iter()
                    .map(|b| (b.guard.clone(), b.object.clone()))
                    .collect::<Vec<_>>()
            };
            if !news && before.is_some_and(|before| what(before) == what(step)) {
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
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(value: Value) -> SiteStatus {
        serde_json::from_value(value).unwrap()
    }

    fn transition(id: &str, steps: &Value) -> Value {
        json!({ "id": id, "from": "primary", "to": "secondary", "epoch": 3, "requestedBy": "jo", "reason": "drill",
                "startedAt": "2026-01-01T00:00:00Z", "steps": steps })
    }

    fn reasons(before: &SiteStatus, after: &SiteStatus) -> Vec<&'static str> {
        of_status(before, after)
            .into_iter()
            .map(|news| news.reason)
            .collect()
    }

    #[test]
    fn a_transition_is_told_from_start_to_end_and_each_part_once() {
        let idle = status(json!({}));
        let begun = status(
            json!({ "transition": transition("1", &json!([{ "name": "traffic", "state": "Running" }])) }),
        );
        let written = status(json!({ "transition": transition("1", &json!([{
                "name": "traffic", "state": "Done", "total": 4, "changed": 3,
                "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:02Z"
            }])) }));
        let ended = status(json!({ "history": [{
            "id": "1", "to": "secondary", "epoch": 3, "startedAt": "2026-01-01T00:00:00Z",
            "finishedAt": "2026-01-01T00:00:02Z", "objects": 12, "outcome": "Succeeded"
        }] }));
        assert_eq!(reasons(&idle, &begun), ["TransitionStarted"]);
        assert_eq!(
            of_status(&idle, &begun)[0].note,
            "primary to secondary, epoch 3, request 1 by jo: drill"
        );
        assert_eq!(
            of_status(&begun, &written),
            [Message::normal(
                "StepFinished",
                "to secondary: traffic after 2 s, 3 objects changed".into()
            )]
        );
        assert_eq!(reasons(&written, &written), [""; 0]);
        assert_eq!(reasons(&written, &ended), ["TransitionFinished"]);
        assert_eq!(
            of_status(&written, &ended)[0].note,
            "secondary after 2 s, 12 objects changed, request 1"
        );
        assert_eq!(reasons(&ended, &ended), [""; 0]);
    }

    #[test]
    fn a_newer_order_is_told_with_the_one_it_took_the_place_of() {
        let old = status(json!({ "transition": transition("1", &json!([])) }));
        let new = status(json!({
            "transition": transition("2", &json!([])),
            "history": [{ "id": "1", "to": "secondary", "epoch": 3, "startedAt": "2026-01-01T00:00:00Z",
                          "finishedAt": "2026-01-01T00:00:01Z", "outcome": "Superseded" }]
        }));
        assert_eq!(reasons(&old, &new), ["Superseded", "TransitionStarted"]);
    }

    #[test]
    fn a_guard_is_told_when_it_comes_to_hold_and_when_another_does() {
        let held = |guard: &str, message: &str| {
            status(json!({ "transition": transition("1", &json!([
                { "name": "guards", "state": "Blocked", "blocked": [{ "guard": guard, "message": message }] }
            ])) }))
        };
        let started = status(
            json!({ "transition": transition("1", &json!([{ "name": "guards", "state": "Running" }])) }),
        );
        let peer = held("peer-unknown", "no peer");
        assert_eq!(
            of_status(&started, &peer),
            [Message::warning(
                "GuardBlocked",
                "to secondary, guards: peer-unknown: no peer".into()
            )]
        );
        assert_eq!(
            reasons(&peer, &held("peer-unknown", "still no peer")),
            [""; 0]
        );
        let other = held("no-enforcement", "x");
        assert_eq!(reasons(&peer, &other), ["GuardBlocked"]);
        assert_eq!(
            guards_that_came_to_hold(Journal::of_site(&peer), Journal::of_site(&other)),
            BTreeSet::from(["no-enforcement".to_owned()])
        );
        let journal = Journal::of_site(&peer);
        assert!(guards_that_came_to_hold(journal, journal).is_empty());
    }

    #[test]
    fn the_walk_of_a_policy_is_told_as_that_of_a_site() {
        let before = FailoverPolicyStatus::default();
        let begun: FailoverPolicyStatus =
            serde_json::from_value(json!({ "transition": transition("1", &json!([])) })).unwrap();
        let (before, begun) = (Journal::of_policy(&before), Journal::of_policy(&begun));
        let news = of_transition(before, begun);
        assert_eq!(
            news,
            [Message::normal(
                "TransitionStarted",
                "primary to secondary, epoch 3, request 1 by jo: drill".into()
            )]
        );
        assert_eq!(of_transition(begun, begun), []);
    }

    #[test]
    fn namespaces_are_told_as_they_come_and_go() {
        let before = status(json!({ "namespaces": ["a", "b"] }));
        let after = status(json!({ "namespaces": ["b", "c"] }));
        assert_eq!(
            of_status(&before, &after),
            [
                Message::normal("NamespaceEnrolled", "enrolled: c".into()),
                Message::normal("NamespaceLeft", "no longer enrolled: a".into())
            ]
        );
    }

    #[test]
    fn what_is_held_back_is_told_once_and_in_one_event() {
        let held: Vec<Deferred> = (0..1000)
            .map(|i| Deferred {
                object: failover_core::object::ObjectKey {
                    namespace: "shop".into(),
                    resource: "deployments".into(),
                    name: format!("web-{i:03}"),
                },
                why: "waits".into(),
            })
            .collect();
        let news = of_held(&BTreeSet::new(), &held).unwrap();
        assert!(news.warning);
        assert!(
            news.note.starts_with("shop/deployments/web-000: waits; ")
                && news.note.contains("and 997 more"),
            "{}",
            news.note
        );
        assert_eq!(of_held(&held.iter().cloned().collect(), &held), None);
    }

    #[test]
    fn corrections_are_told_with_names_and_warn_unless_they_were_expected() {
        let swept = Swept {
            readmitted: 1,
            rewritten: 12,
            names: vec!["shop/deployments/web".into()],
            ..Swept::default()
        };
        let news = of_sweep(&swept, false).unwrap();
        assert!(news.warning);
        assert_eq!(
            news.note,
            "13 objects did not conform and were corrected (1 by the webhook, 12 by the controller): shop/deployments/web and 12 more"
        );
        assert!(!of_sweep(&swept, true).unwrap().warning);
        assert_eq!(of_sweep(&Swept::default(), false), None);
    }

    #[test]
    fn what_a_step_did_not_wait_for_is_told_when_it_is_over() {
        let step = |state: &str| {
            json!([{ "name": "available", "state": state, "notWaitedFor": [
                { "object": "shop/deployments/web", "message": "it is being deleted" }
            ] }])
        };
        let before = status(json!({ "transition": transition("a", &step("Running")) }));
        let after = status(json!({ "transition": transition("a", &step("Done")) }));
        let news = of_status(&before, &after);
        assert_eq!(news.len(), 1);
        assert!(
            news[0]
                .note
                .contains("shop/deployments/web: it is being deleted"),
            "{}",
            news[0].note
        );
    }
}
