//! Performs the acts and returns findings: as the controller does, or with one fault.

use super::cluster::{Broken, Cluster, Labels, Reality, Revision};
use super::decision::{Deed, Draft, Found, Liberty, Question, Swept};
use super::{Exploration, Fault};
use crate::api::{Site, StepName};
use crate::role::{Layer, Role};

impl Cluster {
    pub(super) fn decide(&self, exploration: &Exploration, leader: usize, soon: bool) -> Deed {
        let memory = &self.leaders[leader];
        let older = memory.sees.as_ref().filter(|page| **page != self.site);
        let labels = self.labels.iter().copied();
        exploration.book.decide(
            exploration,
            &Question {
                site: older.unwrap_or(&self.site).clone(),
                labels: match older {
                    Some(_) => labels.map(Labels::aged).collect(),
                    None => labels.collect(),
                },
                exempt: self.exempt,
                replica: self.replica.as_ref().map(|seen| {
                    let oldest = seen.iter().map(|labels| labels.revision).min().flatten();
                    (oldest.unwrap_or(Revision::Old), seen.len())
                }),
                sweep: memory.sweep,
                check: memory.check,
                late: self.late,
                soon,
            },
        )
    }

    pub(super) fn hear(&mut self, exploration: &Exploration, leader: usize, soon: bool) {
        let deed = self.decide(exploration, leader, soon);
        let held_page = self.leaders[leader].sees.take();
        if leader == 1 {
            self.left.second -= 1;
        }
        let moves = !matches!(deed, Deed::WriteStatus(_) | Deed::Wait);
        if moves && self.site.site.spec.paused.is_some() {
            self.liberty = Liberty::Forbidden;
        }
        let is_outdated = held_page.is_some_and(|page| page != self.site);
        self.leaders[leader].decided = match deed {
            Deed::WriteStatus(_) | Deed::Check if is_outdated => None,
            deed => Some(deed),
        };
    }

    pub(super) fn perform(&mut self, exploration: &Exploration, leader: usize) {
        match self.leaders[leader].decided.take() {
            Some(Deed::WriteStatus(draft)) => {
                if exploration.fault == Some(Fault::LabelsFirst) {
                    self.label(exploration, &self.labels_for(&draft));
                }
                self.write_status(exploration, draft);
            }
            Some(Deed::Label(desired)) => self.label(exploration, &desired),
            Some(Deed::Sweep {
                over,
                layers,
                current,
            }) => {
                let found = self.sweep(&over, layers);
                if current {
                    self.leaders[leader].sweep = Some(Swept { layers, found });
                }
            }
            Some(Deed::Check) => {
                let is_kept = exploration.fault == Some(Fault::ChecksOnce);
                let before = self.leaders[leader].check.filter(|_| is_kept);
                let found = before.unwrap_or_else(|| self.check(exploration));
                self.leaders[leader].check = Some(found);
            }
            Some(Deed::Wait) | None => {}
        }
    }

    /// The desired labels of the namespaces once a status is written.
    pub(super) fn labels_for(&self, draft: &Draft) -> Vec<Option<Labels>> {
        let roles = draft.site.status().layers;
        let labels = self
            .labels
            .iter()
            .map(|l| (l.roles != roles).then_some(Labels { roles, ..*l }));
        labels.collect()
    }

