//! Looking at what a step of a walk waits for, and doing the little that it may need to come about.
//!
//! ```text
//!   guards      what no rule reaches, before a demotion; volumes that are not fit, before a promotion; changes that the API
//!               server would refuse
//!   podsGone    pods, whom they belong to, which claims they use; one pod that blocks an ordered set is deleted
//!   replication what the driver of each volume says
//!   cronJobs    a run that was missed is marked as had
//!   jobs        Jobs held since they were created are let run
//!   available   what each workload's own controller says, and Flux of what it installs
//! ```
//!
//! Fetches, has `failover_core` judge, and writes; each look stands for itself and may be dropped at any point.

mod batch;
mod listed;
mod volumes;
mod workloads;
mod writes;

use std::collections::BTreeSet;

use failover_core::api::{Blocked, NotWaitedFor, StepName};
use failover_core::compile::ObjectKey;
use failover_core::guard::GuardId;
use failover_core::plan::ObjectRef;
use failover_core::transition::{BLOCKED_LIMIT, EnrolledNamespace, Look, LookReport, guard_of};
use failover_core::{Role, Rule, RuleSet};
use jiff::Timestamp;
use kube::Client;

use super::discovery::DiscoveryError;
use super::objects::ObjectError;

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
    /// Whether an object is on the walk.
    fn has(&self, namespace: &EnrolledNamespace, rule: &Rule, name: &str) -> bool {
        let key = || ObjectKey {
            namespace: namespace.name.clone(),
            resource: rule.resource.to_string(),
            name: name.to_owned(),
        };
        match &self.moving {
            Moving::Layers(volumes) => {
                namespace.state.follows_layer(rule, name)
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
    fn and(mut self, other: Self) -> Self {
        self.total += other.total;
        self.in_the_way.extend(other.in_the_way);
        self.not_waited_for.extend(other.not_waited_for);
        self
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
        let found = match self.find(look.at, &scene).await {
            Err(LookError::List {
                what,
                source: ObjectError::Refused { status, message },
            }) => Found {
                total: 1,
                in_the_way: vec![Blocked {
                    guard: guard_of(look.at, scene.to).to_string(),
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
            },
            other => other?,
        };
        // Of guards each object is overridden by itself, so all that hold have to be known.
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
            (StepName::Guards, Role::Secondary) => Ok(self
                .uncovered(scene)
                .await?
                .and(self.refused_writes(scene).await?)),
            (StepName::Guards, Role::Primary) => Ok(self
                .unfit_volumes(scene)
                .await?
                .and(self.refused_writes(scene).await?)),
            (StepName::PodsGone, _) => self.pods_gone(scene).await,
            (StepName::Replication, _) => self.replication(scene).await,
            (StepName::CronJobs, _) => self.forget_missed_runs(scene).await,
            (StepName::Jobs, _) => self.run_held_jobs(scene).await,
            (StepName::Available, _) => self.available(scene).await,
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

/// What is said of an object that is in the way.
fn blocked(guard: GuardId, object: &ObjectRef, what: &str, hint: &str) -> Blocked {
    let separator = if hint.is_empty() { "" } else { "; " };
    Blocked {
        guard: guard.to_string(),
        object: Some(object.to_string()),
        message: format!("{what}{separator}{hint}"),
    }
}
