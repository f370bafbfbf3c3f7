//! The small explored cluster, and all events in it.

use super::book::Order;
use super::decision::{Deed, Found, Liberty, Swept};
use super::page::Page;
use super::{Exploration, Fault};
use crate::api::StepName;
use crate::role::{Layer, Role, Roles};

/// The namespaces, in the order in which they come.
pub(super) const NAMES: [&str; 2] = ["n0", "n1"];

/// The only question about a revision: is it the current one?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Revision {
    Old,
    Current,
}

/// The labels of a Namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Labels {
    pub(super) roles: Roles,
    pub(super) revision: Option<Revision>,
    pub(super) exempt: bool,
}

impl Labels {
    pub(super) fn aged(self) -> Self {
        Self {
            revision: self.revision.map(|_| Revision::Old),
            ..self
        }
    }
}

/// A part that fails permanently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Broken {
    /// Pods that do not end, or do not start.
    Pods,
    /// A volume that does not change its role.
    Volume,
    /// Objects of a layer whose writes are refused.
    Objects(Layer),
}

/// The running and stored state of one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reality {
    /// The roles of the objects of each layer.
    pub(super) objects: Roles,
    /// Pods exist.
    pub(super) pods: bool,
    /// The state of the volume that the storage confirms.
    pub(super) volume: Role,
    pub(super) broken: Option<Broken>,
}

impl Reality {
    pub(super) fn of(role: Role) -> Self {
        Self {
            objects: Roles::all(role),
            pods: role == Role::Primary,
            volume: role,
            broken: None,
        }
    }
}

/// The memory of a controller: lost when it is killed. Data that can never count again is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Leader {
    pub(super) sweep: Option<Swept>,
    pub(super) check: Option<Found>,
    /// The Site in its cache, if that is stale.
    pub(super) sees: Option<Page>,
    /// A decision that is not performed yet.
    pub(super) decided: Option<Deed>,
}

