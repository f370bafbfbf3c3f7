//! The loop: observe, decide, act. Nothing else happens to the site.

mod inputs;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use failover_core::NamespaceState;
use failover_core::api::{Site, SiteStatus};
use failover_core::object_roles::Deferred;
use failover_core::transition::{
    Act, Check, Deadlines, EnrolledNamespace, NamespaceRefusal, is_paused,
};
use failover_runtime::error_chain::causes;
use failover_runtime::kube::retry::{LONGEST_BACKOFF, SHORTEST_BACKOFF, backoff};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use kube::{Client, Resource as _};
use tokio::time::Instant;

use crate::args::SiteArgs;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::role_lock::RoleLock;
use crate::site::background::{Background, Finished, Next};
use crate::site::checks::Checker;
use crate::site::error::TurnError;
use crate::site::failover_policies;
use crate::site::informers::Caches;
use crate::site::journal::messages::{self, Journal};
use crate::site::journal::status;
use crate::site::namespaces::{self, NamespaceMeta};
use crate::site::object_roles::{Answered, Answers};
use crate::site::release;
use crate::site::slot::Slot;
use crate::site::snapshot::{Observed, Observer, Snapshot};
use crate::site::webhook_replicas;
use crate::sweep::Sweeper;

/// How long to give the watches to show what a conflict was about, should they not do so at once.
const AFTER_CONFLICT: Duration = Duration::from_millis(500);
/// A time to wait for that is past already must not make the loop spin.
const SHORTEST_REST: Duration = Duration::from_millis(50);

/// What a reconciler is made of.
#[derive(Debug)]
pub struct Dependencies {
    pub caches: Caches,
    pub sweeper: Sweeper,
    pub checker: Checker,
    pub deadlines: Deadlines,
    pub events: Events,
    pub metrics: Metrics,
    pub role_lock: RoleLock,
    /// Of the webhook replicas' Leases.
    pub lease_namespace: String,
    /// How long such a Lease may be silent before it is cleared away.
    pub forget_after: Duration,
    pub sweep_every: Duration,
    /// The wall clock, for what is written down. Waiting goes by the monotonic one.
    pub now: fn() -> Timestamp,
}

impl Dependencies {
    /// `name` is that of the process, for those who read what it says.
    pub fn new(
        client: &Client,
        caches: &Caches,
        metrics: &Metrics,
        role_lock: RoleLock,
        name: &str,
        args: &SiteArgs,
    ) -> Self {
        let now = Timestamp::now;
        Self {
            caches: caches.clone(),
            sweeper: Sweeper::new(client.clone(), args.sweep_concurrency),
            checker: Checker::new(client.clone(), args.waits.available_percent, now),
            deadlines: args.waits.deadlines(),
            events: Events::new(client.clone(), name),
            metrics: metrics.clone(),
            role_lock,
            lease_namespace: args.lease_namespace.clone(),
            forget_after: args.forget_after,
            sweep_every: args.sweep_every,
            now,
        }
    }
}

/// Carries out the role of the site. Runs on the leader only; dropping it stops all its work.
pub struct Reconciler {
    client: Client,
    observer: Observer,
    work: Background,
    deadlines: Deadlines,
    events: Events,
    metrics: Metrics,
    role_lock: RoleLock,
    /// Of the webhook's replicas.
    leases: Api<Lease>,
    sweep_every: Duration,
    now: fn() -> Timestamp,
    /// Namespaces that refused their roles when those were last written, and why.
    refused: BTreeMap<String, NamespaceRefusal>,
    /// What has been told to be held back, and still is.
    told_held: BTreeSet<Deferred>,
    /// Statuses of policies that are being written.
    policy_writes: Slot<failover_policies::PolicyWrites>,
    /// Policies whose status could not be written, and when to try again.
    policies_put_off: BTreeMap<String, Instant>,
    /// Whether exemptions that seem to have ended have, and what installed an object is gone; and what was answered last.
    asking: Slot<Answered>,
    answers: Answers,
    /// Namespaces that have left, on the way out.
    releasing: Slot<Result<namespaces::NamespaceWrites, TurnError>>,
    release_not_before: Instant,
    release_backoff: backon::ExponentialBackoff,
    /// Leases of replicas that are long gone.
    clearing: Slot<()>,
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconciler")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

impl Reconciler {
    pub fn new(client: Client, parts: Dependencies) -> Self {
        let Dependencies {
            caches,
            sweeper,
            checker,
            deadlines,
            events,
            metrics,
            role_lock,
            lease_namespace,
            forget_after,
            sweep_every,
            now,
        } = parts;
        Self {
            leases: Api::namespaced(client.clone(), &lease_namespace),
            client,
            observer: Observer::new(caches, forget_after),
            work: Background::new(sweeper, checker, metrics.clone(), now),
            deadlines,
            events,
            metrics,
            role_lock,
            sweep_every,
            now,
            refused: BTreeMap::new(),
            told_held: BTreeSet::new(),
            policy_writes: Slot::default(),
            policies_put_off: BTreeMap::new(),
            asking: Slot::default(),
            answers: Answers::default(),
            releasing: Slot::default(),
            release_not_before: Instant::now(),
            release_backoff: backoff(),
            clearing: Slot::default(),
        }
    }

