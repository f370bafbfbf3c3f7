//! The running sweep or check, at most one at a time, and what the last ones found.
//!
//! The loop polls it while it waits, and drops it when it decides otherwise.

use std::collections::BTreeMap;

use failover_core::Layer;
use failover_core::api::SiteStatus;
use failover_core::namespace::ObjectRoles;
use failover_core::transition::{
    Check, CheckOwner, CheckReport, EnrolledNamespace, Failing, SweepProgress, SweepReport,
};
use failover_runtime::error_chain::causes;
use failover_runtime::kube::retry::{LONGEST_BACKOFF, backoff};
use jiff::Timestamp;
use tokio::time::Instant;

use super::checks::running::RunningCheck;
use super::checks::{CheckError, CheckScope, Checker};
use super::object_roles::in_force;
use super::running_sweep::{self, PROGRESS_EVERY, Sweeping};
use super::snapshot::Snapshot;
use crate::metrics::Metrics;
use crate::sweep::{SweepError, Sweeper, Swept};

/// When to reconcile next, unless something changes before.
pub type Next = Instant;

pub struct Background {
    pub sweeper: Sweeper,
    checker: Checker,
    metrics: Metrics,
    /// The wall clock, for what is written into objects.
    now: fn() -> Timestamp,
    report: Option<SweepReport>,
    /// The object roles in force when that sweep began. An operator may have changed them by hand since.
    swept_objects: BTreeMap<String, ObjectRoles>,
    /// The last check of each owner.
    checks: BTreeMap<CheckOwner, CheckReport>,
    sweeping: Option<Sweeping>,
    running_check: Option<RunningCheck>,
    /// Set while sweeps fail.
    failing_sweep: Option<Failing<i64>>,
    /// Set while checks fail.
    failing_checks: BTreeMap<CheckOwner, Failing<Check>>,
    /// When checks that failed were last tried.
    failed_checks: BTreeMap<CheckOwner, Timestamp>,
    /// Shared by sweeps and checks: after a failure, the next one begins no sooner than `not_before`.
    backoff: backon::ExponentialBackoff,
    not_before: Instant,
}

impl std::fmt::Debug for Background {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Background")
            .field("report", &self.report)
            .field("sweeping", &self.sweeping)
            .field("checks", &self.checks)
            .field("running_check", &self.running_check)
            .finish_non_exhaustive()
    }
}

/// A finished sweep.
#[derive(Debug)]
pub struct Finished {
    pub swept: Swept,
    /// Whether it is the first since the roles changed or a controller took over.
    pub first: bool,
    pub at: Timestamp,
}

impl Background {
    pub fn new(
        sweeper: Sweeper,
        checker: Checker,
        metrics: Metrics,
        now: fn() -> Timestamp,
    ) -> Self {
        Self {
            sweeper,
            checker,
            metrics,
            now,
            report: None,
            swept_objects: BTreeMap::new(),
            checks: BTreeMap::new(),
            sweeping: None,
            running_check: None,
            failing_sweep: None,
            failing_checks: BTreeMap::new(),
            failed_checks: BTreeMap::new(),
            backoff: backoff(),
            not_before: Instant::now(),
        }
    }

    pub fn stop(&mut self) {
        self.sweeping = None;
        self.running_check = None;
    }

    /// The Site is gone: what was found under it says nothing about the next one.
    pub fn forget(&mut self) {
        self.stop();
        self.report = None;
        self.checks.clear();
        self.failing_sweep = None;
        self.failing_checks.clear();
    }

    /// The last sweep, if it still applies to the objects of these namespaces.
    pub fn report(&self, enrolled: &[EnrolledNamespace]) -> Option<&SweepReport> {
        self.report
            .as_ref()
            .filter(|_| self.swept_objects == in_force(enrolled))
    }

    /// The failing sweep, if sweeps fail.
    pub fn failing_sweep(&self) -> Option<&Failing<i64>> {
        self.failing_sweep.as_ref()
    }

    /// The failing check of this owner, if its checks fail.
    pub fn failing_check(&self, owner: &CheckOwner) -> Option<&Failing<Check>> {
        self.failing_checks.get(owner)
    }

    /// The report of this owner's last check.
    pub fn check_report(&self, owner: &CheckOwner) -> Option<&CheckReport> {
        self.checks.get(owner)
    }

    /// Forgets the checks of policies that no longer exist.
    pub fn keep_checks(&mut self, is_there: impl Fn(&str) -> bool) {
        let keep = |owner: &CheckOwner| match owner {
            CheckOwner::Policy(name) => is_there(name),
            CheckOwner::Site | CheckOwner::Nobody => true,
        };
        self.checks.retain(|owner, _| keep(owner));
        self.failed_checks.retain(|owner, _| keep(owner));
        self.failing_checks.retain(|owner, _| keep(owner));
    }

    /// The wanted check to run: the running one, or the one that was tried longest ago.
    pub fn next_check(&self, mut wanted: Vec<Check>) -> Option<Check> {
        let under_way = self
            .running_check
            .as_ref()
            .map(|running_check| &running_check.check);
        wanted.sort_by_key(|check| {
            let seen = self
                .checks
                .get(&check.owner)
                .map(|report| report.finished_at);
            let last = seen.max(self.failed_checks.get(&check.owner).copied());
            (under_way != Some(check), last)
        });
        wanted.into_iter().next()
    }

