//! The loop: observe, decide, act. Nothing else happens to the site.

mod deciding;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use failover_core::NamespaceState;
use failover_core::api::{Site, SiteStatus};
use failover_core::compile::Held;
use failover_core::transition::{Act, Deadlines, EnrolledNamespace, Look, Refusal, is_paused};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::Api;
use tokio::time::Instant;

use crate::args::SiteArgs;
use crate::metrics::Metrics;
use crate::site::caches::Caches;
use crate::site::enforcers;
use crate::site::events::Events;
use crate::site::gate::Gate;
use crate::site::label::{self, NamespaceMeta};
use crate::site::look::Looker;
use crate::site::news::{self, Journal};
use crate::site::observe::{Observer, Seen, Sight};
use crate::site::policies;
use crate::site::progress::{self, Progress};
use crate::site::setback::{LONGEST_BACKOFF, SHORTEST_BACKOFF, TurnError, backoff};
use crate::site::status;
use crate::site::sweep::Sweeper;
use crate::site::work::{Next, Work};
use failover_core::causes::causes;

/// How long to give the watches to show what a conflict was about, should they not do so at once.
const AFTER_CONFLICT: Duration = Duration::from_millis(500);
/// A time to wait for that is past already must not make the loop spin.
const SHORTEST_REST: Duration = Duration::from_millis(50);

/// What a reconciler is made of.
#[derive(Debug)]
pub struct Parts {
    pub caches: Caches,
    pub sweeper: Sweeper,
    pub looker: Looker,
    pub deadlines: Deadlines,
    pub events: Events,
    pub metrics: Metrics,
    pub gate: Gate,
    /// Of the webhook replicas' Leases.
    pub lease_namespace: String,
    /// How long such a Lease may be silent before it is cleared away.
    pub forget_after: Duration,
    pub sweep_every: Duration,
    /// The wall clock, for what is written down. Waiting goes by the monotonic one.
    pub now: fn() -> Timestamp,
}