    fn write_status(&mut self, exploration: &Exploration, draft: Draft) {
        self.liberty = self.liberty.max(draft.liberty);
        self.late &= !draft.restarts_clock;
        let mut page = draft.site;
        if page.site.spec != self.site.site.spec {
            // Only if versions are ignored.
            let spec = self.site.site.spec.clone();
            page = exploration.book.page(Site {
                spec,
                ..page.site.clone()
            });
        }
        self.store(exploration, page);
        if !draft.raises {
            return;
        }
        // Revisions that were current are now old, in every memory.
        for labels in self
            .labels
            .iter_mut()
            .chain(self.replica.iter_mut().flatten())
        {
            *labels = labels.aged();
        }
        for leader in &mut self.leaders {
            leader.sweep = None;
            leader.check = None;
            match &mut leader.decided {
                Some(Deed::Check) => leader.decided = None,
                Some(Deed::Sweep { current, .. }) => *current = false,
                Some(Deed::Label(desired)) => {
                    for labels in desired.iter_mut().flatten() {
                        *labels = labels.aged();
                    }
                }
                Some(Deed::WriteStatus(_) | Deed::Wait) | None => {}
            }
        }
    }

    /// Each namespace by its observed version: newer writes of others are not overwritten.
    fn label(&mut self, exploration: &Exploration, desired: &[Option<Labels>]) {
        for (namespace, wanted) in desired.iter().enumerate() {
            let Some(wanted) = wanted else { continue };
            self.labels[namespace] = *wanted;
            for leader in &mut self.leaders {
                let Some(Deed::Label(pending)) = &mut leader.decided else {
                    continue;
                };
                if exploration.fault != Some(Fault::LabelsUnversioned) {
                    if let Some(entry) = pending.get_mut(namespace) {
                        *entry = None;
                    }
                    if pending.iter().all(Option::is_none) {
                        leader.decided = None;
                    }
                }
            }
        }
    }

    /// The role that admission gives to a written object of the layer, from the labels that it has observed.
    pub(super) fn admitted(&self, seen: &[Labels], namespace: usize, layer: Layer) -> Option<Role> {
        if self.reality[namespace].broken == Some(Broken::Objects(layer)) {
            return None;
        }
        seen.get(namespace)?.roles.of(layer)
    }

    pub(super) fn write(&mut self, namespace: usize, layer: Layer, admitted: Option<Role>) {
        if admitted.is_some() {
            self.reality[namespace].objects.set(layer, admitted);
        }
    }

    /// The labels that the replica has observed: any write may pass through it.
    pub(super) fn seen(&self) -> &[Labels] {
        self.replica.as_ref().unwrap_or(&self.labels)
    }

    /// Re-admits every object of the layers, through a current replica, and lists the ones that do not conform
    /// afterwards.
    fn sweep(&mut self, over: &[Labels], layers: &[Layer]) -> Found {
        let mut found = Found::Nothing;
        for (namespace, labels) in over.iter().enumerate() {
            for layer in layers.iter().copied() {
                let admitted = self.admitted(&self.labels, namespace, layer);
                self.write(namespace, layer, admitted);
                let is = self.reality[namespace].objects.of(layer);
                if labels.roles.of(layer).is_some_and(|role| is != Some(role)) {
                    found = Found::InTheWay;
                }
            }
        }
        found
    }

    /// The findings of a driver, for the namespaces of the transition.
    fn check(&self, exploration: &Exploration) -> Found {
        let to = self.site.transition().map(|t| t.to);
        let lies = match self.site.at {
            Some(StepName::PodsGone) => exploration.fault == Some(Fault::PodsReportedGone),
            Some(StepName::Replication) => exploration.fault == Some(Fault::VolumesReportedTurned),
            Some(StepName::Available) => exploration.fault == Some(Fault::WorkloadsReportedUp),
            _ => false,
        };
        let is_blocking = |reality: &Reality| match self.site.at {
            Some(StepName::PodsGone) => {
                reality.pods || reality.objects.workloads == Some(Role::Primary)
            }
            Some(StepName::Replication) => {
                Some(reality.volume) != to || reality.objects.volumes != to
            }
            Some(StepName::Available) => !reality.pods,
            _ => false,
        };
        let mut checked = (0..self.reality.len()).filter(|n| self.site.includes(*n));
        if !lies && checked.any(|n| is_blocking(&self.reality[n])) {
            Found::InTheWay
        } else {
            Found::Nothing
        }
    }
}
