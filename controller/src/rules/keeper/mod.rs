//! The loop: reconcile every RoleRule: adopt, release, report.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use failover_core::api::{RoleRule, RoleRuleSpec, RoleRuleStatus};
use failover_core::rules::role_rule::in_force;
use failover_core::rules::role_rule::readiness::{Missing, READY, Readiness, conditions};
use failover_core::rules::role_rule::{RuleError, written};
use failover_core::transition::is_paused;
use failover_core::{Role, Rule, RuleSet};
use failover_runtime::error_chain::causes;
use failover_runtime::kube::discovery;
use failover_runtime::kube::own_writes::OwnWrites;
use failover_runtime::kube::retry::{LONGEST_BACKOFF, backoff};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::Notify;

use super::{RulesError, needs, release, write};
use crate::events::Events;
use crate::events::Message;
use crate::informers::Informers;
use crate::role_lock::RoleLock;
use crate::sweep::Sweeper;

/// Rights change without a watch event.
const RESYNC_EVERY: Duration = Duration::from_secs(15);
/// The shortest interval, however fast things change: a reconcile takes a handful of requests for each rule.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// How long the watch is given to show that a rule is gone, before the roles may change again.
const GONE_TIMEOUT: Duration = Duration::from_secs(5);

/// Reconciles RoleRules. Runs on the leader only; dropping it stops all its work.
pub struct Keeper {
    client: Client,
    api: Api<RoleRule>,
    informers: Informers,
    /// Notified when one of the `informers` has changed.
    changed: Arc<Notify>,
    sweeper: Sweeper,
    role_lock: RoleLock,
    now: fn() -> Timestamp,
    events: Events,
    own: OwnWrites<RoleRule>,
    /// What was last swept after adoption, by uid of the rule. Lost with the process, which costs one sweep of the
    /// kind.
    swept: HashMap<String, RoleRuleSpec>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Keeper {
    pub fn new(
        client: Client,
        informers: Informers,
        changed: Arc<Notify>,
        sweeper: Sweeper,
        role_lock: RoleLock,
        events: Events,
        now: fn() -> Timestamp,
    ) -> Self {
        Self {
            api: Api::all(client.clone()),
            client,
            informers,
            changed,
            sweeper,
            role_lock,
            now,
            events,
            own: OwnWrites::default(),
            swept: HashMap::new(),
        }
    }

    /// Reconciles until it is dropped.
    pub async fn run(mut self) -> Infallible {
        let mut backoff = backoff();
        loop {
            let wait = match self.reconcile().await {
                Ok(()) => {
                    backoff = self::backoff();
                    RESYNC_EVERY
                }
                Err(error) if error.is_conflict() => MIN_INTERVAL,
                Err(error) => {
                    let delay = backoff.next().unwrap_or(LONGEST_BACKOFF);
                    tracing::error!(
                        error = causes(&error),
                        "cannot reconcile the RoleRules; trying again in {delay:.1?} at the latest"
                    );
                    delay
                }
            };
            tokio::time::sleep(MIN_INTERVAL).await;
            // A timeout is as good a reason to reconcile as a change.
            let _ = tokio::time::timeout(wait, self.changed.notified()).await;
        }
    }

    async fn reconcile(&mut self) -> Result<(), RulesError> {
        let mut rules: Vec<Arc<RoleRule>> = self
            .informers
            .role_rules
            .state()
            .into_iter()
            .map(|rule| self.own.newest(rule))
            // An unreadable rule: what is in force stays in force. This version must not judge or overwrite the wait.
            .filter(|rule| {
                let name = format!("RoleRule {}", rule.name_any());
                self.informers.unreadable.find(&name).is_none()
            })
            .collect();
        let is_there = |uid: &String| rules.iter().any(|rule| rule.uid().as_ref() == Some(uid));
        self.swept.retain(|uid, _| is_there(uid));
        if rules.is_empty() {
            return Ok(());
        }
        rules.sort_by_key(|rule| rule.name_any());
        let (set, errors) = RuleSet::with_role_rules(rules.iter().map(AsRef::as_ref));
        let served = discovery::served(&self.client, &set).await?;
        let mut errors: HashMap<String, RuleError> = errors.into_iter().collect();
        let mut failed: Option<RulesError> = None;
        for rule in &rules {
            let error = errors.remove(&rule.name_any());
            // A failing rule does not block the others.
            if let Err(error) = self.reconcile_rule(rule, error, &served).await {
                if !error.is_conflict() {
                    tracing::warn!(
                        role_rule = rule.name_any(),
                        error = causes(&error),
                        "cannot reconcile a RoleRule"
                    );
                }
                let worst = failed.take().filter(|failed| !failed.is_conflict());
                failed = Some(worst.unwrap_or(error));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn reconcile_rule(
        &mut self,
        rule: &RoleRule,
        error: Option<RuleError>,
        served: &[Rule],
    ) -> Result<(), RulesError> {
        let rule = &self.release(rule).await?;
        let enforced = rule.status.as_ref().and_then(|s| s.enforced.clone());
        if rule.metadata.deletion_timestamp.is_some() && !write::has_finalizer(rule) {
            return Ok(());
        }
        let next = match (&enforced, &error) {
            // A kind has one rule, and this is not it. A rule being deleted no longer changes.
            (None, Some(_)) => None,
            (enforced, _) if rule.metadata.deletion_timestamp.is_some() => enforced.clone(),
            (enforced, _) => in_force::next(enforced.as_ref(), &rule.spec, false),
        };
        let rule = &if next.is_some() && !write::has_finalizer(rule) {
            self.wrote(rule, write::finalizer(&self.api, rule, true).await?)
        } else {
            rule.clone()
        };
        let readiness = self.readiness(rule, next.as_ref(), error, served).await?;
        let status = RoleRuleStatus {
            observed_generation: rule.metadata.generation,
            conditions: conditions(rule, next.as_ref(), &readiness, (self.now)()),
            enforced: next.clone(),
        };
        if rule.status.as_ref() != Some(&status) {
            self.publish_readiness(rule, &status);
            self.wrote(rule, write::status(&self.api, rule, status).await?);
        }
        if let Some(next) = next {
            self.sweep_at_once(&rule.uid().unwrap_or_default(), &next)
                .await?;
        }
        Ok(())
    }

    async fn readiness(
        &self,
        rule: &RoleRule,
        next: Option<&RoleRuleSpec>,
        error: Option<RuleError>,
        served: &[Rule],
    ) -> Result<Readiness, RulesError> {
        // What is in force may be valid although the spec is not.
        let compiled = match (written(&rule.spec), error) {
            (Err(error), _) | (Ok(_), Some(error)) => Err(error),
            (Ok(_), None) => Ok(()),
        };
        let in_force = next.and_then(|next| Rule::try_from(next).ok());
        let missing = match &in_force {
            Some(rule) => needs::missing(&self.client, &self.informers, rule).await?,
            None => Missing::default(),
        };
        let is_served = in_force.is_some_and(|rule| {
            served
                .iter()
                .any(|other| other.is_of(&rule.group, &rule.resource))
        });
        Ok(Readiness::of(compiled, is_served, missing))
    }

    /// Releases a loosened or deleted rule if that is allowed now. Returns the rule as it is afterwards.
    async fn release(&mut self, rule: &RoleRule) -> Result<RoleRule, RulesError> {
        let deleted = rule.metadata.deletion_timestamp.is_some();
        let Some(enforced) = rule.status.as_ref().and_then(|s| s.enforced.clone()) else {
            if deleted && write::has_finalizer(rule) {
                return Ok(self.wrote(rule, write::finalizer(&self.api, rule, false).await?));
            }
            return Ok(rule.clone());
        };
        let next = if deleted {
            None
        } else {
            in_force::next(Some(&enforced), &rule.spec, true)
        };
        let tightened = in_force::next(Some(&enforced), &rule.spec, false);
        let is_looser = deleted || next != tightened;
        if !is_looser || (deleted && !write::has_finalizer(rule)) || !self.may_loosen() {
            return Ok(rule.clone());
        }
        let role_lock = self.role_lock.clone();
        let work = async {
            let enrolled = release::enrolled(&self.client).await?;
            if !release::restored(&self.sweeper, &enrolled, &enforced, next.as_ref()).await? {
                return Ok(None);
            }
            if deleted {
                let gone = write::finalizer(&self.api, rule, false).await?;
                self.until_gone(&rule.name_any()).await;
                return Ok(Some(gone));
            }
            let status = RoleRuleStatus {
                enforced: next.clone(),
                ..rule.status.clone().unwrap_or_default()
            };
            write::status(&self.api, rule, status).await.map(Some)
        };
        // Dropped if the roles are about to change; the next reconcile tries again, if that is still allowed.
        match role_lock.within(work).await {
            Some(Ok(Some(answer))) => {
                let what = if deleted {
                    "the rule"
                } else {
                    "the looser rule"
                };
                let note = format!(
                    "released {what}: its layer is primary everywhere, and its restore records are applied"
                );
                self.publish(
                    rule,
                    Message {
                        warning: false,
                        reason: "Released",
                        note,
                    },
                );
                Ok(self.wrote(rule, answer))
            }
            Some(Err(error)) => Err(error),
            Some(Ok(None)) | None => Ok(rule.clone()),
        }
    }

    /// Only while a readable Site requests primary and is not paused, or while there is no Site.
    fn may_loosen(&self) -> bool {
        self.informers.unreadable_site().is_none()
            && self.informers.site().is_none_or(|site| {
                site.spec.role == Role::Primary && !is_paused(&site, (self.now)())
            })
    }

    /// A tightened rule does not wait for the next periodic sweep.
    async fn sweep_at_once(&mut self, uid: &str, next: &RoleRuleSpec) -> Result<(), RulesError> {
        let paused = |site: Arc<_>| is_paused(&site, (self.now)());
        if self.swept.get(uid) == Some(next)
            || self.informers.site().is_some_and(paused)
            || self.informers.unreadable_site().is_some()
        {
            return Ok(());
        }
        let work = async {
            let enrolled = release::enrolled(&self.client).await?;
            release::sweep(&self.sweeper, &enrolled, next).await
        };
        let swept = self.role_lock.within(work).await.transpose()?;
        if swept.is_some_and(|swept| swept.left == 0) {
            self.swept.insert(uid.to_owned(), next.clone());
        }
        Ok(())
    }

    /// Waits until our own cache, which the loop sweeps by, no longer contains the rule.
    async fn until_gone(&self, name: &str) {
        let gone = async {
            while self
                .informers
                .role_rules
                .get(&ObjectRef::new(name))
                .is_some()
            {
                self.changed.notified().await;
            }
        };
        // Somebody else's finalizer may keep the object: do not wait for that.
        let _ = tokio::time::timeout(GONE_TIMEOUT, gone).await;
    }

    /// Publishes an Event on the rule when its condition Ready has changed.
    fn publish_readiness(&self, rule: &RoleRule, status: &RoleRuleStatus) {
        let ready = |conditions: &[Condition]| {
            let mut conditions = conditions.iter();
            conditions.find(|c| c.type_ == READY).cloned()
        };
        let before = rule.status.as_ref().and_then(|s| ready(&s.conditions));
        let Some(now) = ready(&status.conditions) else {
            return;
        };
        let same =
            |before: &Condition| (&before.status, &before.reason) == (&now.status, &now.reason);
        if before.as_ref().is_some_and(same) {
            return;
        }
        let message = Message {
            warning: now.status != "True",
            reason: if now.status == "True" {
                "Ready"
            } else {
                "NotReady"
            },
            note: format!("{}: {}", now.reason, now.message),
        };
        self.publish(rule, message);
    }

    fn publish(&self, rule: &RoleRule, message: Message) {
        self.events
            .publish(&rule.object_ref(&()), &[message], (self.now)());
    }

    fn wrote(&mut self, replaced: &RoleRule, answer: RoleRule) -> RoleRule {
        let version = replaced.resource_version().unwrap_or_default();
        self.own.wrote(&version, answer.clone());
        answer
    }
}

#[cfg(test)]
mod tests;
