//! The inputs of the loop's decisions.

use std::collections::BTreeSet;

use failover_core::Role;
use failover_core::api::{StepName, Transition};
use failover_core::object::ObjectKey;
use failover_core::object_roles::Compiled;
use failover_core::transition::{
    Act, Check, CheckOwner, Closing, Observation, closing, decide, in_transition,
};
use jiff::SignedDuration;

use super::Reconciler;
use crate::site::checks::{CheckScope, Moving};
use crate::site::snapshot::Snapshot;
use crate::site::{failover_policies, object_roles};

impl Reconciler {
    /// The desired object roles, and what to do for volumes that would close but are in use.
    pub(super) fn compiled(&mut self, seen: &Snapshot) -> (Compiled, Option<Closing>) {
        let compiled = self.compiled_with(seen, &BTreeSet::new());
        if compiled.closing.is_empty() {
            return (compiled, None);
        }
        let observation = self.observation(seen, &compiled, &CheckOwner::Nobody);
        match closing(&observation, &compiled.closing) {
            Closing::Unused(unused) => (self.compiled_with(seen, &unused), None),
            more => (compiled, Some(more)),
        }
    }

    fn compiled_with(&mut self, seen: &Snapshot, unused: &BTreeSet<ObjectKey>) -> Compiled {
        let labels = self.observer.exempt_labels();
        let origins = self.observer.origins();
        let compiled = object_roles::compiled(seen, labels, origins, &self.answers, unused);
        let open_questions = self.answers.open_questions(seen, &compiled);
        if !open_questions.is_empty() && !self.asking.is_busy() {
            let (labels, origins) = (labels.clone(), origins.clone());
            self.asking.start(object_roles::ask(
                self.client.clone(),
                labels,
                origins,
                open_questions,
            ));
        }
        compiled
    }

    pub(super) fn decide(&self, seen: &Snapshot, compiled: &Compiled) -> Act {
        decide(&self.observation(seen, compiled, &CheckOwner::Site))
    }

    /// The inputs of a decision on behalf of this owner.
    pub(super) fn observation<'a>(
        &'a self,
        seen: &'a Snapshot,
        compiled: &'a Compiled,
        owner: &CheckOwner,
    ) -> Observation<'a> {
        Observation {
            site: &seen.site,
            namespaces: &seen.enrolled,
            objects: &compiled.objects,
            outside: &seen.outside,
            unenrolled: &seen.unenrolled,
            terminating: &seen.terminating,
            refused: &self.refused,
            unreadable: &seen.unreadable,
            enforcers: &seen.live.enforcers,
            facts: seen.facts,
            sweep: self.work.report(&seen.enrolled),
            sweep_progress: self.work.sweep_progress(),
            failing_sweep: self.work.failing_sweep(),
            check: self.work.check_report(owner),
            failing_check: self.work.failing_check(owner),
            deadlines: self.deadlines,
            sweep_every: SignedDuration::try_from(self.sweep_every).unwrap_or(SignedDuration::MAX),
            now: seen.at,
        }
    }
}

/// The scope of the site's running transition.
pub(super) fn check_scope(seen: &Snapshot, compiled: &Compiled, check: &Check) -> CheckScope {
    let status = seen.site.status.as_ref();
    let transition = status.and_then(|status| status.transition.as_ref());
    let to = transition.map_or(seen.site.spec.role, |transition| transition.to);
    let volumes = match (check.at, to) {
        (StepName::Replication, Role::Primary) => failover_policies::promoted(seen, compiled),
        _ => BTreeSet::new(),
    };
    CheckScope {
        to,
        namespaces: in_transition(&seen.site, &seen.enrolled, check.at),
        moving: Moving::Layers(volumes),
        rules: seen.rules.clone(),
        terminating: seen.terminating.iter().cloned().collect(),
        held_jobs: transition.map(Transition::held_jobs).unwrap_or_default(),
    }
}
