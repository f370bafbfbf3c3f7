//! The status of a policy.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::PolicySubject;
use crate::api::{
    FailoverPolicy, FailoverPolicyStatus, ManagedResourceReason, ManagedResourceStatus, Phase,
    StepActivity, StepName, StepState, condition,
};
use crate::role::Layer;
use crate::transition::conditions::{blocked, progress};
use crate::transition::size;

/// Whether the roles in force have been verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Enforced<'a> {
    /// Not every object has been swept under them yet.
    NotYet,
    /// Swept; these objects, as `namespace/resource/name`, do not conform, each with the reason.
    Swept(&'a [(String, String)]),
}

/// Updates the status of each object, and the condition of the policy. Times change only with a status.
pub(super) fn report_status(subject: &PolicySubject<'_>, status: &mut FailoverPolicyStatus) {
    let (policy, result, now) = (subject.policy, subject.result, subject.observation.now);
    let site = subject.observation.site.status.as_ref();
    let report = subject
        .observation
        .sweep
        .filter(|report| site.is_some_and(|site| report.covers(&Layer::ALL, site)));
    let nonconforming: Option<Vec<_>> = report.map(|report| {
        let blocked = report.blocked.iter();
        let named = blocked.filter_map(|b| Some((b.object.clone()?, b.message.clone())));
        named.collect()
    });
    let enforced = nonconforming
        .as_deref()
        .map_or(Enforced::NotYet, Enforced::Swept);
    let before = policy.status.clone().unwrap_or_default();
    let known: BTreeMap<_, _> = before
        .resources
        .iter()
        .map(|r| ((r.kind, r.name.as_str(), r.namespace.as_str()), r))
        .collect();
    let own = policy.metadata.namespace.clone().unwrap_or_default();
    let resources: Vec<ManagedResourceStatus> = result
        .resources
        .iter()
        .map(|found| {
            let named = &found.resource;
            let namespace = named.namespace.clone().unwrap_or_else(|| own.clone());
            let known = known.get(&(named.kind, named.name.as_str(), namespace.as_str()));
            let since = match (known, found.state) {
                (Some(known), Some(_)) if known.state == found.state => known.since.clone(),
                (_, Some(_)) => Some(Time(now)),
                (_, None) => None,
            };
            let nonconforming = || {
                let Enforced::Swept(nonconforming) = enforced else {
                    return None;
                };
                let object = found.object.as_ref()?.to_string();
                let (_, why) = nonconforming.iter().find(|(name, _)| *name == object)?;
                Some((ManagedResourceReason::NotConforming, why.clone()))
            };
            let (reason, mut error) = found.refused.clone().or_else(nonconforming).unzip();
            if let Some(error) = &mut error {
                size::cut(error, size::MESSAGE);
            }
            ManagedResourceStatus {
                kind: named.kind,
                name: named.name.clone(),
                namespace,
                state: found.state,
                since,
                reason,
                error,
            }
        })
        .collect();
    let running = running(status);
    let ready = ready(policy, running, &resources, enforced, &before, now);
    status.observed_generation = policy.metadata.generation;
    status.resources = resources;
    status.conditions = vec![ready];
}

/// Reason and message of a running transition.
fn running(status: &FailoverPolicyStatus) -> Option<(&'static str, String)> {
    let transition = status.transition.as_ref()?;
    let mut steps = transition.steps.iter();
    let step = steps.find(|step| step.state != StepState::Done)?;
    if status.phase != Some(Phase::Stalled) {
        let doing = match step.activity {
            Some(activity @ StepActivity::WaitingForSite) => format!(", {}", activity.phrase()),
            _ => String::new(),
        };
        return Some((
            "Progressing",
            format!("{}{doing}", progress(Some(transition))),
        ));
    }
    let how = if step.name == StepName::Guards {
        " (of a policy: in spec.request.overrides, under a new spec.request.id)"
    } else {
        ""
    };
    Some(("Stalled", format!("{}{how}", blocked(Some(transition)))))
}

/// Whether the current generation of the policy has a reported condition.
fn is_reported(policy: &FailoverPolicy, before: &FailoverPolicyStatus) -> bool {
    before.observed_generation == policy.metadata.generation
        && before
            .conditions
            .first()
            .is_some_and(|c| c.type_ == condition::READY)
}

fn ready(
    policy: &FailoverPolicy,
    running: Option<(&'static str, String)>,
    resources: &[ManagedResourceStatus],
    enforced: Enforced<'_>,
    before: &FailoverPolicyStatus,
    now: jiff::Timestamp,
) -> Condition {
    let failing: Vec<&ManagedResourceStatus> =
        resources.iter().filter(|r| r.reason.is_some()).collect();
    let (status, reason, message) = match (running, failing.first(), enforced) {
        (Some((reason, message)), _, _) => ("False", reason, message),
        (None, Some(first), _) => {
            let more = match failing.len() {
                1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            };
            let error = first.error.as_deref().unwrap_or_default();
            let reason = first
                .reason
                .as_ref()
                .map_or("", ManagedResourceReason::as_str);
            ("False", reason, format!("{error}{more}"))
        }
        // A controller that has just become leader has not swept yet; an unchanged state keeps the reported condition.
        (None, None, Enforced::NotYet)
            if before.resources == resources && is_reported(policy, before) =>
        {
            return before.conditions[0].clone();
        }
        (None, None, Enforced::NotYet) => (
            "False",
            "Progressing",
            "not every object has been swept yet".to_owned(),
        ),
        (None, None, Enforced::Swept(_)) => (
            "True",
            "Enforced",
            "all managed objects match the desired state".to_owned(),
        ),
    };
    let known = before
        .conditions
        .iter()
        .find(|c| c.type_ == condition::READY && c.status == status);
    Condition {
        type_: condition::READY.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: {
            let mut message = message;
            size::cut(&mut message, size::CONDITION);
            message
        },
        observed_generation: policy.metadata.generation,
        last_transition_time: known.map_or(Time(now), |c| c.last_transition_time.clone()),
    }
}
