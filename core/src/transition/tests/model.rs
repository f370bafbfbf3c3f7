//! Every interleaving of a small cluster: leaders that come, go and lag behind, orders that turn round, volumes and pods that
//! take their time, namespaces that come in between. Explored over [`decide`] itself, not over a copy of it.
//!
//! ```text
//!   leader A, B   decide on what is stored now ─► ... anything may happen ... ─► perform, refused where it has changed since
//!   the cluster   objects follow the labels, pods start and end, volumes are promoted and demoted, in their own time
//!   a person      orders a role, enrols a namespace
//! ```

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use stateright::{Checker as _, Model, Property};

use super::world::{EVERY, World};
use crate::api::{Mode, SiteStatus, StepName};
use crate::role::{Layer, Role, Roles};
use crate::transition::{
    Act, Deadlines, EnrolledNamespace, Look, LookReport, Observation, SweepReport, decide,
};

/// What runs and is stored of one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Reality {
    /// What the objects of each layer say.
    objects: Roles,
    /// Pods are there.
    pods: bool,
    /// What the storage has made of the volume.
    volume: Role,
}

impl Reality {
    const LIVE: fn() -> Self = || Self {
        objects: Roles::all(Role::Primary),
        pods: true,
        volume: Role::Primary,
    };
}

/// What a controller holds in memory: lost when it is killed.
#[derive(Clone, Debug, Default, PartialEq)]
struct Leader {
    sweep: Option<SweepReport>,
    look: Option<LookReport>,
    /// How often it may decide yet, where that is bounded.
    decisions_left: Option<u8>,
    /// What it has decided, on which status and namespaces.
    decided: Option<Decision>,
}

/// An act, and the status and namespaces that it was decided on.
type Decision = (Act, Box<(SiteStatus, Vec<EnrolledNamespace>)>);

#[derive(Clone, Debug, PartialEq)]
struct Cluster {
    world: World,
    reality: BTreeMap<String, Reality>,
    leaders: Vec<Leader>,
    orders: u8,
    newcomers: u8,
}

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Decide(usize),
    Perform(usize),
    Kill(usize),
    /// It looks again after a while.
    Forget(usize),
    Order(Role),
    Enrol,
    /// Somebody writes the objects of a layer, and admission makes them what the labels say.
    Write(String, Layer),
    StartPods(String),
    EndPods(String),
    TurnVolume(String),
}

/// What is explored.
struct Exploration {
    mode: Mode,
    orders: u8,
    newcomers: u8,
    /// How often a second leader may decide, which believes to be the only one.
    second: u8,
}

impl Cluster {
    fn new(exploration: &Exploration) -> Self {
        let mut world = World::new(Role::Primary, &["n0"]);
        world.site.spec.mode = exploration.mode;
        world.settle();
        world.forget_past();
        Self {
            reality: BTreeMap::from([("n0".to_owned(), Reality::LIVE())]),
            world,
            leaders: vec![
                Leader::default(),
                Leader {
                    decisions_left: Some(exploration.second),
                    ..Leader::default()
                },
            ],
            orders: exploration.orders,
            newcomers: exploration.newcomers,
        }
    }

    fn status(&self) -> &SiteStatus {
        self.world.status()
    }

    fn decide(&self, leader: &Leader) -> Act {
        decide(&Observation {
            site: &self.world.site,
            namespaces: &self.world.namespaces,
            objects: &BTreeMap::new(),
            outside: &[],
            enforcers: &[],
            facts: self.world.facts,
            sweep: leader.sweep.as_ref(),
            look: leader.look.as_ref(),
            deadlines: Deadlines::default(),
            sweep_every: EVERY,
            now: self.world.now,
        })
    }

    fn perform(&mut self, leader: usize) {
        let Some((act, basis)) = self.leaders[leader].decided.take() else {
            return;
        };
        let (status, namespaces) = *basis;
        match act {
            Act::WriteStatus(fresh) => {
                if status == *self.status() {
                    self.world.site.status = Some(*fresh);
                    self.world.forget_past();
                }
            }
            Act::Label(desired) => {
                for wanted in desired {
                    for namespace in &mut self.world.namespaces {
                        if namespaces.contains(namespace) && namespace.name == wanted.name {
                            namespace.state = wanted.state.clone();
                        }
                    }
                }
            }
            Act::Sweep { step, layers } => {
                for namespace in &namespaces {
                    self.write(&namespace.name, layers);
                }
                self.leaders[leader].sweep = Some(SweepReport {
                    step,
                    layers,
                    total: 1,
                    changed: 0,
                    left: 0,
                    blocked: vec![],
                    finished_at: self.world.now,
                });
            }
            Act::Look(look) => self.leaders[leader].look = Some(self.look(look)),
            Act::Wait { .. } => {}
        }
    }

