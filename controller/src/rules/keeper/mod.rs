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

use super::{RulesError, needs, spend, write};
use crate::events::Events;
use crate::events::Message;
use crate::informers::Informers;
use crate::role_lock::RoleLock;
use crate::sweep::Sweeper;

/// Rights come and go without a watch of ours.
const RESYNC_EVERY: Duration = Duration::from_secs(15);
/// However fast things change: one look takes a handful of requests for each rule.
const SHORTEST_REST: Duration = Duration::from_millis(250);
/// How long the watch is given to show that a rule is gone, before the roles may move again.
const UNTIL_SEEN: Duration = Duration::from_secs(5);

/// Looks after RoleRules. Runs on the leader only; dropping it stops all its work.
pub struct Keeper {
    client: Client,
    api: Api<RoleRule>,
    informers: Informers,
    /// Woken when something has changed in those.
    changed: Arc<Notify>,
    sweeper: Sweeper,
    role_lock: RoleLock,
    now: fn() -> Timestamp,
    events: Events,
    own: OwnWrites<RoleRule>,
    /// What has been swept since it was adopted, by the uid of the rule. Lost with the process, which costs one sweep of the kind.
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

    /// Looks until it is dropped.
    pub async fn run(mut self) -> Infallible {
        let mut backoff = backoff();
        loop {
            let rest = match self.reconcile().await {
                Ok(()) => {
                    backoff = self::backoff();
                    RESYNC_EVERY
                }
                Err(error) if error.is_conflict() => SHORTEST_REST,
                Err(error) => {
                    let delay = backoff.next().unwrap_or(LONGEST_BACKOFF);
                    tracing::error!(
                        error = causes(&error),
                        "cannot reconcile the RoleRules; trying again in {delay:.1?} at the latest"
                    );
                    delay
                }
            };
            tokio::time::sleep(SHORTEST_REST).await;
            // Out of time is as good a reason to look as news.
            let _ = tokio::time::timeout(rest, self.changed.notified()).await;
        }
    }

    async fn reconcile(&mut self) -> Result<(), RulesError> {
        let mut rules: Vec<Arc<RoleRule>> = self
            .informers
            .role_rules
            .state()
            .into_iter()
            .map(|rule| self.own.newest(rule))
            // What is in force of it stays so; what else it says is not for this version to judge, or to write over.
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
            // One that fails keeps no other from being maintained.
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
        let rule = &self.let_go(rule).await?;
        let enforced = rule.status.as_ref().and_then(|s| s.enforced.clone());
        if rule.metadata.deletion_timestamp.is_some() && !write::is_held(rule) {
            return Ok(());
        }
        let next = match (&enforced, &error) {
            // A kind has one rule, and this is not it; a rule that is deleted does not change any more.
            (None, Some(_)) => None,
            (enforced, _) if rule.metadata.deletion_timestamp.is_some() => enforced.clone(),
            (enforced, _) => in_force::next(enforced.as_ref(), &rule.spec, false),
        };
        let rule = &if next.is_some() && !write::is_held(rule) {
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
            self.tell_readiness(rule, &status);
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
        // What is in force may be sound although what is written is not.
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

    /// Lets go of what is looser or deleted, if that may be now; the rule as it is then.
    async fn let_go(&mut self, rule: &RoleRule) -> Result<RoleRule, RulesError> {
        let deleted = rule.metadata.deletion_timestamp.is_some();
        let Some(enforced) = rule.status.as_ref().and_then(|s| s.enforced.clone()) else {
            if deleted && write::is_held(rule) {
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
        if !is_looser || (deleted && !write::is_held(rule)) || !self.may_loosen() {
            return Ok(rule.clone());
        }
        let role_lock = self.role_lock.clone();
        let work = async {
            let enrolled = spend::enrolled(&self.client).await?;
            if !spend::all(&self.sweeper, &enrolled, &enforced, next.as_ref()).await? {
                return Ok(None);
            }
            if deleted {
                let gone = write::finalizer(&self.api, rule, false).await?;
                self.until_unseen(&rule.name_any()).await;
                return Ok(Some(gone));
            }
            let status = RoleRuleStatus {
                enforced: next.clone(),
                ..rule.status.clone().unwrap_or_default()
            };
            write::status(&self.api, rule, status).await.map(Some)
        };
        // Dropped where the roles are to move; the next check tries again, if it still may.
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
                self.tell(
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

    /// Not while somebody has ordered otherwise, nor while nothing is to be moved.
    fn may_loosen(&self) -> bool {
        self.informers.unreadable_site().is_none()
            && self.informers.site().is_none_or(|site| {
                site.spec.role == Role::Primary && !is_paused(&site, (self.now)())
            })
    }

    /// A rule that is tighter than before is not left to the next periodic sweep.
    async fn sweep_at_once(&mut self, uid: &str, next: &RoleRuleSpec) -> Result<(), RulesError> {
        let paused = |site: Arc<_>| is_paused(&site, (self.now)());
        if self.swept.get(uid) == Some(next)
            || self.informers.site().is_some_and(paused)
            || self.informers.unreadable_site().is_some()
        {
            return Ok(());
        }
        let work = async {
            let enrolled = spend::enrolled(&self.client).await?;
            spend::sweep(&self.sweeper, &enrolled, next).await
        };
        let swept = self.role_lock.within(work).await.transpose()?;
        if swept.is_some_and(|swept| swept.left == 0) {
            self.swept.insert(uid.to_owned(), next.clone());
        }
        Ok(())
    }

    /// Waits until our own cache, by which the loop sweeps, does not know a rule any more.
    async fn until_unseen(&self, name: &str) {
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
        // A finalizer of somebody else's may keep it; then it is no more than a rule of theirs.
        let _ = tokio::time::timeout(UNTIL_SEEN, gone).await;
    }

    /// Tells a rule what has become of it, where that is not what it was told last.
    fn tell_readiness(&self, rule: &RoleRule, status: &RoleRuleStatus) {
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
        let news = Message {
            warning: now.status != "True",
            reason: if now.status == "True" {
                "Ready"
            } else {
                "NotReady"
            },
            note: format!("{}: {}", now.reason, now.message),
        };
        self.tell(rule, news);
    }

    fn tell(&self, rule: &RoleRule, news: Message) {
        self.events
            .publish(&rule.object_ref(&()), &[news], (self.now)());
    }

    fn wrote(&mut self, replaced: &RoleRule, answer: RoleRule) -> RoleRule {
        let version = replaced.resource_version().unwrap_or_default();
        self.own.wrote(&version, answer.clone());
        answer
    }
}

#[cfg(test)]
mod tests;
