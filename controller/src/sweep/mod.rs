//! Makes every object under a rule conform, and checks again until it does.
//!
//! ```text
//!   survey ──drift───► re-admit ({} merge patch) ──► conforms? by the webhook
//!     ▲                                          └─► does not: write the same rewrite ourselves, on that version
//!     └───────────── until nothing drifts, or nothing improves ◄─────────────────────┘
//! ```
//!
//! An empty patch makes the webhook apply the rule as if the owner had written the object again, and takes no ownership
//! of any field. Where the webhook did not act (it is down, or slow), the controller writes the rewrite itself: the
//! same function, so the same result. A cluster that conforms is only read.

pub mod drift;
pub mod progress;
pub mod remedy;

use std::collections::HashMap;

use failover_core::RuleSet;
use failover_core::api::Blocked;
use failover_core::guards::GuardId;
use failover_core::transition::{BLOCKED_LIMIT, EnrolledNamespace};
use failover_runtime::kube::discovery::{self, DiscoveryError};
use failover_runtime::kube::error::ObjectError;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Client;

use drift::{DriftedObject, Scope, Survey, SurveyError, survey};
use progress::Progress;
use remedy::{Fixed, fix};

/// How many passes are made while they still help. More than two are needed only if another writer works against us and
/// the webhook is down.
const MAX_PASSES: u32 = 4;

/// The most objects that a report names.
const MAX_NAMES: usize = 10;

#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Survey(#[from] SurveyError),
    #[error("cannot write {object}")]
    Write { object: String, source: ObjectError },
}

/// What a sweep found and did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects under a rule that the last survey found.
    pub total: i64,
    /// Objects that are forced passive.
    pub forced: i64,
    /// Corrected by the webhook.
    pub readmitted: i64,
    /// Corrected by the controller.
    pub rewritten: i64,
    /// The first corrected objects, at most ten.
    pub names: Vec<String>,
    /// Objects that the last survey found not to conform.
    pub left: i64,
    /// The first of those, at most [`BLOCKED_LIMIT`], and why.
    pub blocked: Vec<Blocked>,
}

impl Swept {
    pub fn changed(&self) -> i64 {
        self.readmitted + self.rewritten
    }
}

/// Sweeps with bounded concurrency.
#[derive(Clone)]
pub struct Sweeper {
    client: Client,
    at_once: usize,
}

impl std::fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweeper")
            .field("at_once", &self.at_once)
            .finish_non_exhaustive()
    }
}

impl Sweeper {
    pub fn new(client: Client, at_once: u16) -> Self {
        Self {
            client,
            at_once: at_once.into(),
        }
    }

    /// Sweeps these namespaces under the given roles. Safe to drop at any point: every write is complete in itself.
    pub async fn sweep(
        &self,
        namespaces: &[EnrolledNamespace],
        rules: &RuleSet,
        progress: &Progress,
    ) -> Result<Swept, SweepError> {
        let rules = discovery::served(&self.client, rules).await?;
        let scopes = Scope::all(&self.client, namespaces, &rules);
        let mut swept = Swept::default();
        let mut reasons = HashMap::new();
        let mut seen = survey(&scopes).await?;
        for _ in 0..MAX_PASSES {
            progress.seen(seen.total, seen.total - count(&seen.drifted));
            let before = swept.changed();
            for drifted in in_order(&seen.drifted) {
                for (object, fixed) in self.fix_all(drifted, progress).await? {
                    swept.take_in(object, fixed, &mut reasons);
                }
            }
            if seen.drifted.is_empty() {
                break;
            }
            seen = survey(&scopes).await?;
            if swept.changed() == before {
                break;
            }
        }
        swept.conclude(&seen, &reasons);
        Ok(swept)
    }

    async fn fix_all(
        &self,
        drifted: Vec<DriftedObject>,
        progress: &Progress,
    ) -> Result<Vec<(String, Fixed)>, SweepError> {
        futures::stream::iter(drifted)
            .map(|drift| async move {
                let object = drift.reference();
                let fixed = match &drift.unfixable {
                    Some(why) => Fixed::Blocked(why.clone()),
                    None => fix(&drift.scope, &drift.name).await.map_err(|source| {
                        SweepError::Write {
                            object: object.clone(),
                            source,
                        }
                    })?,
                };
                if !matches!(fixed, Fixed::Blocked(_)) {
                    progress.one_done();
                }
                Ok((object, fixed))
            })
            .buffer_unordered(self.at_once)
            .try_collect()
            .await
    }
}

/// Scaled workloads come before the objects that may scale them: a paused KEDA ScaledObject scales a StatefulSet to 0
/// at once, and by then its claims must be safe.
fn in_order(drifted: &[DriftedObject]) -> [Vec<DriftedObject>; 2] {
    let (scaled, others) = drifted
        .iter()
        .cloned()
        .partition(|drift| drift.scope.rule.scale_is_unsafe());
    [scaled, others]
}

impl Swept {
    fn take_in(&mut self, object: String, fixed: Fixed, reasons: &mut HashMap<String, String>) {
        match fixed {
            Fixed::Readmitted => self.readmitted += 1,
            Fixed::Rewritten => self.rewritten += 1,
            Fixed::Moot => return,
            Fixed::Blocked(why) => {
                reasons.insert(object, why);
                return;
            }
        }
        // Changed, so not blocked now: a later report must not use an old reason.
        reasons.remove(&object);
        if self.names.len() < MAX_NAMES && !self.names.contains(&object) {
            self.names.push(object);
        }
    }

    fn conclude(&mut self, seen: &Survey, reasons: &HashMap<String, String>) {
        self.total = seen.total;
        self.forced = seen.forced;
        self.left = count(&seen.drifted);
        self.blocked = seen
            .drifted
            .iter()
            .take(BLOCKED_LIMIT)
            .map(|drift| {
                let object = drift.reference();
                let message = drift
                    .unfixable
                    .clone()
                    .or_else(|| reasons.get(&object).cloned())
                    .unwrap_or_else(|| "is changed back after each sweep: find its writer, and check that the webhook runs".to_owned());
                Blocked { guard: GuardId::NotConforming.to_string(), object: Some(object), message }
            })
            .collect();
    }
}

fn count<T>(items: &[T]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
