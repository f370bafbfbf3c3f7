//! The conditions of the status: derived from its other fields at every decision.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::targets::differing;
use super::{NamespaceRefusal, Observation, VERIFY_DEADLINE, size};
use crate::api::{Phase, SiteStatus, Step, StepState, Transition, condition};
use crate::role::Layer;

pub(super) fn update(observation: &Observation<'_>, status: &mut SiteStatus) {
    let enforced = enforced(observation, status);
    let transition = status.transition.as_ref();
    let ready = match status.phase {
        Some(Phase::Stable) if enforced.holds == Some(true) => {
            Verdict::yes("Stable", "role and objects agree")
        }
        Some(Phase::Stable) => Verdict {
            holds: Some(false),
            ..enforced.clone()
        },
        Some(Phase::Paused) => Verdict::no("Paused", "nothing moves until the site is resumed"),
        Some(Phase::Stalled) => Verdict::no("Stalled", &blocked(transition)),
        Some(Phase::Demoting | Phase::Promoting) => {
            Verdict::no("InTransition", &progress(transition))
        }
        Some(Phase::Unknown(_)) | None => Verdict::no("Unknown", "not reconciled yet"),
    };
    let progressing = match status.phase {
        Some(Phase::Demoting | Phase::Promoting) => {
            Verdict::yes("InTransition", &progress(transition))
        }
        Some(Phase::Stalled) => Verdict::no("Stalled", &blocked(transition)),
        Some(Phase::Paused) => Verdict::no("Paused", "nothing moves until the site is resumed"),
        Some(Phase::Stable) if enforced.reason == "Adopting" => {
            Verdict::yes("Adopting", &enforced.message)
        }
        Some(Phase::Stable | Phase::Unknown(_)) | None => {
            Verdict::no("Stable", "no transition is under way")
        }
    };
    let peer = match &observation.site.spec.peer {
        None => Verdict::unknown("NoPeer", "no peer is configured"),
        Some(peer) => Verdict::unknown(
            "NotAsked",
            &format!("this version does not contact peer {}", peer.site_name),
        ),
    };
    let now = Time(observation.now);
    for (kind, verdict) in [
        (condition::READY, ready),
        (condition::ENFORCED, enforced),
        (condition::PROGRESSING, progressing),
        (condition::PEER_CONSISTENT, peer),
    ] {
        set(
            status,
            kind,
            verdict,
            observation.site.metadata.generation,
            &now,
        );
    }
}

#[derive(Clone)]
struct Verdict {
    holds: Option<bool>,
    reason: Cow<'static, str>,
    message: String,
}

impl Verdict {
    fn yes(reason: &'static str, message: &str) -> Self {
        Self {
            holds: Some(true),
            reason: Cow::Borrowed(reason),
            message: message.to_owned(),
        }
    }

    fn no(reason: &'static str, message: &str) -> Self {
        Self {
            holds: Some(false),
            reason: Cow::Borrowed(reason),
            message: message.to_owned(),
        }
    }

    fn unknown(reason: &'static str, message: &str) -> Self {
        Self {
            holds: None,
            reason: Cow::Borrowed(reason),
            message: message.to_owned(),
        }
    }
}