    /// Admission by the labels as they are stored.
    fn write(&mut self, namespace: &str, layers: &[Layer]) {
        let labels = self.labels(namespace);
        let Some(reality) = self.reality.get_mut(namespace) else {
            return;
        };
        for layer in layers {
            if let Some(role) = labels.of(*layer) {
                reality.objects.set(*layer, Some(role));
            }
        }
    }

    fn labels(&self, namespace: &str) -> Roles {
        let found = self.world.namespaces.iter().find(|n| n.name == namespace);
        found.map(|n| n.state.roles).unwrap_or_default()
    }

    /// What a driver would find, of the namespaces that it is to look at.
    fn look(&self, look: Look) -> LookReport {
        let to = self.status().transition.as_ref().map(|t| t.to);
        let transition = self.status().transition.as_ref();
        let of = transition
            .map(|t| &t.namespaces)
            .filter(|names| !names.is_empty());
        let in_the_way = |reality: &Reality| match look.at {
            StepName::PodsGone => reality.pods || reality.objects.workloads == Some(Role::Primary),
            StepName::Replication => Some(reality.volume) != to || reality.objects.volumes != to,
            StepName::Available => !reality.pods,
            _ => false,
        };
        let left = self
            .reality
            .iter()
            .filter(|(name, _)| match of {
                Some(of) => of.contains(name),
                None => self.status().namespaces.contains(name),
            })
            .filter(|(_, reality)| in_the_way(reality))
            .count();
        LookReport {
            look,
            total: 1,
            left: i64::try_from(left).unwrap(),
            blocked: vec![],
            finished_at: self.world.now,
        }
    }

    /// Left to itself, with one leader that lives and everything else doing what it should.
    fn comes_to_rest(mut self) -> bool {
        self.leaders.truncate(1);
        self.leaders[0] = Leader::default();
        for _ in 0..200 {
            let act = self.decide(&self.leaders[0]);
            let rests = matches!(act, Act::Wait { .. });
            let basis = (self.status().clone(), self.world.namespaces.clone());
            self.leaders[0].decided = Some((act, Box::new(basis)));
            self.perform(0);
            for name in self.reality.keys().cloned().collect::<Vec<_>>() {
                for event in self.doings_of(&name) {
                    self.happen(&event);
                }
            }
            if rests {
                if self.status().transition.is_none() {
                    let role = self.world.site.spec.role;
                    return self.world.roles().iter().all(|r| *r == Roles::all(role));
                }
                self.leaders[0].look = None;
            }
        }
        false
    }

    /// What the cluster does by itself with one namespace.
    fn doings_of(&self, name: &str) -> Vec<Event> {
        let reality = &self.reality[name];
        let mut doings = Vec::new();
        let labels = self.labels(name);
        for layer in Layer::ALL {
            if labels.of(layer).is_some() && labels.of(layer) != reality.objects.of(layer) {
                doings.push(Event::Write(name.to_owned(), layer));
            }
        }
        match (reality.objects.workloads, reality.pods) {
            (Some(Role::Primary), false) => doings.push(Event::StartPods(name.to_owned())),
            (Some(Role::Secondary), true) => doings.push(Event::EndPods(name.to_owned())),
            _ => {}
        }
        if reality.objects.volumes != Some(reality.volume) {
            doings.push(Event::TurnVolume(name.to_owned()));
        }
        doings
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Decide(leader) => {
                let act = self.decide(&self.leaders[*leader]);
                let basis = (self.status().clone(), self.world.namespaces.clone());
                let leader = &mut self.leaders[*leader];
                leader.decided = Some((act, Box::new(basis)));
                leader.decisions_left = leader.decisions_left.map(|left| left - 1);
            }
            Event::Perform(leader) => self.perform(*leader),
            Event::Kill(leader) => self.leaders[*leader] = Leader::default(),
            Event::Forget(leader) => self.leaders[*leader].look = None,
            Event::Order(role) => {
                self.orders -= 1;
                let id = format!("r{}", self.orders);
                self.world.order(*role, &id, &["peer-unknown"]);
            }
            Event::Enrol => {
                self.newcomers -= 1;
                let name = format!("new{}", self.newcomers);
                self.world.enrol(&name);
                self.reality.insert(name, Reality::LIVE());
            }
            Event::Write(name, layer) => self.write(name, &[*layer]),
            Event::StartPods(name) => self.reality.get_mut(name).unwrap().pods = true,
            Event::EndPods(name) => self.reality.get_mut(name).unwrap().pods = false,
            Event::TurnVolume(name) => {
                let reality = self.reality.get_mut(name).unwrap();
                reality.volume = reality.objects.volumes.unwrap_or(reality.volume);
            }
        }
    }

    fn each(&self, holds: impl Fn(&str, &Reality) -> bool) -> bool {
        self.reality
            .iter()
            .all(|(name, reality)| holds(name, reality))
    }
}

impl Eq for Cluster {}

