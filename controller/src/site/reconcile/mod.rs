//! The loop: observe, decide, act. Nothing else changes the site.

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
use crate::site::error::ReconcileError;
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

/// How long to wait after a conflict, unless the watches show the newer version before.
const AFTER_CONFLICT: Duration = Duration::from_millis(500);
/// A deadline that has already passed must not make the loop spin.
const MIN_WAIT: Duration = Duration::from_millis(50);

/// The parts of a reconciler.
#[derive(Debug)]
pub struct Dependencies {
    pub caches: Caches,
    pub sweeper: Sweeper,
    pub checker: Checker,
    pub deadlines: Deadlines,
    pub events: Events,
    pub metrics: Metrics,
    pub role_lock: RoleLock,
    /// The namespace of the webhook replicas' Leases.
    pub lease_namespace: String,
    /// How long such a Lease may go without renewal before it is deleted.
    pub forget_after: Duration,
    pub sweep_every: Duration,
    /// The wall clock, for what is written into objects. Waiting uses the monotonic clock.
    pub now: fn() -> Timestamp,
}

impl Dependencies {
    /// `name` identifies this process in Events.
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

/// Enforces the role of the site. Runs on the leader only; dropping it stops all its work.
pub struct Reconciler {
    client: Client,
    observer: Observer,
    work: Background,
    deadlines: Deadlines,
    events: Events,
    metrics: Metrics,
    role_lock: RoleLock,
    /// The Leases of the webhook replicas.
    leases: Api<Lease>,
    sweep_every: Duration,
    now: fn() -> Timestamp,
    /// Namespaces that refused their roles when those were last written, and why.
    refused: BTreeMap<String, NamespaceRefusal>,
    /// Deferred requests that have been reported and are still deferred.
    reported_deferred: BTreeSet<Deferred>,
    /// Statuses of policies that are being written.
    policy_writes: Slot<failover_policies::PolicyWrites>,
    /// Policies whose status could not be written, and when to try again.
    postponed_policies: BTreeMap<String, Instant>,
    /// Asks the API server whether exemptions have ended and installers are gone.
    asking: Slot<Answered>,
    answers: Answers,
    /// The cleanup of Namespaces that have left.
    releasing: Slot<Result<namespaces::NamespaceWrites, ReconcileError>>,
    release_not_before: Instant,
    release_backoff: backon::ExponentialBackoff,
    /// The deletion of Leases of replicas that are long gone.
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
            reported_deferred: BTreeSet::new(),
            policy_writes: Slot::default(),
            postponed_policies: BTreeMap::new(),
            asking: Slot::default(),
            answers: Answers::default(),
            releasing: Slot::default(),
            release_not_before: Instant::now(),
            release_backoff: backoff(),
            clearing: Slot::default(),
        }
    }

    /// Reconciles until it is dropped. An unavailable API server, a refusal or a conflict leads to another reconcile.
    pub async fn run(mut self) -> Infallible {
        let mut backoff = backoff();
        loop {
            match self.reconcile().await {
                Ok(next) => {
                    backoff = self::backoff();
                    self.wait(next).await;
                }
                Err(error) if error.is_conflict() => {
                    tracing::debug!(
                        error = causes(&error),
                        "decided on a stale version; reconciling again"
                    );
                    self.wait(Instant::now() + AFTER_CONFLICT).await;
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
                    self.wait(latest).await;
                }
            }
        }
    }

    /// Waits for a reason to reconcile again.
    async fn wait(&mut self, next: Next) {
        loop {
            let woken = tokio::select! {
                finished = self.work.finish() => Woken::Background(finished),
                written = self.policy_writes.finish() => Woken::PolicyWrites(written),
                answers = self.asking.finish() => Woken::Answers(answers),
                released = self.releasing.finish() => Woken::Released(released),
                // No reason to reconcile.
                () = self.clearing.finish() => continue,
                () = self.observer.changed() => Woken::Nothing,
                () = tokio::time::sleep_until(next) => Woken::Nothing,
            };
            match woken {
                Woken::Background(Some(finished)) => self.report_sweep(&finished),
                Woken::PolicyWrites(written) => self.wrote_policies(written),
                Woken::Answers(answers) => self.answers.take_in(answers),
                Woken::Released(released) => self.released(released),
                Woken::Background(None) | Woken::Nothing => {}
            }
            return;
        }
    }

    async fn reconcile(&mut self) -> Result<Next, ReconcileError> {
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
                // While roles change, no restore record may be applied.
                self.releasing.stop();
                self.label(&seen, desired).await?;
                Ok(now)
            }
            Act::Sweep { revision, layers } => {
                self.report_deferred(&seen, &compiled);
                self.advance_policies(&seen, &compiled);
                let next = self.work.sweep(&seen, revision, layers);
                Ok(earliest(next, seen.live.until))
            }
            Act::Check(check) => {
                self.report_deferred(&seen, &compiled);
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
                        .start(webhook_replicas::delete_forgotten(leases, forgotten));
                }
                self.report_deferred(&seen, &compiled);
                let mut policies = self.advance_policies(&seen, &compiled);
                policies.also(closing);
                // The checks of policies run while the site has nothing to do.
                let postponed = if let Some(check) = self.work.next_check(policies.checks) {
                    let check_scope =
                        |check: &Check| failover_policies::check_scope(&seen, &compiled, check);
                    self.work.check(check, check_scope)
                } else {
                    self.work.stop();
                    None
                };
                let release = self.release(&seen);
                let until = policies.until.map_or(until, |other| other.min(until));
                let wait = Duration::try_from(until.duration_since(seen.at)).unwrap_or_default();
                let next = earliest(now + wait.min(self.sweep_every), seen.live.until);
                let next = earliest(earliest(next, postponed), release);
                Ok(earliest(next, policies.not_before).max(now + MIN_WAIT))
            }
        }
    }

    async fn write_status(
        &mut self,
        site: &Site,
        status: SiteStatus,
    ) -> Result<(), ReconcileError> {
        let before = site.status.clone().unwrap_or_default();
        let written = status::write(&self.client, site, status).await?;
        self.observer.wrote_site(site, written.clone());
        self.metrics.show(&written);
        let after = written.status.clone().unwrap_or_default();
        self.metrics.transitions.count_ended(&before, &after);
        self.count_guards(Journal::of_site(&before), Journal::of_site(&after));
        let messages = messages::of_status(&before, &after);
        self.events
            .publish(&written.object_ref(&()), &messages, (self.now)());
        Ok(())
    }

    async fn label(
        &mut self,
        seen: &Snapshot,
        desired: Vec<EnrolledNamespace>,
    ) -> Result<(), ReconcileError> {
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
            // The object roles follow from the journals of policies.
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

    /// Removes our state from Namespaces that have left. On a primary, restore records are applied first: nothing would
    /// do so afterwards. Returns when to retry a failed attempt.
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

    fn released(&mut self, released: Result<namespaces::NamespaceWrites, ReconcileError>) {
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
    ) -> Result<(), ReconcileError> {
        let written = namespaces::write_all(&self.client, writes).await;
        let at = (self.now)();
        let refusals = written.failed.iter();
        self.refused = refusals.filter_map(|failed| refusal(failed, at)).collect();
        self.take_in(written)
    }

    fn take_in(&mut self, written: namespaces::NamespaceWrites) -> Result<(), ReconcileError> {
        for (replaced, answer) in written.answers {
            self.observer.wrote_namespace(&replaced, answer);
        }
        match written.failed.into_iter().next() {
            Some((namespace, source)) => Err(ReconcileError::Label { namespace, source }),
            None => Ok(()),
        }
    }
}

/// What ended a wait.
enum Woken {
    Background(Option<Finished>),
    PolicyWrites(failover_policies::PolicyWrites),
    Answers(Answered),
    Released(Result<namespaces::NamespaceWrites, ReconcileError>),
    Nothing,
}

/// Why the write to a Namespace was refused; `None` for a conflict or an unavailable API server.
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
mod tests;