/// Whether every ruled object conforms, as last observed, and enforcement is configured.
fn enforced(observation: &Observation<'_>, status: &SiteStatus) -> Verdict {
    let facts = observation.facts;
    if !facts.webhook_configured && !facts.policy_configured {
        return Verdict::no(
            "NoEnforcement",
            "neither the webhook nor an admission policy is configured: run kubectl failover install",
        );
    }
    if let transition @ Some(_) = status.transition.as_ref() {
        return Verdict::no("InTransition", &progress(transition));
    }
    let refusing = differing(observation, status, None).into_iter();
    let mut refusing = refusing.filter_map(|n| observation.refused.get_key_value(&n.name));
    if let Some((name, NamespaceRefusal { why, .. })) = refusing.next() {
        return Verdict::no(
            "Refused",
            &format!(
                "cannot write the roles of namespace {name}: {why}; find out what refuses the write, or run kubectl failover unenroll {name}"
            ),
        );
    }
    if let Some(unreadable) = observation.unreadable.first() {
        return Verdict::no(
            "Unreadable",
            &format!("{unreadable}: update the controller, or correct the object"),
        );
    }
    let failing = observation.failing_sweep;
    if let Some(failing) = failing.filter(|f| observation.now >= f.since + VERIFY_DEADLINE) {
        return Verdict::no(
            "NotVerified",
            &format!(
                "sweeps have failed since {}: {}",
                failing.since, failing.why
            ),
        );
    }
    if !status.left.is_empty() {
        return Verdict::no(
            "NamespaceLeft",
            &format!(
                "these namespaces lost their enrolment label without kubectl failover unenroll, so the role of the site is not enforced in them: {}; run kubectl failover enroll or unenroll",
                status.left.join(", ")
            ),
        );
    }
    match observation
        .sweep
        .filter(|report| report.covers(&Layer::ALL, status))
    {
        None => as_reported(observation, status).unwrap_or_else(|| {
            Verdict::no(
                "Adopting",
                "not every enrolled namespace has been swept yet",
            )
        }),
        Some(report) if report.left > 0 => {
            let names: Vec<_> = report
                .blocked
                .iter()
                .filter_map(|b| b.object.as_deref())
                .collect();
            Verdict::no(
                "NotConforming",
                &format!(
                    "{} objects do not conform: {}",
                    report.left,
                    names.join(", ")
                ),
            )
        }
        Some(_) if observation.enforcers.is_empty() => Verdict::yes(
            "SweeperOnly",
            "every object conforms, but no webhook replica is alive: only the periodic sweep corrects later writes",
        ),
        Some(_) => Verdict::yes("Enforced", "every object conforms"),
    }
}

/// A controller that has just become leader has not swept yet; an unchanged state keeps the reported condition.
fn as_reported(observation: &Observation<'_>, status: &SiteStatus) -> Option<Verdict> {
    let before = observation.site.status.as_ref()?;
    let unchanged = before.transition.is_none() && before.revision == status.revision;
    let mut reported = before.conditions.iter();
    let reported = reported.find(|condition| condition.type_ == condition::ENFORCED)?;
    let unseen = observation.sweep.is_none() && observation.failing_sweep.is_none();
    (unchanged && unseen).then(|| Verdict {
        holds: Some(reported.status == "True"),
        reason: Cow::Owned(reported.reason.clone()),
        message: reported.message.clone(),
    })
}

/// The progress of a transition.
pub(super) fn progress(transition: Option<&Transition>) -> String {
    let Some(transition) = transition else {
        return String::new();
    };
    let to = transition.to;
    current(transition).map_or_else(
        || format!("to {to}"),
        |step| format!("to {to}: step {}", step.name.as_str()),
    )
}

/// What blocks a transition.
pub(super) fn blocked(transition: Option<&Transition>) -> String {
    let Some(step) = transition.and_then(current) else {
        return String::new();
    };
    if step.is_unknown() {
        return format!(
            "step {} was written by a later version: update the controller, or request the transition again",
            step.name.as_str()
        );
    }
    let all: Vec<_> = step
        .blocked
        .iter()
        .map(|b| match &b.object {
            Some(object) => format!("{} ({object}): {}", b.guard, b.message),
            None => format!("{}: {}", b.guard, b.message),
        })
        .collect();
    all.join("; ")
}

fn current(transition: &Transition) -> Option<&Step> {
    let mut steps = transition.steps.iter();
    steps.find(|step| step.state != StepState::Done)
}

/// Sets a condition; its last transition time changes only when its status does.
fn set(status: &mut SiteStatus, kind: &str, verdict: Verdict, generation: Option<i64>, now: &Time) {
    let value = match verdict.holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let since = status
        .conditions
        .iter()
        .find(|c| c.type_ == kind && c.status == value)
        .map_or_else(|| now.clone(), |c| c.last_transition_time.clone());
    let mut message = verdict.message;
    size::cut(&mut message, size::CONDITION);
    let condition = Condition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: verdict.reason.into_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since,
    };
    match status.conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(existing) => *existing = condition,
        None => status.conditions.push(condition),
    }
}
