//! What the loop decides on.

use std::collections::BTreeSet;

use failover_core::Role;
use failover_core::api::{StepName, Transition};
use failover_core::object::ObjectKey;
use failover_core::object_roles::Compiled;
use failover_core::transition::{
    Act, Closing, Look, Observation, Whose, closing, decide, on_the_walk,
};
use jiff::SignedDuration;

use super::Reconciler;
use crate::site::checks::{Moving, Scene};
use crate::site::snapshot::Seen;
use crate::site::{failover_policies, object_roles};

impl Reconciler {
    /// What is to be in force of single objects, and what there is to do for volumes that would close but are used.
    pub(super) fn compiled(&mut self, seen: &Seen) -> (Compiled, Option<Closing>) {
        let compiled = self.compiled_with(seen, &BTreeSet::new());
        if compiled.closing.is_empty() {
            return (compiled, None);
        }
        let observation = self.observation(seen, &compiled, &Whose::Nobody);
        match closing(&observation, &compiled.closing) {
            Closing::Unused(unused) => (self.compiled_with(seen, &unused), None),
            more => (compiled, Some(more)),
        }
    }

    fn compiled_with(&mut self, seen: &Seen, unused: &BTreeSet<ObjectKey>) -> Compiled {
        let labels = self.observer.exempt_labels();
        let origins = self.observer.origins();
        let compiled = object_roles::compiled(seen, labels, origins, &self.answers, unused);
        let wanting = self.answers.wanting(seen, &compiled);
        if !wanting.is_empty() && !self.asking.is_busy() {
            let (labels, origins) = (labels.clone(), origins.clone());
            self.asking.start(object_roles::ask(
                self.client.clone(),
                labels,
                origins,
                wanting,
            ));
        }
        compiled
    }

    pub(super) fn decide(&self, seen: &Seen, compiled: &Compiled) -> Act {
        decide(&self.observation(seen, compiled, &Whose::Site))
    }

    /// What there is to decide on, on this behalf.
    pub(super) fn observation<'a>(
        &'a self,
        seen: &'a Seen,
        compiled: &'a Compiled,
        whose: &Whose,
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
            look: self.work.look_report(whose),
            failing_look: self.work.failing_look(whose),
            deadlines: self.deadlines,
            sweep_every: SignedDuration::try_from(self.sweep_every).unwrap_or(SignedDuration::MAX),
            now: seen.at,
        }
    }
}

/// What the walk under way is about.
pub(super) fn scene(seen: &Seen, compiled: &Compiled, look: &Look) -> Scene {
    let status = seen.site.status.as_ref();
    let walk = status.and_then(|status| status.transition.as_ref());
    let to = walk.map_or(seen.site.spec.role, |walk| walk.to);
    let volumes = match (look.at, to) {
        (StepName::Replication, Role::Primary) => failover_policies::promoted(seen, compiled),
        _ => BTreeSet::new(),
    };
    Scene {
        to,
        namespaces: on_the_walk(&seen.site, &seen.enrolled, look.at),
        moving: Moving::Layers(volumes),
        rules: seen.rules.clone(),
        terminating: seen.terminating.iter().cloned().collect(),
        held_jobs: walk.map(Transition::held_jobs).unwrap_or_default(),
    }
}
