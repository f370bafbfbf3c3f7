//! FailoverPolicies: the status of each is reported, and one with a desired state runs its transition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use failover_core::Role;
use failover_core::api::{FailoverPolicy, FailoverPolicyStatus, Transition};
use failover_core::checks::batch::HeldJobs;
use failover_core::names::CONTROLLER_MANAGER;
use failover_core::object::ObjectKey;
use failover_core::object_roles::{Compiled, PolicyResult};
use failover_core::transition::{
    Check, CheckOwner, CheckReport, Closing, EnrolledNamespace, Failing, Observation, PolicyAct,
    decide_policy, promoting,
};
use failover_runtime::error_chain::causes;
use failover_runtime::kube::status;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::Api;
use kube::{Client, ResourceExt as _};
use tokio::time::Instant;

use super::checks::{CheckScope, Moving};
use super::snapshot::Snapshot;

/// How many are written at once.
const AT_ONCE: usize = 8;

/// What to do for all policies.
#[derive(Debug, Default)]
pub struct PolicyDecisions {
    /// Statuses to write. They contain the journals, so they come first.
    pub writes: Vec<(Arc<FailoverPolicy>, FailoverPolicyStatus)>,
    /// The checks that their transitions wait for.
    pub checks: Vec<Check>,
    /// When to decide again, if nothing happens before.
    pub until: Option<Timestamp>,
    /// When to retry writes that failed.
    pub not_before: Option<Instant>,
}

impl PolicyDecisions {
    /// Adds what to do for volumes that wait to close.
    pub fn also(&mut self, closing: Option<Closing>) {
        match closing {
            Some(Closing::Check(check)) => self.checks.push(check),
            Some(Closing::Wait { until }) => self.wait(until),
            Some(Closing::Unused(_)) | None => {}
        }
    }

    fn wait(&mut self, until: Timestamp) {
        self.until = Some(self.until.map_or(until, |other| other.min(until)));
    }
}

/// `namespace/name`.
pub fn name_of(policy: &FailoverPolicy) -> String {
    let namespace = policy.namespace().unwrap_or_default();
    format!("{namespace}/{}", policy.name_any())
}

/// Decides for each policy, on the shared observation and on the last check for that policy.
pub fn decide<'a>(
    policies: &[Arc<FailoverPolicy>],
    results: &[PolicyResult],
    observation: &Observation<'a>,
    check_of: impl Fn(&CheckOwner) -> (Option<&'a CheckReport>, Option<&'a Failing<Check>>),
) -> PolicyDecisions {
    let mut decided = PolicyDecisions::default();
    let results = by_name(results);
    for policy in policies {
        let Some(result) = of(policy, &results) else {
            continue;
        };
        let owner = CheckOwner::Policy(name_of(policy));
        let observation = Observation {
            check: check_of(&owner).0,
            failing_check: check_of(&owner).1,
            ..*observation
        };
        match decide_policy(&observation, policy, result) {
            PolicyAct::WriteStatus(status) => {
                decided.writes.push((Arc::clone(policy), *status));
            }
            PolicyAct::Check(check) => decided.checks.push(check),
            PolicyAct::Wait { until } => decided.wait(until),
        }
    }
    decided
}

/// The volumes that policies are promoting now.
pub fn promoted(seen: &Snapshot, compiled: &Compiled) -> BTreeSet<ObjectKey> {
    let results = by_name(&compiled.policies);
    let found = seen.policies.iter().filter_map(|policy| {
        let result = of(policy, &results)?;
        Some((&**policy, result))
    });
    promoting(found)
}

type ByName<'a> = BTreeMap<(&'a str, &'a str), &'a PolicyResult>;

/// The results of policies, by namespace and name.
fn by_name(results: &[PolicyResult]) -> ByName<'_> {
    results
        .iter()
        .map(|result| ((result.namespace.as_str(), result.name.as_str()), result))
        .collect()
}

