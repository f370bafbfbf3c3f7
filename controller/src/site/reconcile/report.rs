//! Reports beside the site's own journal: Events, and the journals of FailoverPolicies.

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
        for guard in messages::newly_blocking_guards(before, after) {
            self.metrics
                .guard_refusals
                .get_or_create(&GuardLabels { guard })
                .inc();
        }
    }

    /// Reports newly deferred requests on the Site.
    pub(super) fn report_deferred(&mut self, seen: &Snapshot, compiled: &Compiled) {
        if is_paused(&seen.site, seen.at) {
            return;
        }
        let deferred = [&compiled.held[..], &compiled.orphaned].concat();
        let messages = messages::of_deferred(&self.reported_deferred, &deferred);
        self.reported_deferred = deferred.into_iter().collect();
        let messages: Vec<Message> = messages.into_iter().collect();
        self.events
            .publish(&seen.site.object_ref(&()), &messages, seen.at);
    }

    /// Reports the results of policies, and advances the transitions of those with a desired state as far as possible.
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
        self.postponed_policies.retain(|_, until| *until > now);
        decided.not_before = self.postponed_policies.values().min().copied();
        let mut writes = std::mem::take(&mut decided.writes);
        writes.retain(|(policy, _)| {
            !self
                .postponed_policies
                .contains_key(&failover_policies::name_of(policy))
        });
        // Policies that are being written are decided again afterwards.
        if !writes.is_empty() && !self.policy_writes.is_busy() {
            self.policy_writes
                .start(failover_policies::write_all(self.client.clone(), writes));
        }
        decided
    }

    /// Takes in the results. More may follow, but the site is decided first: the journals define the object roles.
    pub(super) fn wrote_policies(&mut self, written: failover_policies::PolicyWrites) {
        let now = Instant::now();
        let conflicts = written.conflicts.into_iter();
        let failed = written.failed.into_iter();
        self.postponed_policies.extend(
            conflicts
                .map(|name| (name, now + SHORTEST_BACKOFF))
                .chain(failed.map(|name| (name, now + LONGEST_BACKOFF))),
        );
        for (replaced, answer) in written.answers {
            let before = replaced.status.clone().unwrap_or_default();
            let after = answer.status.clone().unwrap_or_default();
            let (before, after) = (Journal::of_policy(&before), Journal::of_policy(&after));
            self.count_guards(before, after);
            let messages = messages::of_transition(before, after);
            self.events
                .publish(&replaced.object_ref(&()), &messages, (self.now)());
            self.observer.wrote_policy(&replaced, answer);
        }
    }

    /// Reports what a sweep corrected outside a transition; a transition has its own messages.
    pub(super) fn report_sweep(&mut self, finished: &Finished) {
        let Observed::Snapshot(seen) = self.observer.observe(Instant::now(), finished.at) else {
            return;
        };
        let status = seen.site.status.as_ref();
        if status.is_some_and(|status| status.transition.is_some()) {
            return;
        }
        let messages = messages::of_sweep(&finished.swept, finished.first);
        let messages: Vec<Message> = messages.into_iter().collect();
        self.events
            .publish(&seen.site.object_ref(&()), &messages, finished.at);
    }
}