/// The events that may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) orders: u8,
    pub(super) repeats: u8,
    pub(super) newcomers: u8,
    pub(super) breakages: u8,
    pub(super) pauses: u8,
    pub(super) exemptions: u8,
    /// How often the second leader, which believes to be the only one, may decide.
    pub(super) second: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cluster {
    pub(super) site: Page,
    pub(super) labels: Vec<Labels>,
    pub(super) reality: Vec<Reality>,
    pub(super) leaders: [Leader; 2],
    /// The labels that the webhook replica has observed, if it can be stale.
    pub(super) replica: Option<Vec<Labels>>,
    pub(super) exempt: bool,
    /// The deadlines of the running step have passed.
    pub(super) late: bool,
    pub(super) left: Left,
    pub(super) liberty: Liberty,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Event {
    /// A leader decides: now, or when a retry is due.
    Decide {
        leader: usize,
        soon: bool,
    },
    Perform(usize),
    /// The Site in the second leader's cache becomes stale.
    FallBehind,
    Kill(usize),
    DeadlinesPass,
    Order(Role),
    /// The same request again, with every wait overridden.
    Repeat,
    Enrol,
    Exempt,
    Pause,
    Resume,
    Break(usize, Broken),
    Heal(usize),
    /// The webhook replica observes the labels of the namespaces.
    See,
    /// Somebody writes the objects of a layer, and admission applies the labels.
    Write(usize, Layer),
    StartPods(usize),
    EndPods(usize),
    TurnVolume(usize),
}

impl Cluster {
    /// Settled, without a transition.
    pub(super) fn settled(exploration: &Exploration, site: Page) -> Self {
        let role = site.site.spec.role;
        let labels = vec![Labels {
            roles: Roles::all(role),
            revision: Some(Revision::Current),
            exempt: false,
        }];
        Self {
            replica: exploration.replica.then(|| labels.clone()),
            labels,
            reality: vec![Reality::of(role)],
            leaders: Default::default(),
            exempt: false,
            late: false,
            left: exploration.left,
            liberty: Liberty::None,
            site,
        }
    }

    pub(super) fn events(&self, exploration: &Exploration, events: &mut Vec<Event>) {
        for (leader, memory) in self.leaders.iter().enumerate() {
            if memory.decided.is_some() {
                events.push(Event::Perform(leader));
            } else if leader == 0 || self.left.second > 0 {
                let due = |soon: &bool| self.decide(exploration, leader, *soon) != Deed::Wait;
                let soon = [false, true].into_iter().find(due);
                events.extend(soon.map(|soon| Event::Decide { leader, soon }));
            }
            // The second leader exists only to act on a stale cache.
            let lags = exploration.fault == Some(Fault::SeesAnOlderSite);
            if leader == 1 && lags && memory.sees.is_none() && self.left.second > 0 {
                events.push(Event::FallBehind);
            }
            if leader == 0 && *memory != Leader::default() {
                events.push(Event::Kill(leader));
            }
        }
        let has_deadline = match self.site.at {
            Some(StepName::PodsGone | StepName::Replication | StepName::Available) => true,
            Some(StepName::Guards) | None => false,
            Some(_) => self.replica.is_some(),
        };
        if has_deadline && !self.late {
            events.push(Event::DeadlinesPass);
        }
        self.happens_from_outside(events);
        if self
            .replica
            .as_ref()
            .is_some_and(|seen| *seen != self.labels)
        {
            events.push(Event::See);
        }
        for namespace in 0..self.reality.len() {
            self.happens_by_itself(namespace, events);
        }
    }

    fn happens_from_outside(&self, events: &mut Vec<Event>) {
        let left = &self.left;
        let spec = &self.site.site.spec;
        if left.orders > 0 {
            events.push(Event::Order(spec.role.opposite()));
        }
        if left.repeats > 0 && self.site.is_stalled() {
            events.push(Event::Repeat);
        }
        if left.newcomers > 0 && self.labels.len() < NAMES.len() {
            events.push(Event::Enrol);
        }
        if left.exemptions > 0 {
            events.push(Event::Exempt);
        }
        if spec.paused.is_some() {
            events.push(Event::Resume);
        } else if left.pauses > 0 {
            events.push(Event::Pause);
        }
        for (namespace, reality) in self.reality.iter().enumerate() {
            if reality.broken.is_some() {
                events.push(Event::Heal(namespace));
            } else if left.breakages > 0 {
                let layers = Layer::ALL.map(Broken::Objects);
                let all = [Broken::Pods, Broken::Volume].into_iter().chain(layers);
                events.extend(all.map(|broken| Event::Break(namespace, broken)));
            }
        }
    }

    pub(super) fn happens_by_itself(&self, namespace: usize, events: &mut Vec<Event>) {
        let reality = &self.reality[namespace];
        for layer in Layer::ALL {
            let admitted = self.admitted(self.seen(), namespace, layer);
            if admitted.is_some() && admitted != reality.objects.of(layer) {
                events.push(Event::Write(namespace, layer));
            }
        }
        if reality.broken != Some(Broken::Pods) {
            match (reality.objects.workloads, reality.pods) {
                (Some(Role::Primary), false) => events.push(Event::StartPods(namespace)),
                (Some(Role::Secondary), true) => events.push(Event::EndPods(namespace)),
                _ => {}
            }
        }
        let is_ordered = reality.objects.volumes == Some(reality.volume);
        if !is_ordered && reality.broken != Some(Broken::Volume) {
            events.push(Event::TurnVolume(namespace));
        }
    }

    pub(super) fn happen(&mut self, exploration: &Exploration, event: Event) {
        match event {
            Event::Decide { leader, soon } => self.hear(exploration, leader, soon),
            Event::Perform(leader) => self.perform(exploration, leader),
            Event::FallBehind => self.leaders[1].sees = Some(self.site.clone()),
            Event::Kill(leader) => self.leaders[leader] = Leader::default(),
            Event::DeadlinesPass => self.late = true,
            Event::Order(role) => {
                self.left.orders -= 1;
                let id = format!("order-{}", self.left.orders);
                self.order(exploration, role, id, vec!["peer-unknown".to_owned()]);
            }
            Event::Repeat => {
                self.left.repeats -= 1;
                let waits = [
                    "peer-unknown",
                    "not-conforming",
                    "pods-running",
                    "replication-unconfirmed",
                    "workloads-unavailable",
                ];
                let id = format!("repeat-{}", self.left.repeats);
                let role = self.site.site.spec.role;
                self.order(exploration, role, id, waits.map(str::to_owned).to_vec());
            }
            Event::Enrol => {
                self.left.newcomers -= 1;
                self.labels.push(Labels::default());
                self.reality.push(Reality::of(Role::Primary));
            }
            Event::Exempt => {
                self.left.exemptions -= 1;
                self.exempt = !self.exempt;
            }
            Event::Pause => {
                self.left.pauses -= 1;
                self.change_spec(exploration, Order::Pause);
            }
            Event::Resume => self.change_spec(exploration, Order::Resume),
            Event::Break(namespace, broken) => {
                self.left.breakages -= 1;
                self.reality[namespace].broken = Some(broken);
            }
            Event::Heal(namespace) => self.reality[namespace].broken = None,
            Event::See => self.replica = Some(self.labels.clone()),
            Event::Write(namespace, layer) => {
                let admitted = self.admitted(self.seen(), namespace, layer);
                self.write(namespace, layer, admitted);
            }
            Event::StartPods(namespace) => self.reality[namespace].pods = true,
            Event::EndPods(namespace) => self.reality[namespace].pods = false,
            Event::TurnVolume(namespace) => {
                let reality = &mut self.reality[namespace];
                reality.volume = reality.objects.volumes.unwrap_or(reality.volume);
            }
        }
    }

    pub(super) fn order(
        &mut self,
        exploration: &Exploration,
        role: Role,
        id: String,
        overrides: Vec<String>,
    ) {
        self.change_spec(
            exploration,
            Order::Role {
                role,
                id,
                overrides,
            },
        );
    }

    fn change_spec(&mut self, exploration: &Exploration, order: Order) {
        let page = exploration.book.ordered(&self.site, order);
        self.store(exploration, page);
    }

    /// The Site has changed: earlier decisions can no longer be written.
    pub(super) fn store(&mut self, exploration: &Exploration, page: Page) {
        let asks_the_same = page.asks_as(&self.site);
        self.site = page;
        for leader in 0..self.leaders.len() {
            let deed = match self.leaders[leader].decided.take() {
                Some(Deed::WriteStatus(draft)) => match exploration.fault {
                    Some(Fault::StatusUnversioned) => Some(Deed::WriteStatus(draft)),
                    Some(Fault::LabelsFirst) => Some(Deed::Label(self.labels_for(&draft))),
                    _ => None,
                },
                Some(Deed::Check) if !asks_the_same => None,
                deed => deed,
            };
            self.leaders[leader].decided = deed;
            if !asks_the_same {
                self.leaders[leader].check = None;
            }
        }
    }

    /// Whether it holds for each existing namespace.
    pub(super) fn each(&self, holds: impl Fn(usize, &Labels, &Reality) -> bool) -> bool {
        let all = self.labels.iter().zip(&self.reality).enumerate();
        all.into_iter()
            .all(|(i, (labels, reality))| holds(i, labels, reality))
    }
}
