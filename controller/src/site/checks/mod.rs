//! Checks what a step of a transition waits for, and does the few writes that it needs.
//!
//! ```text
//!   guards      what no rule reaches, pods and names in DNS, before a demotion; volumes that are not fit, before a promotion;
//!               changes that the API server would refuse
//!   podsGone    pods, their owners and the claims they use; one pod that blocks an ordered set is deleted
//!   replication what the driver of each volume reports
//!   cronJobs    missed runs are marked as done
//!   jobs        requested Jobs that were forced passive since their creation are started
//!   available   what each workload's own controller reports, and Flux about what it installs
//! ```
//!
//! A check fetches, lets `failover_core` judge, and writes. Checks are independent and may be dropped at any point.

mod batch;
mod lists;
pub mod running;
mod traffic;
mod volumes;
mod workloads;
mod writes;

use std::collections::BTreeSet;

use failover_core::api::{Blocked, NotWaitedFor, StepName};
use failover_core::checks::batch::HeldJobs;
use failover_core::guards::GuardId;
use failover_core::namespace::{Enforcement, ExemptLabel};
use failover_core::object::ObjectKey;
use failover_core::object::ObjectRef;
use failover_core::transition::{BLOCKED_LIMIT, Check, CheckReport, EnrolledNamespace, guard_of};
use failover_core::{Role, Rule, RuleSet};
use failover_runtime::kube::discovery::DiscoveryError;
use failover_runtime::kube::error::ObjectError;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;

/// Carries out checks.
#[derive(Clone)]
pub struct Checker {
    client: Client,
    /// Share of the workloads that must be available before traffic moves.
    available_percent: u8,
    now: fn() -> Timestamp,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker")
            .field("available_percent", &self.available_percent)
            .finish_non_exhaustive()
    }
}

/// The scope of a check.
#[derive(Clone, Debug)]
pub struct CheckScope {
    /// The target role of the transition.
    pub to: Role,
    /// The namespaces of the transition, with their current roles.
    pub namespaces: Vec<EnrolledNamespace>,
    pub moving: Moving,
    pub rules: RuleSet,
    /// Namespaces that are being deleted: nothing can be created in them.
    pub terminating: BTreeSet<String>,
    /// Jobs that may start although they were forced passive since their creation.
    pub held_jobs: HeldJobs,
}

/// Which objects of those namespaces take part in the transition.
#[derive(Clone, Debug)]
pub enum Moving {
    /// Objects that follow the role of their layer; and these volumes, which are waited for although policies move
    /// them.
    Layers(BTreeSet<ObjectKey>),
    /// Objects that a policy names.
    Named(BTreeSet<ObjectKey>),
}

impl CheckScope {
    /// The namespaces that are enforced as a whole, not only for what a policy names.
    fn whole(&self) -> impl Iterator<Item = &str> {
        self.namespaces
            .iter()
            .filter(|namespace| namespace.state.enforcement == Some(Enforcement::Enabled))
            .map(|namespace| namespace.name.as_str())
    }

    /// Whether an object takes part in the transition.
    fn has(&self, namespace: &EnrolledNamespace, rule: &Rule, object: &Value) -> bool {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let key = || ObjectKey {
            namespace: namespace.name.clone(),
            resource: rule.resource.to_string(),
            name: name.to_owned(),
        };
        match &self.moving {
            Moving::Layers(volumes) => {
                namespace
                    .state
                    .follows_layer(rule, name, ExemptLabel::of(rule, object))
                    || (!volumes.is_empty() && volumes.contains(&key()))
            }
            Moving::Named(objects) => objects.contains(&key()),
        }
    }
}

/// The result of a check.
#[derive(Debug, Default, PartialEq, Eq)]
struct CheckResult {
    /// Objects that were checked.
    total: usize,
    blocking: Vec<Blocked>,
    /// Objects that nothing makes available, so that they are not waited for.
    not_waited_for: Vec<NotWaitedFor>,
}

impl CheckResult {
    fn add(&mut self, other: Self) {
        self.total += other.total;
        self.blocking.extend(other.blocking);
        self.not_waited_for.extend(other.not_waited_for);
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error("cannot list {what}")]
    List { what: String, source: ObjectError },
}

impl Checker {
    pub fn new(client: Client, available_percent: u8, now: fn() -> Timestamp) -> Self {
        Self {
            client,
            available_percent,
            now,
        }
    }

