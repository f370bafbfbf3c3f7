//! The loop: observe, decide, act. Nothing else happens to the site.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use failover_core::api::{Site, SiteStatus, StepName};
use failover_core::compile::{Compiled, Held, ObjectKey};
use failover_core::transition::{
    Act, Closing, Deadlines, EnrolledNamespace, Look, Observation, Refusal, Whose, closing, decide,
    is_paused, on_the_walk,
};
use failover_core::{NamespaceState, Role};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::Api;
use tokio::time::Instant;

use super::caches::Caches;
use super::compiling;
use super::enforcers;
use super::events::Events;
use super::gate::Gate;
use super::label::{self, NamespaceMeta};
use super::look::{Looker, Moving, Scene};
use super::news::{self, Journal, News};
use super::observe::{Observer, Seen};
use super::policies;
use super::progress::{self, Progress};
use super::setback::{LONGEST_BACKOFF, SHORTEST_BACKOFF, TurnError, backoff};
use super::status;
use super::sweep::Sweeper;
use super::work::{Finished, Next, Work};
use crate::args::SiteArgs;
use crate::metrics::{GuardLabels, Metrics};
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
        let Some(seen) = self.observer.look(now, (self.now)()) else {
            self.work.forget();
            self.metrics.forget_site();
            return Ok(now + self.sweep_every);
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
                let next = self.work.look(look, |look| scene(&seen, &compiled, look));
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

    /// What is to be in force of single objects, and what there is to do for volumes that would close but are used.
    async fn compiled(&mut self, seen: &Seen) -> (Compiled, Option<Closing>) {
        let compiled = self.compiled_with(seen, &BTreeSet::new()).await;
        if compiled.closing.is_empty() {
            return (compiled, None);
        }
        let observation = self.observation(seen, &compiled, &seen.site, &Whose::Nobody);
        match closing(&observation, &compiled.closing) {
            Closing::Unused(unused) => (self.compiled_with(seen, &unused).await, None),
            more => (compiled, Some(more)),
        }
    }

    async fn compiled_with(&mut self, seen: &Seen, unused: &BTreeSet<ObjectKey>) -> Compiled {
        let labels = self.observer.exempt_labels();
        compiling::compiled(&self.client, seen, labels, unused).await
    }

    fn decide(&self, seen: &Seen, compiled: &Compiled) -> Act {
        let mut site = (*seen.site).clone();
        if let Some(status) = &mut site.status {
            progress::take_out(status);
        }
        decide(&self.observation(seen, compiled, &site, &Whose::Site))
    }

    /// What there is to decide on, on this behalf.
    fn observation<'a>(
        &'a self,
        seen: &'a Seen,
        compiled: &'a Compiled,
        site: &'a Site,
        whose: &Whose,
    ) -> Observation<'a> {
        Observation {
            site,
            namespaces: &seen.enrolled,
            objects: &compiled.objects,
            outside: &seen.outside,
            refused: &self.refused,
            enforcers: &seen.live.enforcers,
            facts: seen.facts,
            sweep: self.work.report(&seen.enrolled),
            sweep_failed: self.work.sweep_failed(),
            look: self.work.look_report(whose),
            deadlines: self.deadlines,
            sweep_every: SignedDuration::try_from(self.sweep_every).unwrap_or(SignedDuration::MAX),
            now: seen.at,
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

    fn count_guards(&self, before: Journal<'_>, after: Journal<'_>) {
        for guard in news::guards_that_came_to_hold(before, after) {
            self.metrics
                .guard_refusals
                .get_or_create(&GuardLabels { guard })
                .inc();
        }
    }

    /// Tells the site what is held back.
    async fn tell(&mut self, seen: &Seen, compiled: &Compiled) {
        if is_paused(&seen.site, seen.at) {
            return;
        }
        let news = news::of_held(&self.told_held, &compiled.held);
        self.told_held = compiled.held.iter().cloned().collect();
        let news: Vec<News> = news.into_iter().collect();
        self.events.publish(&seen.site, &news, seen.at).await;
    }

    /// Tells policies what became of them, and moves the walks of those that order a state on as far as the world allows.
    /// Returns what is left to do for them.
    async fn walk_policies(&mut self, seen: &Seen, compiled: &Compiled) -> policies::Decided {
        let names: BTreeSet<String> = seen.policies.iter().map(|p| policies::name_of(p)).collect();
        self.work.keep_looks(|name| names.contains(name));
        let observe = |whose: &Whose| self.observation(seen, compiled, &seen.site, whose);
        let mut decided = policies::decide(&seen.policies, &compiled.policies, observe);
        let writes = std::mem::take(&mut decided.writes);
        for (replaced, answer) in policies::write_all(&self.client, writes).await {
            // There is more to do now, but first of all for the site: the journal says what is to be in force.
            decided.until = Some(seen.at);
            let before = replaced.status.clone().unwrap_or_default();
            let after = answer.status.clone().unwrap_or_default();
            let (before, after) = (Journal::of_policy(&before), Journal::of_policy(&after));
            self.count_guards(before, after);
            let news = news::of_policy(&policies::name_of(&replaced), before, after);
            self.events.publish(&seen.site, &news, seen.at).await;
            self.observer.wrote_policy(&replaced, answer);
        }
        decided
    }

    async fn label(
        &mut self,
        seen: &Seen,
        desired: Vec<EnrolledNamespace>,
    ) -> Result<(), TurnError> {
        let gate = self.gate.clone();
        let _moving = gate.moving().await;
        status::confirm(&self.client, [&*seen.site]).await?;
        let stands = |namespace: &&EnrolledNamespace| {
            let desired = desired.iter().find(|n| n.name == namespace.name);
            desired.is_none_or(|desired| desired.state.objects == namespace.state.objects)
        };
        if !seen.enrolled.iter().all(|namespace| stands(&namespace)) {
            // What is to be in force of single objects is what the journals of policies order.
            status::confirm(&self.client, seen.policies.iter().map(AsRef::as_ref)).await?;
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

    /// What a sweep corrected outside a transition; those have news of their own.
    async fn tell_of_sweep(&mut self, finished: &Finished) {
        let Some(seen) = self.observer.look(Instant::now(), finished.at) else {
            return;
        };
        let status = seen.site.status.as_ref();
        if status.is_some_and(|status| status.transition.is_some()) {
            return;
        }
        let news = news::of_sweep(&finished.swept, finished.first);
        let news: Vec<News> = news.into_iter().collect();
        self.events.publish(&seen.site, &news, finished.at).await;
    }
}

/// What the walk under way is about.
fn scene(seen: &Seen, compiled: &Compiled, look: &Look) -> Scene {
    let status = seen.site.status.as_ref();
    let walk = status.and_then(|status| status.transition.as_ref());
    let to = walk.map_or(seen.site.spec.role, |walk| walk.to);
    let volumes = match (look.at, to) {
        (StepName::Replication, Role::Primary) => policies::promoted(seen, compiled),
        _ => BTreeSet::new(),
    };
    Scene {
        to,
        namespaces: on_the_walk(&seen.site, &seen.enrolled, look.at),
        moving: Moving::Layers(volumes),
        rules: seen.rules.clone(),
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
#[path = "reconcile_tests.rs"]
mod tests;