impl Parts {
    /// `name` is that of the process, for those who read what it says.
    pub fn new(
        client: &Client,
        caches: &Caches,
        metrics: &Metrics,
        gate: Gate,
        name: &str,
        args: &SiteArgs,
    ) -> Self {
        let now = Timestamp::now;
        Self {
            caches: caches.clone(),
            sweeper: Sweeper::new(client.clone(), args.sweep_concurrency),
            looker: Looker::new(client.clone(), args.waits.available_percent, now),
            deadlines: args.waits.deadlines(),
            events: Events::new(client.clone(), name),
            metrics: metrics.clone(),
            gate,
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
    work: Work,
    deadlines: Deadlines,
    events: Events,
    metrics: Metrics,
    gate: Gate,
    /// Of the webhook's replicas.
    leases: Api<Lease>,
    sweep_every: Duration,
    now: fn() -> Timestamp,
    /// Namespaces that refused their roles when those were last written, and why.
    refused: BTreeMap<String, Refusal>,
    /// What has been told to be held back, and still is.
    told_held: BTreeSet<Held>,
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconciler")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

impl Reconciler {
    pub fn new(client: Client, parts: Parts) -> Self {
        let Parts {
            caches,
            sweeper,
            looker,
            deadlines,
            events,
            metrics,
            gate,
            lease_namespace,
            forget_after,
            sweep_every,
            now,
        } = parts;
        Self {
            leases: Api::namespaced(client.clone(), &lease_namespace),
            client,
            observer: Observer::new(caches, forget_after),
            work: Work::new(sweeper, looker, metrics.clone(), now),
            deadlines,
            events,
            metrics,
            gate,
            sweep_every,
            now,
            refused: BTreeMap::new(),
            told_held: BTreeSet::new(),
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
                        "decided on an old version: deciding again"
                    );
                    self.rest(Instant::now() + AFTER_CONFLICT).await;
                }
                Err(error) => {
                    let delay = backoff.next().unwrap_or(LONGEST_BACKOFF);
                    self.metrics.reconcile_errors.inc();
                    tracing::error!(
                        error = causes(&error),
                        "cannot go on for now; trying again in {delay:.1?} at the latest"
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
        let finished = tokio::select! {
            finished = self.work.finish() => finished,
            () = self.observer.changed() => None,
            () = tokio::time::sleep_until(next) => None,
        };
        if let Some(finished) = finished {
            self.tell_of_sweep(&finished).await;
        }
    }

    async fn turn(&mut self) -> Result<Next, TurnError> {
        let now = Instant::now();
        let seen = match self.observer.look(now, (self.now)()) {
            Sight::Seen(seen) => *seen,
            Sight::NoSite => {
                self.work.forget();
                self.metrics.forget_site();
                return Ok(now + self.sweep_every);
            }
            Sight::Unreadable => {
                self.work.stop();
                self.metrics.reconcile_errors.inc();
                return Ok(now + self.sweep_every);
            }
        };
        self.metrics.show(&seen.site);
        let (compiled, closing) = self.compiled(&seen).await;
        match self.decide(&seen, &compiled) {
            Act::WriteStatus(mut status) => {
                if let Some(progress) = self.work.progress() {
                    progress::put(&mut status, progress);
                }
                self.write_status(&seen.site, *status).await?;
                Ok(now)
            }
            Act::Label(desired) => {
                self.work.stop();
                self.label(&seen, desired).await?;
                Ok(now)
            }
            Act::Sweep { step, layers } => {
                self.tell(&seen, &compiled).await;
                self.walk_policies(&seen, &compiled).await;
                let (next, show) = self.work.sweep(&seen, step, layers);
                if show {
                    self.show_progress(&seen.site).await?;
                }
                Ok(earliest(next, seen.live.until))
            }
            Act::Look(look) => {
                self.tell(&seen, &compiled).await;
                self.walk_policies(&seen, &compiled).await;
                let next = self
                    .work
                    .look(look, |look| deciding::scene(&seen, &compiled, look));
                let next = next.unwrap_or(now + self.sweep_every);
                Ok(earliest(next, seen.live.until))
            }
            Act::Wait { until } => {
                enforcers::clear_away(&self.leases, &seen.live.forgotten).await;
                self.tell(&seen, &compiled).await;
                let mut policies = self.walk_policies(&seen, &compiled).await;
                policies.also(closing);
                // What they wait for is looked at where the site has nothing to do.
                let put_off = if let Some(look) = self.work.next_look(policies.looks) {
                    let scene = |look: &Look| policies::scene(&seen, &compiled, look);
                    self.work.look(look, scene)
                } else {
                    self.work.stop();
                    None
                };
                self.release(&seen).await?;
                let until = policies.until.map_or(until, |other| other.min(until));
                let rest = Duration::try_from(until.duration_since(seen.at)).unwrap_or_default();
                let next = earliest(now + rest.min(self.sweep_every), seen.live.until);
                Ok(earliest(next, put_off).max(now + SHORTEST_REST))
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
        self.events
            .publish(&written, &news::of_status(&before, &after), (self.now)())
            .await;
        Ok(())
    }

    async fn label(
        &mut self,
        seen: &Seen,
        desired: Vec<EnrolledNamespace>,
    ) -> Result<(), TurnError> {
        let gate = self.gate.clone();
        let _moving = gate.moving().await;
        status::confirm(&self.client, &seen.site).await?;
        let moves_objects = |desired: &EnrolledNamespace| {
            let mut enrolled = seen.enrolled.iter();
            let namespace = enrolled.find(|n| n.name == desired.name);
            namespace.is_some_and(|n| n.state.objects != desired.state.objects)
        };
        if desired.iter().any(moves_objects) {
            // What is to be in force of single objects is what the journals of policies order.
            let moved = desired.iter().filter(|desired| moves_objects(desired));
            let moved = moved.map(|desired| desired.name.as_str()).collect();
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
    /// afterwards nobody would.
    async fn release(&mut self, seen: &Seen) -> Result<(), TurnError> {
        if is_paused(&seen.site, seen.at) || seen.left_behind.is_empty() {
            return Ok(());
        }
        let leaving: Vec<EnrolledNamespace> =
            seen.left_behind.iter().map(|n| label::leaving(n)).collect();
        let swept = self
            .work
            .sweeper
            .sweep(&leaving, &seen.rules, &Progress::default())
            .await?;
        for blocked in &swept.blocked {
            let object = blocked.object.as_deref().unwrap_or_default();
            tracing::warn!(
                object,
                "leaves enforcement with its record: {}",
                blocked.message
            );
        }
        let left = seen.left_behind.iter().cloned();
        self.write_namespaces(left.map(|namespace| (namespace, NamespaceState::default())))
            .await
    }

    async fn write_namespaces(
        &mut self,
        writes: impl Iterator<Item = (Arc<NamespaceMeta>, NamespaceState)>,
    ) -> Result<(), TurnError> {
        let written = label::write_all(&self.client, writes).await;
        for (replaced, answer) in written.answers {
            self.observer.wrote_namespace(&replaced, answer);
        }
        let at = (self.now)();
        let refusals = written.failed.iter();
        self.refused = refusals.filter_map(|failed| refusal(failed, at)).collect();
        match written.failed.into_iter().next() {
            Some((namespace, source)) => Err(TurnError::Label { namespace, source }),
            None => Ok(()),
        }
    }

    async fn show_progress(&mut self, site: &Site) -> Result<(), TurnError> {
        let mut status = site.status.clone().unwrap_or_default();
        match self.work.progress() {
            Some(progress) if progress::put(&mut status, progress) => {
                self.write_status(site, status).await
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Why a Namespace refuses to be written; nothing where it has only changed meanwhile, or the API server is away.
fn refusal((namespace, error): &(String, kube::Error), at: Timestamp) -> Option<(String, Refusal)> {
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 409 => {
            let why = status.message.clone();
            Some((namespace.clone(), Refusal { why, at }))
        }
        _ => None,
    }
}

fn earliest(next: Instant, other: Option<Instant>) -> Instant {
    other.map_or(next, |other| next.min(other))
}

#[cfg(test)]
mod tests;
