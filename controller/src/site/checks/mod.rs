//! Looking at what a step of a walk waits for, and doing the little that it may need to come about.
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
//! Fetches, has `failover_core` judge, and writes; each look stands for itself and may be dropped at any point.

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
use failover_core::transition::{BLOCKED_LIMIT, EnrolledNamespace, Look, LookReport, guard_of};
use failover_core::{Role, Rule, RuleSet};
use failover_runtime::kube::discovery::DiscoveryError;
use failover_runtime::kube::error::ObjectError;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;

/// Looks.
#[derive(Clone)]
pub struct Looker {
    client: Client,
    /// Of the workloads, before traffic comes.
    available_percent: u8,
    now: fn() -> Timestamp,
}

impl std::fmt::Debug for Looker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Looker")
            .field("available_percent", &self.available_percent)
            .finish_non_exhaustive()
    }
}

/// What a look is about.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Where the walk leads.
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

/// Which objects of those namespaces are on the walk.
#[derive(Clone, Debug)]
pub enum Moving {
    /// What takes the role of its layer; and these volumes, which are waited for although it is policies that move them.
    Layers(BTreeSet<ObjectKey>),
    /// What a policy names.
    Named(BTreeSet<ObjectKey>),
}

impl Scene {
    /// The namespaces of which everything is ruled, not only what a policy names.
    fn whole(&self) -> impl Iterator<Item = &str> {
        self.namespaces
            .iter()
            .filter(|namespace| namespace.state.enforcement == Some(Enforcement::Enabled))
            .map(|namespace| namespace.name.as_str())
    }

    /// Whether an object is on the walk.
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
                    .follows_layer(rule, name, ExemptLabel::of(object))
                    || (!volumes.is_empty() && volumes.contains(&key()))
            }
            Moving::Named(objects) => objects.contains(&key()),
        }
    }
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Objects that were looked at.
    total: usize,
    in_the_way: Vec<Blocked>,
    /// Objects that nothing brings up.
    not_waited_for: Vec<NotWaitedFor>,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.total += other.total;
        self.in_the_way.extend(other.in_the_way);
        self.not_waited_for.extend(other.not_waited_for);
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error("cannot list {what}")]
    List { what: String, source: ObjectError },
}

impl Looker {
    pub fn new(client: Client, available_percent: u8, now: fn() -> Timestamp) -> Self {
        Self {
            client,
            available_percent,
            now,
        }
    }

    /// Looks once. What must not be listed is in the way; an error concerns the API server as a whole.
    pub async fn look(&self, look: Look, scene: Scene) -> Result<LookReport, LookError> {
        let guard = guard_of(look.at, scene.to);
        let found = or_refused(self.find(look.at, &scene).await, guard)?;
        // Of what a guard holds at the start each object can be let pass by itself, so that all of them count.
        let named = match look.at {
            StepName::Guards => usize::MAX,
            _ => BLOCKED_LIMIT,
        };
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        Ok(LookReport {
            look,
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

    async fn find(&self, at: StepName, scene: &Scene) -> Result<Found, LookError> {
        match (at, scene.to) {
            // What a policy does not name goes on as it is.
            (StepName::Guards, Role::Secondary) if matches!(scene.moving, Moving::Named(_)) => {
                self.refused_writes(scene).await
            }
            (StepName::Guards, Role::Secondary) => {
                let (workloads, traffic, writes) = futures::join!(
                    self.uncovered(scene),
                    self.published(scene),
                    self.refused_writes(scene)
                );
                let mut found = or_refused(workloads, GuardId::UncoveredWorkloads)?;
                found.add(or_refused(traffic, GuardId::UncoveredTraffic)?);
                found.add(or_refused(writes, GuardId::WriteRefused)?);
                Ok(found)
            }
            (StepName::Guards, Role::Primary) => {
                let (volumes, writes) =
                    futures::join!(self.unfit_volumes(scene), self.refused_writes(scene));
                let mut found = or_refused(volumes, guard_of(at, scene.to))?;
                found.add(or_refused(writes, GuardId::WriteRefused)?);
                Ok(found)
            }
            (StepName::PodsGone, _) => self.pods_gone(scene).await,
            (StepName::Replication, _) => self.replication(scene).await,
            (StepName::CronJobs, _) => self.forget_missed_runs(scene).await,
            (StepName::Jobs, _) => self.run_held_jobs(scene).await,
            (StepName::Available, _) => self.available(scene).await,
            // A walk stands before such a step; were it ever asked about, nothing is known to be out of the way.
            (StepName::Unknown(word), _) => Ok(Found {
                total: 1,
                in_the_way: vec![Blocked {
                    guard: guard_of(at, scene.to).to_string(),
                    object: None,
                    message: format!("step {} is of a later version", word.as_str()),
                }],
                ..Found::default()
            }),
            // They move layers, and wait for nothing else.
            (
                StepName::Traffic
                | StepName::Gitops
                | StepName::Workloads
                | StepName::Volumes
                | StepName::Layers,
                _,
            ) => Ok(Found::default()),
        }
    }
}

/// What must not be listed is in the way, under this guard.
fn or_refused(found: Result<Found, LookError>, guard: GuardId) -> Result<Found, LookError> {
    let refused = match &found {
        Err(LookError::List { what, source }) => match source {
            ObjectError::Refused { status, message } => Some((what, *status, message)),
            ObjectError::Unserved(message) => Some((what, 503, message)),
            _ => None,
        },
        _ => None,
    };
    match refused {
        Some((what, status, message)) => Ok(Found {
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