impl Hash for Cluster {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Everything in it tells itself in full; most of it has no hash.
        format!(
            "{:?}",
            (self.status(), &self.world.site.spec, &self.leaders)
        )
        .hash(state);
        for namespace in &self.world.namespaces {
            (&namespace.name, namespace.state.roles, namespace.state.step).hash(state);
        }
        self.reality.hash(state);
        (self.orders, self.newcomers).hash(state);
    }
}

impl Model for Exploration {
    type State = Cluster;
    type Action = Event;

    fn init_states(&self) -> Vec<Cluster> {
        vec![Cluster::new(self)]
    }

    fn actions(&self, cluster: &Cluster, events: &mut Vec<Event>) {
        for (i, leader) in cluster.leaders.iter().enumerate() {
            match &leader.decided {
                None => {
                    let may = leader.decisions_left != Some(0);
                    if may && !matches!(cluster.decide(leader), Act::Wait { .. }) {
                        events.push(Event::Decide(i));
                    }
                }
                Some(_) => events.push(Event::Perform(i)),
            }
            // The second has no other end than that it lags.
            if i == 0 && *leader != Leader::default() {
                events.push(Event::Kill(i));
            }
            if i == 0 && leader.look.is_some() {
                events.push(Event::Forget(i));
            }
        }
        if cluster.orders > 0 {
            events.push(Event::Order(cluster.world.site.spec.role.opposite()));
        }
        if cluster.newcomers > 0 {
            events.push(Event::Enrol);
        }
        for name in cluster.reality.keys() {
            events.extend(cluster.doings_of(name));
        }
    }

    fn next_state(&self, cluster: &Cluster, event: Event) -> Option<Cluster> {
        let mut next = cluster.clone();
        next.happen(&event);
        (next != *cluster).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "nothing runs over a volume that is not primary",
                |_, cluster: &Cluster| {
                    cluster.each(|_, reality| !reality.pods || reality.volume == Role::Primary)
                },
            ),
            Property::always(
                "traffic is on only where workloads are",
                |_, cluster: &Cluster| {
                    cluster.each(|name, _| {
                        let labels = cluster.labels(name);
                        labels.traffic != Some(Role::Primary)
                            || labels.workloads == Some(Role::Primary)
                    })
                },
            ),
            Property::always(
                "a secondary that has been reached is one",
                |_, cluster: &Cluster| {
                    let reached = cluster.status().transition.is_none()
                        && cluster.status().layers == Roles::all(Role::Secondary);
                    !reached
                        || cluster.each(|name, reality| {
                            let is_taken_over =
                                cluster.status().namespaces.iter().any(|n| n == name);
                            !is_taken_over || (!reality.pods && reality.volume == Role::Secondary)
                        })
                },
            ),
            Property::always("every state has a way out", |_, cluster: &Cluster| {
                cluster.clone().comes_to_rest()
            }),
            Property::sometimes("a secondary is reached", |_, cluster: &Cluster| {
                cluster.status().transition.is_none()
                    && cluster.status().layers == Roles::all(Role::Secondary)
            }),
            Property::sometimes(
                "a primary is reached again",
                |exploration: &Self, cluster: &Cluster| {
                    cluster.orders + 2 <= exploration.orders
                        && cluster.status().transition.is_none()
                        && cluster.status().layers == Roles::all(Role::Primary)
                },
            ),
        ]
    }
}

fn explore(exploration: Exploration) -> impl stateright::Checker<Exploration> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    exploration.checker().threads(threads).spawn_bfs().join()
}

fn assert_sound(exploration: Exploration) {
    let checker = explore(exploration);
    checker.assert_properties();
    assert!(
        checker.unique_state_count() > 2000,
        "{}",
        checker.unique_state_count()
    );
}

#[test]
fn orders_that_turn_round_at_any_moment() {
    assert_sound(Exploration {
        mode: Mode::Safe,
        orders: 3,
        newcomers: 0,
        second: 0,
    });
}

#[test]
fn a_leader_that_lags_behind_another() {
    assert_sound(Exploration {
        mode: Mode::Safe,
        orders: 2,
        newcomers: 0,
        second: 2,
    });
}

#[test]
fn a_namespace_that_comes_at_any_moment() {
    assert_sound(Exploration {
        mode: Mode::Safe,
        orders: 2,
        newcomers: 1,
        second: 0,
    });
}

/// That the exploration can fail: without waiting between the layers, which is what `unsafe` means, pods run over volumes
/// that are not primary, and traffic comes before what it is for.
#[test]
fn without_order_it_finds_what_goes_wrong() {
    let checker = explore(Exploration {
        mode: Mode::Unsafe,
        orders: 2,
        newcomers: 0,
        second: 0,
    });
    assert!(
        checker
            .discovery("nothing runs over a volume that is not primary")
            .is_some()
    );
}
