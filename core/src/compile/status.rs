//! What a policy says of itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::PolicyResult;
use crate::api::{
    FailoverPolicy, FailoverPolicyStatus, ManagedResourceReason, ManagedResourceStatus, condition,
};

/// How far what is in force has been carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforced<'a> {
    /// Not every object has been swept under it yet.
    NotYet,
    /// Swept; these objects, as `namespace/resource/name`, do not agree, each with why.
    Swept(&'a [(String, String)]),
}

/// The status of a policy, with what it said before: times move only where something has changed.
pub fn policy_status(
    policy: &FailoverPolicy,
    result: &PolicyResult,
    enforced: Enforced<'_>,
    now: jiff::Timestamp,
) -> FailoverPolicyStatus {
    let before = policy.status.clone().unwrap_or_default();
    let own = policy.metadata.namespace.clone().unwrap_or_default();
    let resources: Vec<ManagedResourceStatus> = result
        .resources
        .iter()
        .map(|found| {
            let named = &found.resource;
            let namespace = named.namespace.clone().unwrap_or_else(|| own.clone());
            let known = before
                .resources
                .iter()
                .find(|r| (r.kind, &r.name, &r.namespace) == (named.kind, &named.name, &namespace));
            let since = match (known, found.state) {
                (Some(known), Some(_)) if known.state == found.state => known.since.clone(),
                (_, Some(_)) => Some(Time(now)),
                (_, None) => None,
            };
            let astray = || {
                let Enforced::Swept(astray) = enforced else {
                    return None;
                };
                let object = found.object.as_ref()?.to_string();
                let (_, why) = astray.iter().find(|(name, _)| *name == object)?;
                Some((ManagedResourceReason::NotConforming, why.clone()))
            };
            let (reason, error) = found.refused.clone().or_else(astray).unzip();
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
    let ready = ready(policy, &resources, enforced, &before, now);
    FailoverPolicyStatus {
        observed_generation: policy.metadata.generation,
        resources,
        conditions: vec![ready],
    }
}

/// Whether this very version of the policy has been told anything.
fn stands(policy: &FailoverPolicy, before: &FailoverPolicyStatus) -> bool {
    before.observed_generation == policy.metadata.generation
        && before
            .conditions
            .first()
            .is_some_and(|c| c.type_ == condition::READY)
}

fn ready(
    policy: &FailoverPolicy,
    resources: &[ManagedResourceStatus],
    enforced: Enforced<'_>,
    before: &FailoverPolicyStatus,
    now: jiff::Timestamp,
) -> Condition {
    let failing: Vec<&ManagedResourceStatus> =
        resources.iter().filter(|r| r.reason.is_some()).collect();
    let (status, reason, message) = match (failing.first(), enforced) {
        (Some(first), _) => {
            let more = match failing.len() {
                1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            };
            let error = first.error.as_deref().unwrap_or_default();
            let reason = first.reason.map_or("", ManagedResourceReason::as_str);
            ("False", reason, format!("{error}{more}"))
        }
        // A controller that has just taken over has not seen for itself; what it finds unchanged is as it was told.
        (None, Enforced::NotYet) if before.resources == resources && stands(policy, before) => {
            return before.conditions[0].clone();
        }
        (None, Enforced::NotYet) => (
            "False",
            "Progressing",
            "not every object has been swept yet".to_owned(),
        ),
        (None, Enforced::Swept(_)) => (
            "True",
            "Enforced",
            "every object stands as it is to".to_owned(),
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
        message,
        observed_generation: policy.metadata.generation,
        last_transition_time: known.map_or(Time(now), |c| c.last_transition_time.clone()),
    }
}
