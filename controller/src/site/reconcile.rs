//! The loop: observe, decide, act. Nothing else happens to the site.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use failover_core::api::{Site, SiteStatus};
use failover_core::compile::{Compiled, Held};
use failover_core::namespace::ObjectRoles;
use failover_core::transition::{
    Act, Deadlines, EnrolledNamespace, Look, LookReport, Observation, SweepReport, decide,
    is_paused, on_the_walk,
};
use failover_core::{Layer, NamespaceState};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::Api;
use tokio::time::Instant;

use super::caches::Caches;
use super::compiling::{self, in_force};
use super::enforcers;
use super::events::Events;
use super::gate::Gate;
use super::label::{self, NamespaceMeta};
use super::look::{LookError, Looker, Scene};
use super::looking::Looking;
use super::news::{self, News};
use super::observe::{Observer, Seen};
use super::policies;
use super::progress::{self, Progress};
use super::setback::{LONGEST_BACKOFF, SHORTEST_BACKOFF, TurnError, backoff};
use super::status;
use super::sweep::{SweepError, Sweeper, Swept};
use super::sweeping::{self, Sweeping};
use crate::args::SiteArgs;
use crate::metrics::{GuardLabels, Metrics};
use failover_core::causes::causes;

/// How often a running sweep's progress is written.
const PROGRESS_EVERY: Duration = Duration::from_millis(1500);
/// How long to give the watches to show what a conflict was about, should they not do so at once.
const AFTER_CONFLICT: Duration = Duration::from_millis(500);
/// A time to wait for that is past already must not make the loop spin.
const SHORTEST_REST: Duration = Duration::from_millis(50);