    /// Turns until it is dropped. The API server being away, refusals and conflicts all end in another turn.
    pub async fn run(mut self) -> Infallible {
        let mut backoff = backoff();
        loop {
            match self.turn().await {
                Ok(next) => {
                    backoff = self::backoff();
                    self.rest(next).await;
                }
                Err(error) if error.is_conflict() => {
                    tracing::debug!(
                        error = causes(&error),
                        "decided on a stale version; reconciling again"
                    );
                    self.rest(Instant::now() + AFTER_CONFLICT).await;
                }
                Err(error) => {
                    let delay = backoff.next().unwrap_or(LONGEST_BACKOFF);
                    self.metrics.reconcile_errors.inc();
                    tracing::error!(
                        error = causes(&error),
                        "reconcile failed; trying again in {delay:.1?} at the latest"
                    );
                    let latest = Instant::now() + delay;
                    tokio::time::sleep(delay.min(SHORTEST_BACKOFF)).await;
                    self.rest(latest).await;
                }
            }
        }
    }

    /// Waits for a reason to take another turn.
    async fn rest(&mut self, next: Next) {
        loop {
            let rested = tokio::select! {
                finished = self.work.finish() => Woken::Background(finished),
                written = self.policy_writes.finish() => Woken::PolicyWrites(written),
                answers = self.asking.finish() => Woken::Answers(answers),
                released = self.releasing.finish() => Woken::Released(released),
                // Nothing follows from that.
                () = self.clearing.finish() => continue,
                () = self.observer.changed() => Woken::Nothing,
                () = tokio::time::sleep_until(next) => Woken::Nothing,
            };
            match rested {
                Woken::Background(Some(finished)) => self.tell_of_sweep(&finished),
                Woken::PolicyWrites(written) => self.wrote_policies(written),
                Woken::Answers(answers) => self.answers.take_in(answers),
                Woken::Released(released) => self.released(released),
                Woken::Background(None) | Woken::Nothing => {}
            }
            return;
        }
    }

    async fn turn(&mut self) -> Result<Next, TurnError> {
        let now = Instant::now();
        let seen = match self.observer.observe(now, (self.now)()) {
            Observed::Snapshot(seen) => *seen,
            Observed::NoSite => {
                self.work.forget();
                self.releasing.stop();
                self.metrics.forget_site();
                return Ok(now + self.sweep_every);
            }
            Observed::Unreadable => {
                self.work.stop();
                self.releasing.stop();
                self.metrics.reconcile_errors.inc();
                return Ok(now + self.sweep_every);
            }
        };
        self.metrics.show(&seen.site);
        let (compiled, closing) = self.compiled(&seen);
        match self.decide(&seen, &compiled) {
            Act::WriteStatus(status) => {
                self.write_status(&seen.site, *status).await?;
                Ok(now)
            }
            Act::Label(desired) => {
                self.work.stop();
                // While roles change, a restore record must not be spent.
                self.releasing.stop();
                self.label(&seen, desired).await?;
                Ok(now)
            }
            Act::Sweep { revision, layers } => {
                self.tell(&seen, &compiled);
                self.advance_policies(&seen, &compiled);
                let next = self.work.sweep(&seen, revision, layers);
                Ok(earliest(next, seen.live.until))
            }
            Act::Check(check) => {
                self.tell(&seen, &compiled);
                self.advance_policies(&seen, &compiled);
                let next = self
                    .work
                    .check(check, |check| inputs::check_scope(&seen, &compiled, check));
                let next = next.unwrap_or(now + self.sweep_every);
                Ok(earliest(next, seen.live.until))
            }
            Act::Wait { until } => {
                if !seen.live.forgotten.is_empty() && !self.clearing.is_busy() {
                    let (leases, forgotten) = (self.leases.clone(), seen.live.forgotten.clone());
                    self.clearing
                        .start(webhook_replicas::clear_away(leases, forgotten));
                }
                self.tell(&seen, &compiled);
                let mut policies = self.advance_policies(&seen, &compiled);
                policies.also(closing);
                // What they wait for is checked where the site has nothing to do.
                let put_off = if let Some(check) = self.work.next_check(policies.checks) {
                    let check_scope =
                        |check: &Check| failover_policies::check_scope(&seen, &compiled, check);
                    self.work.check(check, check_scope)
                } else {
                    self.work.stop();
                    None
                };
                let release = self.release(&seen);
                let until = policies.until.map_or(until, |other| other.min(until));
                let rest = Duration::try_from(until.duration_since(seen.at)).unwrap_or_default();
                let next = earliest(now + rest.min(self.sweep_every), seen.live.until);
                let next = earliest(earliest(next, put_off), release);
                Ok(earliest(next, policies.not_before).max(now + SHORTEST_REST))
            }
        }
    }

