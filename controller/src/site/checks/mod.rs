//! Checking what a step of a transition waits for, and doing the little that it may need to come about.
//!
//! ```text
//!   guards      what no rule reaches, pods and names in DNS, before a demotion; volumes that are not fit, before a promotion;
//!               changes that the API server would refuse
//!   podsGone    pods, whom they belong to, which claims they use; one pod that blocks an ordered set is deleted
//!   replication what the driver of each volume says
//!   cronJobs    a run that was missed is marked as had
//!   jobs        Jobs held since they were created are let run
//!   available   what each workload's own controller says, and Flux of what it installs
//! ```
//!
//! Fetches, has `failover_core` judge, and writes; each check is independent and may be dropped at any point.

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
    /// Of the workloads, before traffic comes.
    available_percent: u8,
    now: fn() -> Timestamp,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Looker")
            .field("available_percent", &self.available_percent)
            .finish_non_exhaustive()
    }
}

/// What a check is about.
#[derive(Clone, Debug)]
pub struct CheckScope {
    /// Where the transition leads.
    pub to: Role,
    /// The namespaces that are on it, with the roles they have now.
    pub namespaces: Vec<EnrolledNamespace>,
    pub moving: Moving,
    pub rules: RuleSet,
    /// Namespaces that are being deleted: nothing can be created in them.
    pub terminating: BTreeSet<String>,
    /// Jobs that may run although they have been held since they were created.
    pub held_jobs: HeldJobs,
}

/// Which objects of those namespaces take part in the transition.
#[derive(Clone, Debug)]
pub enum Moving {
    /// What takes the role of its layer; and these volumes, which are waited for although it is policies that move them.
    Layers(BTreeSet<ObjectKey>),
    /// What a policy names.
    Named(BTreeSet<ObjectKey>),
}

impl CheckScope {
    /// The namespaces of which everything is ruled, not only what a policy names.
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

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
struct CheckResult {
    /// Objects that were checked.
    total: usize,
    in_the_way: Vec<Blocked>,
    /// Objects that nothing brings up.
    not_waited_for: Vec<NotWaitedFor>,
}

impl CheckResult {
    fn add(&mut self, other: Self) {
        self.total += other.total;
        self.in_the_way.extend(other.in_the_way);
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

    /// Looks once. What must not be listed is in the way; an error concerns the API server as a whole.
    pub async fn check(
        &self,
        check: Check,
        check_scope: CheckScope,
    ) -> Result<CheckReport, CheckError> {
        let guard = guard_of(check.at, check_scope.to);
        let found = or_refused(self.find(check.at, &check_scope).await, guard)?;
        // Of what a guard holds at the start each object can be let pass by itself, so that all of them count.
        let named = match check.at {
            StepName::Guards => usize::MAX,
            _ => BLOCKED_LIMIT,
        };
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        Ok(CheckReport {
            check,
            total: count(found.total),
            left: count(found.in_the_way.len()),
            blocked: found.in_the_way.into_iter().take(named).collect(),
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
            // What a policy does not name goes on as it is.
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
            // A transition stands before such a step; were it ever asked about, nothing is known to be out of the way.
            (StepName::Unknown(word), _) => Ok(CheckResult {
                total: 1,
                in_the_way: vec![Blocked {
                    guard: guard_of(at, check_scope.to).to_string(),
                    object: None,
                    message: format!("step {} is of a later version", word.as_str()),
                }],
                ..CheckResult::default()
            }),
            // They move layers, and wait for nothing else.
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

/// What must not be listed is in the way, under this guard.
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
            in_the_way: vec![Blocked {
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

/// What is said of an object that is in the way.
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
