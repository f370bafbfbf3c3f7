//! Bringing every ruled object into line, and looking again until it is so.
//!
//! ```text
//!   survey ──strays──► re-admit ({} merge patch) ──► conforms? by the webhook
//!     ▲                                          └─► does not: write the same rewrite ourselves, on that version
//!     └───────────── until nothing strays, or nothing gets better ◄──────────────────┘
//! ```
//!
//! An empty patch makes the webhook apply the rule as if the owner had written the object again, and takes no ownership of
//! any field. Where the webhook did not act (it is down, or slow), the rewrite is written from here: the same function, so
//! the same result. A cluster that conforms is only read.

use std::collections::HashMap;

use failover_core::RuleSet;
use failover_core::api::Blocked;
use failover_core::guard::GuardId;
use failover_core::transition::{BLOCKED_LIMIT, EnrolledNamespace};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Client;
use serde_json::Value;

use super::discovery::{self, DiscoveryError};
use super::objects::ObjectError;
use super::patience::patiently;
use super::progress::Progress;
use super::survey::{Scope, Stray, Survey, SurveyError, Verdict, survey};

/// How often an object that changes under our hands is read and decided anew.
const CONFLICTS: u32 = 5;

/// How often everything is gone through again while that still helps. More than two are needed only where something
/// writes against us and the webhook is down.
const ROUNDS: u32 = 4;

/// The most objects that a report names.
const NAMES: usize = 10;

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
    /// Ruled objects seen by the last survey.
    pub total: i64,
    /// Brought into line by the webhook.
    pub readmitted: i64,
    /// Brought into line from here.
    pub rewritten: i64,
    /// The first of both, at most ten.
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

/// What became of one object.
#[derive(Debug, PartialEq, Eq)]
enum Fixed {
    /// The webhook did it.
    Readmitted,
    /// We did.
    Rewritten,
    /// Gone, or no longer ruled: nothing to do.
    Moot,
    Blocked(String),
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

    /// Sweeps these namespaces under the roles they are given with. Safe to drop at any point: every write stands for
    /// itself.
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
        for _ in 0..ROUNDS {
            progress.seen(seen.total, seen.total - count(&seen.strays));
            let before = swept.changed();
            for (object, fixed) in self.fix_all(&seen.strays, progress).await? {
                swept.take_in(object, fixed, &mut reasons);
            }
            if seen.strays.is_empty() {
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
        strays: &[Stray],
        progress: &Progress,
    ) -> Result<Vec<(String, Fixed)>, SweepError> {
        futures::stream::iter(strays.to_vec())
            .map(|stray| async move {
                let object = stray.reference();
                let fixed = match &stray.hopeless {
                    Some(why) => Fixed::Blocked(why.clone()),
                    None => fix(&stray.scope, &stray.name).await.map_err(|source| {
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
        // Changed, and so not blocked now: what is said of it later must not be an old reason.
        reasons.remove(&object);
        if self.names.len() < NAMES && !self.names.contains(&object) {
            self.names.push(object);
        }
    }

    fn conclude(&mut self, seen: &Survey, reasons: &HashMap<String, String>) {
        self.total = seen.total;
        self.left = count(&seen.strays);
        self.blocked = seen
            .strays
            .iter()
            .take(BLOCKED_LIMIT)
            .map(|stray| {
                let object = stray.reference();
                let message = stray
                    .hopeless
                    .clone()
                    .or_else(|| reasons.get(&object).cloned())
                    .unwrap_or_else(|| "is changed back as soon as it is swept: find its writer, and see that the webhook runs".to_owned());
                Blocked { guard: GuardId::NotConforming.to_string(), object: Some(object), message }
            })
            .collect();
    }
}

/// Brings one object into line. An error concerns the API server as a whole, not this object.
async fn fix(scope: &Scope, name: &str) -> Result<Fixed, ObjectError> {
    let readmitted = patiently(|| scope.objects.readmit(name)).await;
    let mut object = match or_read(scope, name, readmitted).await {
        Ok((object, _)) => object,
        Err(error) => return give_up(error),
    };
    let mut rewrite = match scope.judge(&object) {
        Verdict::Conforms => return Ok(Fixed::Readmitted),
        Verdict::Unruled => return Ok(Fixed::Moot),
        Verdict::Hopeless(why) => return Ok(Fixed::Blocked(why)),
        Verdict::Strays(rewrite) => rewrite,
    };
    for _ in 0..CONFLICTS {
        let version = object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let written = patiently(|| scope.objects.rewrite(name, &rewrite.patch, &version)).await;
        let (current, overtaken) = match or_read(scope, name, written).await {
            Ok(answer) => answer,
            Err(error) => return give_up(error),
        };
        object = current;
        rewrite = match scope.judge(&object) {
            // Somebody else brought it into line while we were at it.
            Verdict::Conforms if overtaken => return Ok(Fixed::Moot),
            Verdict::Conforms => return Ok(Fixed::Rewritten),
            Verdict::Unruled => return Ok(Fixed::Moot),
            Verdict::Hopeless(why) => return Ok(Fixed::Blocked(why)),
            Verdict::Strays(rewrite) if overtaken => rewrite,
            Verdict::Strays(_) => {
                return Ok(Fixed::Blocked(
                    "does not keep what was written: another admission webhook or policy changes it back".to_owned(),
                ));
            }
        };
    }
    Ok(Fixed::Blocked(format!(
        "changed {CONFLICTS} times while it was being written: find its writer"
    )))
}

/// The written object or, where somebody else was faster, the one they wrote; and whether that was so.
async fn or_read(
    scope: &Scope,
    name: &str,
    written: Result<Value, ObjectError>,
) -> Result<(Value, bool), ObjectError> {
    match written {
        Err(ObjectError::Conflict) => Ok((patiently(|| scope.objects.read(name)).await?, true)),
        other => other.map(|object| (object, false)),
    }
}

/// Whether a failure is this object's own, or that of everything there is.
fn give_up(error: ObjectError) -> Result<Fixed, ObjectError> {
    match error {
        ObjectError::NotFound => Ok(Fixed::Moot),
        ObjectError::Refused { status, message } => {
            let hint = match status {
                403 => {
                    "; give the controller get, list and patch on it, or see which admission policy refuses"
                }
                422 => "; the object is invalid as it is stored: correct it",
                _ => "",
            };
            Ok(Fixed::Blocked(format!(
                "cannot be written: {message} ({status}){hint}"
            )))
        }
        ObjectError::Conflict | ObjectError::Expired => Ok(Fixed::Blocked(
            "changes faster than it can be written: find its writer".to_owned(),
        )),
        ObjectError::Busy { .. } | ObjectError::Unavailable(_) => Err(error),
    }
}

fn count<T>(items: &[T]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