    async fn write_status(&mut self, site: &Site, status: SiteStatus) -> Result<(), TurnError> {
        let before = site.status.clone().unwrap_or_default();
        let written = status::write(&self.client, site, status).await?;
        self.observer.wrote_site(site, written.clone());
        self.metrics.show(&written);
        let after = written.status.clone().unwrap_or_default();
        self.metrics.walks.count_ended(&before, &after);
        self.count_guards(Journal::of_site(&before), Journal::of_site(&after));
        let news = messages::of_status(&before, &after);
        self.events
            .publish(&written.object_ref(&()), &news, (self.now)());
        Ok(())
    }

    async fn label(
        &mut self,
        seen: &Snapshot,
        desired: Vec<EnrolledNamespace>,
    ) -> Result<(), TurnError> {
        let role_lock = self.role_lock.clone();
        let _moving = role_lock.moving().await;
        status::confirm(&self.client, &seen.site).await?;
        let enrolled = seen.enrolled.iter().map(|n| (n.name.as_str(), n));
        let enrolled: BTreeMap<&str, &EnrolledNamespace> = enrolled.collect();
        let moves_objects = |desired: &&EnrolledNamespace| {
            let namespace = enrolled.get(desired.name.as_str());
            namespace.is_some_and(|n| n.state.objects != desired.state.objects)
        };
        let moved = desired.iter().filter(moves_objects);
        let moved: BTreeSet<&str> = moved.map(|desired| desired.name.as_str()).collect();
        if !moved.is_empty() {
            // What is to be in force of single objects is what the journals of policies order.
            status::confirm_policies(&self.client, &seen.policies, &moved).await?;
        }
        let writes = desired.into_iter().filter_map(|desired| {
            Some((
                Arc::clone(seen.namespaces.get(&desired.name)?),
                desired.state,
            ))
        });
        self.write_namespaces(writes).await
    }

    /// Takes our state off Namespaces that have left. On a primary what is recorded on their objects is given back first:
    /// afterwards nobody would. Returns when to try again what has failed.
    fn release(&mut self, seen: &Snapshot) -> Option<Instant> {
        let released = seen.released();
        if is_paused(&seen.site, seen.at) {
            self.releasing.stop();
            return None;
        }
        if released.is_empty() || self.releasing.is_busy() {
            return None;
        }
        if self.release_not_before > Instant::now() {
            return Some(self.release_not_before);
        }
        let work = release::release(
            self.client.clone(),
            self.work.sweeper.clone(),
            seen.rules.clone(),
            released,
        );
        self.releasing.start(work);
        None
    }

    fn released(&mut self, released: Result<namespaces::NamespaceWrites, TurnError>) {
        let failed = released.and_then(|written| self.take_in(written));
        match failed {
            Ok(()) => self.release_backoff = backoff(),
            Err(error) => {
                let delay = self.release_backoff.next().unwrap_or(LONGEST_BACKOFF);
                self.release_not_before = Instant::now() + delay;
                if !error.is_conflict() {
                    self.metrics.reconcile_errors.inc();
                    tracing::error!(
                        error = causes(&error),
                        "cannot clean up namespaces that left enforcement; trying again in {delay:.1?}"
                    );
                }
            }
        }
    }

    async fn write_namespaces(
        &mut self,
        writes: impl Iterator<Item = (Arc<NamespaceMeta>, NamespaceState)>,
    ) -> Result<(), TurnError> {
        let written = namespaces::write_all(&self.client, writes).await;
        let at = (self.now)();
        let refusals = written.failed.iter();
        self.refused = refusals.filter_map(|failed| refusal(failed, at)).collect();
        self.take_in(written)
    }

    fn take_in(&mut self, written: namespaces::NamespaceWrites) -> Result<(), TurnError> {
        for (replaced, answer) in written.answers {
            self.observer.wrote_namespace(&replaced, answer);
        }
        match written.failed.into_iter().next() {
            Some((namespace, source)) => Err(TurnError::Label { namespace, source }),
            None => Ok(()),
        }
    }
}

/// What a rest has come to.
enum Woken {
    Background(Option<Finished>),
    PolicyWrites(failover_policies::PolicyWrites),
    Answers(Answered),
    Released(Result<namespaces::NamespaceWrites, TurnError>),
    Nothing,
}

/// Why a Namespace refuses to be written; nothing where it has only changed meanwhile, or the API server is away.
fn refusal(
    (namespace, error): &(String, kube::Error),
    at: Timestamp,
) -> Option<(String, NamespaceRefusal)> {
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 409 => {
            let why = status.message.clone();
            Some((namespace.clone(), NamespaceRefusal { why, at }))
        }
        _ => None,
    }
}

fn earliest(next: Instant, other: Option<Instant>) -> Instant {
    other.map_or(next, |other| next.min(other))
}

#[cfg(test)]
mod hanging_tests;
#[cfg(test)]
mod tests;