fn of<'a>(policy: &FailoverPolicy, results: &ByName<'a>) -> Option<&'a PolicyResult> {
    let metadata = &policy.metadata;
    let (namespace, name) = (metadata.namespace.as_deref()?, metadata.name.as_deref()?);
    results.get(&(namespace, name)).copied()
}

/// The result of a policy.
fn result_of<'a>(policy: &FailoverPolicy, results: &'a [PolicyResult]) -> Option<&'a PolicyResult> {
    results.iter().find(|result| result.is_of(policy))
}

/// The scope of a check that is not the site's own: the objects that a policy names and was not refused, or volumes
/// that wait to close.
pub fn check_scope(seen: &Snapshot, compiled: &Compiled, check: &Check) -> CheckScope {
    if check.owner == CheckOwner::Nobody {
        return named(seen, Role::Secondary, compiled.closing.clone());
    }
    let is_it = |policy: &&Arc<FailoverPolicy>| check.owner == CheckOwner::Policy(name_of(policy));
    let mut policies = seen.policies.iter();
    let policy = policies.find(is_it);
    let result = policy.and_then(|policy| result_of(policy, &compiled.policies));
    let resources = result.iter().flat_map(|found| &found.resources);
    let objects: BTreeSet<ObjectKey> = resources
        .filter(|found| found.refused.is_none())
        .filter_map(|found| found.object.clone())
        .collect();
    let to = policy.and_then(|policy| policy.spec.desired_state);
    let transition = policy.and_then(|policy| policy.status.as_ref()?.transition.as_ref());
    CheckScope {
        held_jobs: transition.map(Transition::held_jobs).unwrap_or_default(),
        ..named(seen, to.unwrap_or(seen.site.spec.role), objects)
    }
}

/// The scope of just these objects, with their namespaces.
fn named(seen: &Snapshot, to: Role, objects: BTreeSet<ObjectKey>) -> CheckScope {
    let touched: BTreeSet<&str> = objects.iter().map(|o| o.namespace.as_str()).collect();
    let touched = |namespace: &&EnrolledNamespace| touched.contains(namespace.name.as_str());
    CheckScope {
        to,
        namespaces: seen.enrolled.iter().filter(touched).cloned().collect(),
        moving: Moving::Named(objects),
        rules: seen.rules.clone(),
        terminating: seen.terminating.iter().cloned().collect(),
        held_jobs: HeldJobs::None,
    }
}

/// The results of writing statuses.
#[derive(Debug, Default)]
pub struct PolicyWrites {
    /// Each policy that was written: as it was, and as it is stored now.
    pub answers: Vec<(Arc<FailoverPolicy>, FailoverPolicy)>,
    /// Those that have changed meanwhile or are gone: the watch will show it.
    pub conflicts: Vec<String>,
    /// Those that could not be written.
    pub failed: Vec<String>,
}

/// Writes each status on the version it was decided on. A failed write delays only its own transition.
pub async fn write_all(
    client: Client,
    writes: Vec<(Arc<FailoverPolicy>, FailoverPolicyStatus)>,
) -> PolicyWrites {
    let answers: Vec<_> = futures::stream::iter(writes)
        .map(|(policy, status)| {
            let client = client.clone();
            async move {
                let answer = write(&client, &policy, status).await;
                (policy, answer)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut written = PolicyWrites::default();
    for (policy, answer) in answers {
        let name = name_of(&policy);
        match answer {
            Ok(answer) => written.answers.push((policy, answer)),
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
                written.conflicts.push(name);
            }
            Err(error) => {
                tracing::warn!(
                    policy = name,
                    error = causes(&error),
                    "cannot write the status of a FailoverPolicy; going on without"
                );
                written.failed.push(name);
            }
        }
    }
    written
}

async fn write(
    client: &Client,
    policy: &FailoverPolicy,
    status: FailoverPolicyStatus,
) -> kube::Result<FailoverPolicy> {
    let namespace = policy.namespace().unwrap_or_default();
    let api: Api<FailoverPolicy> = Api::namespaced(client.clone(), &namespace);
    let mut policy = policy.clone();
    policy.status = Some(status);
    status::replace(&api, CONTROLLER_MANAGER, policy).await
}