/// When to take the next turn, unless something changes before.
type Next = Instant;

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
    sweeper: Sweeper,
    looker: Looker,
    deadlines: Deadlines,
    events: Events,
    metrics: Metrics,
    gate: Gate,
    /// Of the webhook's replicas.
    leases: Api<Lease>,
    sweep_every: Duration,
    now: fn() -> Timestamp,
    report: Option<SweepReport>,
    /// What was in force of single objects when that sweep began. An operator may have changed it since, by hand.
    swept_objects: BTreeMap<String, ObjectRoles>,
    /// Namespaces that refused their roles when those were last written, and why.
    refused: BTreeMap<String, String>,
    /// What has been told to be held back, and still is.
    told_held: BTreeSet<Held>,
    sweeping: Option<Sweeping>,
    /// What the last look found.
    look_report: Option<LookReport>,
    looking: Option<Looking>,
    /// Runs on from one failed sweep or look to the next, which begins no sooner than `not_before`.
    backoff: backon::ExponentialBackoff,
    not_before: Instant,
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconciler")
            .field("report", &self.report)
            .field("sweeping", &self.sweeping)
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
            sweeper,
            looker,
            deadlines,
            events,
            metrics,
            gate,
            sweep_every,
            now,
            report: None,
            swept_objects: BTreeMap::new(),
            refused: BTreeMap::new(),
            told_held: BTreeSet::new(),
            sweeping: None,
            look_report: None,
            looking: None,
            backoff: backoff(),
            not_before: Instant::now(),
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
        let swept = async {
            match &mut self.sweeping {
                Some(sweeping) => sweeping.finish().await,
                None => std::future::pending().await,
            }
        };
        let looked = async {
            match &mut self.looking {
                Some(looking) => looking.finish().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = swept => self.finish_sweep(result).await,
            result = looked => self.finish_look(result),
            () = self.observer.changed() => {}
            () = tokio::time::sleep_until(next) => {}
        }
    }

    async fn turn(&mut self) -> Result<Next, TurnError> {
        let now = Instant::now();
        let Some(seen) = self.observer.look(now, (self.now)()) else {
            self.stop_work();
            self.metrics.forget_site();
            return Ok(now + self.sweep_every);
        };
        self.metrics.show(&seen.site);
        let compiled =
            compiling::compiled(&self.client, &seen, self.observer.exempt_labels()).await;
        match self.decide(&seen, &compiled) {
            Act::WriteStatus(mut status) => {
                if let Some(sweeping) = &self.sweeping {
                    progress::put(&mut status, sweeping.progress.read());
                }
                self.write_status(&seen.site, *status).await?;
                Ok(now)
            }
            Act::Label(desired) => {
                self.stop_work();
                self.label(&seen, desired).await?;
                Ok(now)
            }
            Act::Sweep { step, layers } => {
                self.looking = None;
                self.tell(&seen, &compiled).await;
                let next = self.sweep(&seen, step, layers).await?;
                Ok(earliest(next, seen.live.until))
            }
            Act::Look(look) => {
                self.sweeping = None;
                self.tell(&seen, &compiled).await;
                Ok(earliest(self.look(&seen, look), seen.live.until))
            }
            Act::Wait { until } => {
                self.stop_work();
                enforcers::clear_away(&self.leases, &seen.live.forgotten).await;
                self.tell(&seen, &compiled).await;
                self.release(&seen).await?;
                let rest = Duration::try_from(until.duration_since(seen.at)).unwrap_or_default();
                let next = earliest(now + rest.min(self.sweep_every), seen.live.until);
                Ok(next.max(now + SHORTEST_REST))
            }
        }
    }

    fn stop_work(&mut self) {
        self.sweeping = None;
        self.looking = None;
    }

    /// The last sweep, where it still says how objects stand.
    fn report(&self, seen: &Seen) -> Option<&SweepReport> {
        self.report
            .as_ref()
            .filter(|_| self.swept_objects == in_force(&seen.enrolled))
    }

    fn decide(&self, seen: &Seen, compiled: &Compiled) -> Act {
        let mut site = (*seen.site).clone();
        if let Some(status) = &mut site.status {
            progress::take_out(status);
        }
        decide(&Observation {
            site: &site,
            namespaces: &seen.enrolled,
            objects: &compiled.objects,
            outside: &seen.outside,
            refused: &self.refused,
            enforcers: &seen.live.enforcers,
            facts: seen.facts,
            sweep: self.report(seen),
            look: self.look_report.as_ref(),
            deadlines: self.deadlines,
            sweep_every: SignedDuration::try_from(self.sweep_every).unwrap_or(SignedDuration::MAX),
            now: seen.at,
        })
    }

    async fn write_status(&mut self, site: &Site, status: SiteStatus) -> Result<(), TurnError> {
        let before = site.status.clone().unwrap_or_default();
        let written = status::write(&self.client, site, status).await?;
        self.observer.wrote_site(site, written.clone());
        self.metrics.show(&written);
        let after = written.status.clone().unwrap_or_default();
        self.metrics.walks.count_ended(&before, &after);
        for guard in news::guards_that_came_to_hold(&before, &after) {
            self.metrics
                .guard_refusals
                .get_or_create(&GuardLabels { guard })
                .inc();
        }
        self.events
            .publish(&written, &news::of_status(&before, &after), (self.now)())
            .await;
        Ok(())
    }

    /// Tells policies what became of them, and the site what is held back.
    async fn tell(&mut self, seen: &Seen, compiled: &Compiled) {
        if is_paused(&seen.site, seen.at) {
            return;
        }
        let step = seen.site.status.as_ref().map(|status| status.step);
        // One of a walk's own layers says nothing of the others.
        let report = self
            .report(seen)
            .filter(|report| Some(report.step) == step && report.layers == Layer::ALL);
        let results = &compiled.policies;
        let written = policies::tell(&self.client, &seen.policies, results, report, seen.at).await;
        for (replaced, answer) in written {
            self.observer.wrote_policy(&replaced, answer);
        }
        let news = news::of_held(&self.told_held, &compiled.held);
        self.told_held = compiled.held.iter().cloned().collect();
        let news: Vec<News> = news.into_iter().collect();
        self.events.publish(&seen.site, &news, seen.at).await;
    }

    async fn label(
        &mut self,
        seen: &Seen,
        desired: Vec<EnrolledNamespace>,
    ) -> Result<(), TurnError> {
        let gate = self.gate.clone();
        let _moving = gate.moving().await;
        status::confirm(&self.client, &seen.site).await?;
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
        self.refused = written.failed.iter().filter_map(refusal).collect();
        match written.failed.into_iter().next() {
            Some((namespace, source)) => Err(TurnError::Label { namespace, source }),
            None => Ok(()),
        }
    }

    /// Starts the sweep that is due, or shows how far the running one has come.
    async fn sweep(
        &mut self,
        seen: &Seen,
        step: i64,
        layers: &'static [Layer],
    ) -> Result<Next, TurnError> {
        let now = Instant::now();
        let Some(sweeping) = self.sweeping.as_mut().filter(|sweeping| {
            sweeping.step == step
                && sweeping.layers == layers
                && sweeping.objects == in_force(&seen.enrolled)
        }) else {
            self.sweeping = None;
            if now < self.not_before {
                return Ok(self.not_before);
            }
            self.sweeping = Some(Sweeping::start(
                &self.sweeper,
                &seen.enrolled,
                &seen.rules,
                step,
                layers,
            ));
            return Ok(now + PROGRESS_EVERY);
        };
        if now < sweeping.shown + PROGRESS_EVERY {
            return Ok(sweeping.shown + PROGRESS_EVERY);
        }
        sweeping.shown = now;
        let mut status = seen.site.status.clone().unwrap_or_default();
        if progress::put(&mut status, sweeping.progress.read()) {
            self.write_status(&seen.site, status).await?;
        }
        Ok(now + PROGRESS_EVERY)
    }

    /// Starts the look that is due, unless it is under way.
    fn look(&mut self, seen: &Seen, look: Look) -> Next {
        let now = Instant::now();
        if self.looking.as_ref().is_none_or(|l| l.look != look) {
            self.looking = None;
            if now < self.not_before {
                return self.not_before;
            }
            let scene = Scene {
                to: seen.site.spec.role,
                namespaces: on_the_walk(&seen.site, &seen.enrolled, look.at),
                rules: seen.rules.clone(),
            };
            self.looking = Some(Looking::start(&self.looker, look, scene));
        }
        now + self.sweep_every
    }

    fn finish_look(&mut self, result: Result<LookReport, LookError>) {
        self.looking = None;
        match result.map_err(TurnError::from) {
            Ok(report) => {
                self.backoff = backoff();
                self.look_report = Some(report);
            }
            Err(error) => {
                let delay = self.backoff.next().unwrap_or(LONGEST_BACKOFF);
                self.not_before = Instant::now() + delay;
                self.metrics.reconcile_errors.inc();
                tracing::error!(
                    error = causes(&error),
                    "cannot go on for now; looking again in {delay:.1?}"
                );
            }
        }
    }

    async fn finish_sweep(&mut self, result: Result<Swept, SweepError>) {
        let Some(sweeping) = self.sweeping.take() else {
            return;
        };
        sweeping::count(
            &self.metrics,
            sweeping.layers,
            result.as_ref(),
            sweeping.took(),
        );
        match result.map_err(TurnError::from) {
            Ok(swept) => {
                self.backoff = backoff();
                self.swept_objects.clone_from(&sweeping.objects);
                self.take_report(sweeping, &swept).await;
            }
            Err(error) => {
                let delay = self.backoff.next().unwrap_or(LONGEST_BACKOFF);
                self.not_before = Instant::now() + delay;
                self.metrics.reconcile_errors.inc();
                tracing::error!(
                    error = causes(&error),
                    "not all objects are swept; sweeping again in {delay:.1?}"
                );
            }
        }
    }

    async fn take_report(&mut self, sweeping: Sweeping, swept: &Swept) {
        let step = sweeping.step;
        let now = (self.now)();
        let first = self
            .report
            .as_ref()
            .is_none_or(|report| report.step != step);
        if first || swept.changed() > 0 || swept.left > 0 {
            tracing::info!(
                step,
                objects = swept.total,
                by_webhook = swept.readmitted,
                by_controller = swept.rewritten,
                left = swept.left,
                milliseconds = u64::try_from(sweeping.took().as_millis()).unwrap_or(u64::MAX),
                "swept"
            );
        }
        for blocked in &swept.blocked {
            tracing::warn!(
                object = blocked.object.as_deref().unwrap_or_default(),
                "does not conform: {}",
                blocked.message
            );
        }
        self.report = Some(sweeping.report(self.report.as_ref(), swept, now));
        let Some(seen) = self.observer.look(Instant::now(), now) else {
            return;
        };
        let in_transition = seen
            .site
            .status
            .as_ref()
            .is_some_and(|status| status.transition.is_some());
        let news: Vec<News> = if in_transition {
            vec![]
        } else {
            news::of_sweep(swept, first).into_iter().collect()
        };
        self.events.publish(&seen.site, &news, now).await;
    }
}

/// Why a Namespace refuses to be written; nothing where it has only changed meanwhile, or the API server is away.
fn refusal((namespace, error): &(String, kube::Error)) -> Option<(String, String)> {
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 409 => {
            Some((namespace.clone(), status.message.clone()))
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