    /// The progress of the running sweep, as the status shows it.
    pub fn sweep_progress(&self) -> Option<SweepProgress> {
        self.sweeping.as_ref().map(Sweeping::shown)
    }

    /// Starts the sweep that is due, or continues it.
    pub fn sweep(&mut self, seen: &Snapshot, revision: i64, layers: &'static [Layer]) -> Next {
        let now = Instant::now();
        let in_transition = |status: &SiteStatus| status.transition.is_some();
        let running_check = self.running_check.as_ref();
        if running_check.is_some_and(|running_check| running_check.check.owner != CheckOwner::Site)
            && !seen.site.status.as_ref().is_some_and(in_transition)
        {
            // Sweeps of a settled site recur. If one takes longer than the interval, it must not starve the checks.
            return now + PROGRESS_EVERY;
        }
        self.running_check = None;
        let under_way = self.sweeping.as_mut().filter(|sweeping| {
            sweeping.revision == revision
                && sweeping.layers == layers
                && sweeping.objects == in_force(&seen.enrolled)
        });
        let Some(sweeping) = under_way else {
            self.sweeping = None;
            if now < self.not_before {
                return self.not_before;
            }
            let (sweeper, rules) = (&self.sweeper, &seen.rules);
            let sweeping = Sweeping::start(sweeper, &seen.enrolled, rules, revision, layers);
            self.sweeping = Some(sweeping);
            return now + PROGRESS_EVERY;
        };
        sweeping.show(now)
    }

    /// Starts the check that is due, or continues it. `None`: wait until it is finished.
    pub fn check(
        &mut self,
        check: Check,
        check_scope: impl FnOnce(&Check) -> CheckScope,
    ) -> Option<Next> {
        self.sweeping = None;
        if self
            .running_check
            .as_ref()
            .is_some_and(|running| running.check == check)
        {
            return None;
        }
        self.running_check = None;
        if Instant::now() < self.not_before {
            return Some(self.not_before);
        }
        let check_scope = check_scope(&check);
        self.running_check = Some(RunningCheck::start(&self.checker, check, check_scope));
        None
    }

    /// Waits for the running sweep or check and stores its result; waits for ever if nothing runs.
    pub async fn finish(&mut self) -> Option<Finished> {
        if let Some(sweeping) = &mut self.sweeping {
            let result = sweeping.finish().await;
            self.finish_sweep(result)
        } else if let Some(running_check) = &mut self.running_check {
            let result = running_check.finish().await;
            self.finish_check(result);
            None
        } else {
            std::future::pending().await
        }
    }

    fn finish_check(&mut self, result: Result<CheckReport, CheckError>) {
        let running_check = self.running_check.take();
        match result {
            Ok(report) => {
                self.backoff = backoff();
                self.failing_checks.remove(&report.check.owner);
                self.checks.insert(report.check.owner.clone(), report);
            }
            Err(error) => {
                let now = (self.now)();
                if let Some(RunningCheck { check, .. }) = running_check {
                    self.failed_checks.insert(check.owner.clone(), now);
                    let before = self.failing_checks.remove(&check.owner);
                    let owner = check.owner.clone();
                    let failing = still_failing(before, check, now, &error);
                    self.failing_checks.insert(owner, failing);
                }
                self.back_off("cannot check what the step waits for", &error);
            }
        }
    }

    fn finish_sweep(&mut self, result: Result<Swept, SweepError>) -> Option<Finished> {
        let sweeping = self.sweeping.take()?;
        let (layers, took) = (sweeping.layers, sweeping.took());
        running_sweep::count(&self.metrics, layers, result.as_ref(), took);
        match result {
            Ok(swept) => {
                self.backoff = backoff();
                self.failing_sweep = None;
                self.swept_objects.clone_from(&sweeping.objects);
                Some(self.take_report(&sweeping, swept))
            }
            Err(error) => {
                let before = self.failing_sweep.take();
                let failing = still_failing(before, sweeping.revision, (self.now)(), &error);
                self.failing_sweep = Some(failing);
                self.back_off("cannot sweep all objects", &error);
                None
            }
        }
    }

    fn back_off(&mut self, what: &str, error: &(dyn std::error::Error + 'static)) {
        let delay = self.backoff.next().unwrap_or(LONGEST_BACKOFF);
        self.not_before = Instant::now() + delay;
        self.metrics.reconcile_errors.inc();
        tracing::error!(error = causes(error), "{what}; trying again in {delay:.1?}");
    }

    fn take_report(&mut self, sweeping: &Sweeping, swept: Swept) -> Finished {
        let (revision, at) = (sweeping.revision, (self.now)());
        let first = self
            .report
            .as_ref()
            .is_none_or(|report| report.revision != revision);
        if first || swept.changed() > 0 || swept.left > 0 {
            tracing::info!(
                revision,
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
        self.report = Some(sweeping.report(self.report.as_ref(), &swept, at));
        Finished { swept, first, at }
    }
}

/// Keeps the start time if the same thing still fails.
fn still_failing<T: PartialEq>(
    before: Option<Failing<T>>,
    of: T,
    now: Timestamp,
    error: &(dyn std::error::Error + 'static),
) -> Failing<T> {
    let before = before.filter(|before| before.of == of);
    Failing {
        since: before.map_or(now, |before| before.since),
        of,
        why: causes(error),
    }
}