    /// Checks once. A kind that may not be listed counts as blocking; an error concerns the API server as a whole.
    pub async fn check(
        &self,
        check: Check,
        check_scope: CheckScope,
    ) -> Result<CheckReport, CheckError> {
        let guard = guard_of(check.at, check_scope.to);
        let found = or_refused(self.find(check.at, &check_scope).await, guard)?;
        // Each object that a guard blocks at the start can be overridden by itself, so all of them are named.
        let named = match check.at {
            StepName::Guards => usize::MAX,
            _ => BLOCKED_LIMIT,
        };
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        Ok(CheckReport {
            check,
            total: count(found.total),
            left: count(found.blocking.len()),
            blocked: found.blocking.into_iter().take(named).collect(),
            not_waited_for: found
                .not_waited_for
                .into_iter()
                .take(BLOCKED_LIMIT)
                .collect(),
            finished_at: (self.now)(),
        })
    }

    async fn find(
        &self,
        at: StepName,
        check_scope: &CheckScope,
    ) -> Result<CheckResult, CheckError> {
        match (at, check_scope.to) {
            // Objects that the policy does not name are unaffected.
            (StepName::Guards, Role::Secondary)
                if matches!(check_scope.moving, Moving::Named(_)) =>
            {
                self.refused_writes(check_scope).await
            }
            (StepName::Guards, Role::Secondary) => {
                let (workloads, traffic, writes) = futures::join!(
                    self.uncovered(check_scope),
                    self.published(check_scope),
                    self.refused_writes(check_scope)
                );
                let mut found = or_refused(workloads, GuardId::UncoveredWorkloads)?;
                found.add(or_refused(traffic, GuardId::UncoveredTraffic)?);
                found.add(or_refused(writes, GuardId::WriteRefused)?);
                Ok(found)
            }
            (StepName::Guards, Role::Primary) => {
                let (volumes, writes) = futures::join!(
                    self.unfit_volumes(check_scope),
                    self.refused_writes(check_scope)
                );
                let mut found = or_refused(volumes, guard_of(at, check_scope.to))?;
                found.add(or_refused(writes, GuardId::WriteRefused)?);
                Ok(found)
            }
            (StepName::PodsGone, _) => self.pods_gone(check_scope).await,
            (StepName::Replication, _) => self.replication(check_scope).await,
            (StepName::CronJobs, _) => self.forget_missed_runs(check_scope).await,
            (StepName::Jobs, _) => self.run_held_jobs(check_scope).await,
            (StepName::Available, _) => self.available(check_scope).await,
            // A transition stops before such a step. If it is checked all the same, it counts as blocked.
            (StepName::Unknown(word), _) => Ok(CheckResult {
                total: 1,
                blocking: vec![Blocked {
                    guard: guard_of(at, check_scope.to).to_string(),
                    object: None,
                    message: format!("step {} is of a later version", word.as_str()),
                }],
                ..CheckResult::default()
            }),
            // These steps move layers and wait for nothing else.
            (
                StepName::Traffic
                | StepName::Gitops
                | StepName::Workloads
                | StepName::Volumes
                | StepName::Layers,
                _,
            ) => Ok(CheckResult::default()),
        }
    }
}

/// Reports a list that was refused as blocking, under this guard.
fn or_refused(
    found: Result<CheckResult, CheckError>,
    guard: GuardId,
) -> Result<CheckResult, CheckError> {
    let refused = match &found {
        Err(CheckError::List { what, source }) => match source {
            ObjectError::Refused { status, message } => Some((what, *status, message)),
            ObjectError::Unserved(message) => Some((what, 503, message)),
            _ => None,
        },
        _ => None,
    };
    match refused {
        Some((what, status, message)) => Ok(CheckResult {
            total: 1,
            blocking: vec![Blocked {
                guard: guard.to_string(),
                object: None,
                message: format!(
                    "cannot list {what}: {message} ({status}){}",
                    if status == 403 {
                        "; give the controller the right to"
                    } else {
                        ""
                    }
                ),
            }],
            not_waited_for: vec![],
        }),
        None => found,
    }
}

/// The report of a blocking object.
fn blocked(guard: GuardId, object: &ObjectRef, what: &str, hint: &str) -> Blocked {
    let separator = if hint.is_empty() { "" } else { "; " };
    Blocked {
        guard: guard.to_string(),
        object: Some(object.to_string()),
        message: format!("{what}{separator}{hint}"),
    }
}

#[cfg(test)]
mod tests;
