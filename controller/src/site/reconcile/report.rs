//! What is reported beside the site's own journal: Events, and the journals of FailoverPolicies.

use std::collections::BTreeSet;

use failover_core::object_roles::Compiled;
use failover_core::transition::{CheckOwner, is_paused};
use failover_runtime::kube::retry::{LONGEST_BACKOFF, SHORTEST_BACKOFF};
use kube::Resource as _;
use tokio::time::Instant;

use super::Reconciler;
use crate::events::Message;
use crate::metrics::GuardLabels;
use crate::site::background::Finished;
use crate::site::failover_policies;
use crate::site::journal::messages::{self, Journal};
use crate::site::snapshot::{Observed, Snapshot};

impl Reconciler {
    pub(super) fn count_guards(&self, before: Journal<'_>, after: Journal<'_>) {
        for guard in messages::guards_that_came_to_hold(before, after) {
            self.metrics
                .guard_refusals
                .get_or_create(&GuardLabels { guard })
                .inc();
        }
    }

    /// Tells the site what is held back.
    pub(super) fn tell(&mut self, seen: &Snapshot, compiled: &Compiled) {
        if is_paused(&seen.site, seen.at) {
            return;
        }
        let held = [&compiled.held[..], &compiled.orphaned].concat();
        let news = messages::of_held(&self.told_held, &held);
        self.told_held = held.into_iter().collect();
        let news: Vec<Message> = news.into_iter().collect();
        self.events
            .publish(&seen.site.object_ref(&()), &news, seen.at);
    }

    /// Tells policies what became of them, and moves the transitions of those that order a state on as far as the world allows.
    /// Returns what is left to do for them.
    pub(super) fn advance_policies(
        &mut self,
        seen: &Snapshot,
        compiled: &Compiled,
    ) -> failover_policies::PolicyDecisions {
        let names: BTreeSet<String> = seen
            .policies
            .iter()
            .map(|p| failover_policies::name_of(p))
            .collect();
        self.work.keep_checks(|name| names.contains(name));
        let observation = self.observation(seen, compiled, &CheckOwner::Site);
        let check_of = |owner: &CheckOwner| {
            (
                self.work.check_report(owner),
                self.work.failing_check(owner),
            )
        };
        let results = &compiled.policies;
        let mut decided =
            failover_policies::decide(&seen.policies, results, &observation, check_of);
        let now = Instant::now();
        self.policies_put_off.retain(|_, until| *until > now);
        decided.not_before = self.policies_put_off.values().min().copied();
        let mut writes = std::mem::take(&mut decided.writes);
        writes.retain(|(policy, _)| {
            !self
                .policies_put_off
                .contains_key(&failover_policies::name_of(policy))
        });
        // Those that are being written are decided about again once they have been.
        if !writes.is_empty() && !self.policy_writes.is_busy() {
            self.policy_writes
                .start(failover_policies::write_all(self.client.clone(), writes));
        }
        decided
    }

    /// What came of it. There is more to do then, but first of all for the site: the journal says what is to be in force.
    pub(super) fn wrote_policies(&mut self, written: failover_policies::PolicyWrites) {
        let now = Instant::now();
        let conflicts = written.conflicts.into_iter();
        let failed = written.failed.into_iter();
        self.policies_put_off.extend(
            conflicts
                .map(|name| (name, now + SHORTEST_BACKOFF))
                .chain(failed.map(|name| (name, now + LONGEST_BACKOFF))),
        );
        for (replaced, answer) in written.answers {
            let before = replaced.status.clone().unwrap_or_default();
            let after = answer.status.clone().unwrap_or_default();
            let (before, after) = (Journal::of_policy(&before), Journal::of_policy(&after));
            self.count_guards(before, after);
            let news = messages::of_transition(before, after);
            self.events
                .publish(&replaced.object_ref(&()), &news, (self.now)());
            self.observer.wrote_policy(&replaced, answer);
        }
    }

    /// What a sweep corrected outside a transition; those have news of their own.
    pub(super) fn tell_of_sweep(&mut self, finished: &Finished) {
        let Observed::Snapshot(seen) = self.observer.observe(Instant::now(), finished.at) else {
            return;
        };
        let status = seen.site.status.as_ref();
        if status.is_some_and(|status| status.transition.is_some()) {
            return;
        }
        let news = messages::of_sweep(&finished.swept, finished.first);
        let news: Vec<Message> = news.into_iter().collect();
        self.events
            .publish(&seen.site.object_ref(&()), &news, finished.at);
    }
}
