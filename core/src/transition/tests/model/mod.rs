//! Every interleaving of a small cluster: leaders that come, go and become stale, requests that reverse, volumes and
//! pods that are slow or fail, namespaces that come in between. Explored over [`decide`](super::decide) itself, not
//! over a copy of it.
//!
//! ```text
//!   leader A, B   decide on the stored state ─► ... any events ... ─► perform, refused if the state has changed since
//!   the cluster   objects follow the labels, pods start and end, volumes are promoted and demoted, at any time
//!   what fails    pods that do not end or start, volumes that keep their role, objects that refuse writes, a stale webhook
//!   a person      orders a role, overrides guards, pauses, enrols a namespace, exempts an object
//! ```
//!
//! Every property has a driver with a deliberate fault, for which the exploration shows that the property fails.

mod book;
mod cluster;
mod decision;
mod driver;
mod page;
mod ways_out;

use rstest::rstest;
use stateright::{Checker, HasDiscoveries, Model, Property};

use super::world::World;
use crate::api::{Mode, Site};
use crate::role::{Role, Roles};
use book::Book;
use cluster::{Cluster, Event, Left};
use decision::Liberty;
use page::Page;
use ways_out::WaysOut;

/// The scope of an exploration.
#[derive(Debug)]
struct Exploration {
    mode: Mode,
    /// The roles to start from.
    from: &'static [Role],
    left: Left,
    /// The webhook is a separate replica, which may be stale.
    replica: bool,
    fault: Option<Fault>,
    book: Book,
    ways_out: WaysOut,
}

/// The faults of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    PodsReportedGone,
    VolumesReportedTurned,
    WorkloadsReportedUp,
    /// It checks once, and keeps that result.
    ChecksOnce,
    /// It overwrites a status of any version.
    StatusUnversioned,
    /// It overwrites labels of any version.
    LabelsUnversioned,
    /// It labels before the journal is written.
    LabelsFirst,
    /// It labels by a Site from a stale cache.
    SeesAnOlderSite,
    ForgetsReplicas,
    OverridesUnasked,
    GoesOnInAPause,
}

const NOTHING_OVER_SECONDARY_VOLUMES: &str =
    "nothing is active over a volume that is not confirmed primary";
const NO_TRAFFIC_BEFORE_WORKLOADS: &str = "traffic is on only where workloads are up";
const SECONDARY_IS_SECONDARY: &str = "a secondary that has been reached is one";
const NOTHING_FORBIDDEN: &str = "nothing is passed but by name and in time, nor moved in a pause";
const WAY_OUT: &str = "every state has a way out";

impl Default for Exploration {
    fn default() -> Self {
        Self {
            mode: Mode::Safe,
            from: &[Role::Primary],
            left: Left::default(),
            replica: false,
            fault: None,
            book: Book::default(),
            ways_out: WaysOut::default(),
        }
    }
}

impl Model for Exploration {
    type State = Cluster;
    type Action = Event;

    fn init_states(&self) -> Vec<Cluster> {
        let settled = |role: &Role| Cluster::settled(self, self.settled(*role));
        self.from.iter().map(settled).collect()
    }

    fn actions(&self, cluster: &Cluster, events: &mut Vec<Event>) {
        cluster.events(self, events);
    }

    fn next_state(&self, cluster: &Cluster, event: Event) -> Option<Cluster> {
        let mut next = cluster.clone();
        next.happen(self, event);
        (next != *cluster).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(NOTHING_OVER_SECONDARY_VOLUMES, |_, cluster: &Cluster| {
                cluster.liberty != Liberty::None
                    || cluster.each(|_, _, reality| {
                        let active =
                            reality.pods || reality.objects.workloads == Some(Role::Primary);
                        !active || reality.volume == Role::Primary
                    })
            }),
            Property::always(NO_TRAFFIC_BEFORE_WORKLOADS, |_, cluster: &Cluster| {
                cluster.liberty != Liberty::None
                    || cluster.each(|_, labels, reality| {
                        let on = [labels.roles.traffic, reality.objects.traffic];
                        !on.contains(&Some(Role::Primary))
                            || (reality.pods && reality.objects.workloads == Some(Role::Primary))
                    })
            }),
            Property::always(SECONDARY_IS_SECONDARY, |_, cluster: &Cluster| {
                let reached = cluster.site.settled == Some(Role::Secondary);
                !reached
                    || cluster.liberty != Liberty::None
                    || cluster.each(|namespace, _, reality| {
                        let is_secondary = !reality.pods
                            && reality.volume == Role::Secondary
                            && reality.objects == Roles::all(Role::Secondary);
                        is_secondary || !cluster.site.registers(namespace)
                    })
            }),
            Property::always(NOTHING_FORBIDDEN, |_, cluster: &Cluster| {
                cluster.liberty < Liberty::Forbidden
            }),
            Property::always(WAY_OUT, |exploration: &Self, cluster: &Cluster| {
                exploration.ways_out.exists(exploration, cluster)
            }),
            Property::sometimes("a secondary is reached", |_, cluster: &Cluster| {
                cluster.site.settled == Some(Role::Secondary)
            }),
            Property::sometimes(
                "a primary is reached",
                |exploration: &Self, cluster: &Cluster| {
                    cluster.left.orders < exploration.left.orders
                        && cluster.site.settled == Some(Role::Primary)
                },
            ),
        ];
        if self.left.breakages > 0 {
            properties.push(Property::sometimes(
                "a transition stalls",
                |_, cluster: &Cluster| cluster.site.is_stalled(),
            ));
        }
        if self.left.repeats > 0 {
            properties.push(Property::sometimes(
                "an override lets it go on",
                |_, cluster: &Cluster| {
                    cluster.liberty == Liberty::Named && cluster.site.settled.is_some()
                },
            ));
        }
        properties
    }
}

impl Exploration {
    /// A site that has had this role for a long time.
    fn settled(&self, role: Role) -> Page {
        let mut world = World::new(Role::Primary, &[cluster::NAMES[0]]);
        world.site.spec.mode = self.mode;
        world.settle();
        if role == Role::Secondary {
            world.order(role, "before", &[]);
            world.settle();
        }
        let Site {
            metadata,
            spec,
            status,
        } = world.site;
        self.book.page(Site {
            metadata,
            spec,
            status,
        })
    }

    fn explore(self, finish: HasDiscoveries) -> impl Checker<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        self.checker()
            .threads(threads)
            .finish_when(finish)
            .spawn_bfs()
            .join()
    }

    /// Explores all states, at least this many: fewer would mean that some event no longer happens.
    fn assert_sound(self, at_least: usize) {
        let checker = self.explore(HasDiscoveries::AnyFailures);
        checker.assert_properties();
        let states = checker.unique_state_count();
        assert!(states >= at_least, "{states} states only");
    }
}

#[test]
fn requests_that_reverse_at_any_moment() {
    Exploration {
        from: &[Role::Primary, Role::Secondary],
        left: Left {
            orders: 3,
            ..Left::default()
        },
        ..Exploration::default()
    }
    .assert_sound(10_000);
}

#[test]
fn a_leader_with_a_stale_cache() {
    Exploration {
        from: &[Role::Primary, Role::Secondary],
        left: Left {
            orders: 2,
            second: 2,
            ..Left::default()
        },
        ..Exploration::default()
    }
    .assert_sound(80_000);
}

#[test]
fn a_namespace_that_comes_at_any_moment() {
    Exploration {
        from: &[Role::Primary, Role::Secondary],
        left: Left {
            orders: 3,
            newcomers: 1,
            ..Left::default()
        },
        ..Exploration::default()
    }
    .assert_sound(130_000);
}

#[test]
fn temporary_and_permanent_failures_with_overrides() {
    Exploration {
        from: &[Role::Primary, Role::Secondary],
        left: Left {
            orders: 2,
            repeats: 1,
            breakages: 1,
            ..Left::default()
        },
        ..Exploration::default()
    }
    .assert_sound(130_000);
}

#[test]
fn a_pause_at_any_moment() {
    Exploration {
        from: &[Role::Primary, Role::Secondary],
        left: Left {
            orders: 2,
            pauses: 1,
            exemptions: 1,
            ..Left::default()
        },
        ..Exploration::default()
    }
    .assert_sound(80_000);
}

#[test]
fn a_stale_webhook_replica() {
    Exploration {
        from: &[Role::Primary, Role::Secondary],
        left: Left {
            orders: 2,
            ..Left::default()
        },
        replica: true,
        ..Exploration::default()
    }
    .assert_sound(6_000);
}

#[rstest]
#[case(Fault::PodsReportedGone, NOTHING_OVER_SECONDARY_VOLUMES)]
#[case(Fault::VolumesReportedTurned, NOTHING_OVER_SECONDARY_VOLUMES)]
#[case(Fault::VolumesReportedTurned, SECONDARY_IS_SECONDARY)]
#[case(Fault::WorkloadsReportedUp, NO_TRAFFIC_BEFORE_WORKLOADS)]
#[case(Fault::ChecksOnce, WAY_OUT)]
#[case(Fault::StatusUnversioned, NOTHING_OVER_SECONDARY_VOLUMES)]
#[case(Fault::LabelsUnversioned, NOTHING_OVER_SECONDARY_VOLUMES)]
#[case(Fault::LabelsFirst, SECONDARY_IS_SECONDARY)]
#[case(Fault::SeesAnOlderSite, NOTHING_OVER_SECONDARY_VOLUMES)]
#[case(Fault::ForgetsReplicas, NOTHING_OVER_SECONDARY_VOLUMES)]
#[case(Fault::OverridesUnasked, NOTHING_FORBIDDEN)]
#[case(Fault::GoesOnInAPause, NOTHING_FORBIDDEN)]
fn a_faulty_driver_is_detected(#[case] fault: Fault, #[case] property: &'static str) {
    let second = match fault {
        Fault::StatusUnversioned | Fault::LabelsUnversioned | Fault::SeesAnOlderSite => 1,
        Fault::LabelsFirst => 2,
        _ => 0,
    };
    let exploration = Exploration {
        from: &[Role::Primary, Role::Secondary],
        left: Left {
            orders: 2,
            pauses: u8::from(fault == Fault::GoesOnInAPause),
            second,
            ..Left::default()
        },
        replica: fault == Fault::ForgetsReplicas,
        fault: Some(fault),
        ..Exploration::default()
    };
    let checker = exploration.explore(HasDiscoveries::AnyOf([property].into()));
    assert!(
        checker.discovery(property).is_some(),
        "{fault:?} does not break it"
    );
}

/// Without waits between the layers, as in mode `unsafe`, pods run on volumes that are not primary, and traffic starts
/// before its workloads.
#[rstest]
fn an_unsafe_transition_violates_the_properties(
    #[values(NOTHING_OVER_SECONDARY_VOLUMES, NO_TRAFFIC_BEFORE_WORKLOADS)] property: &'static str,
) {
    let exploration = Exploration {
        mode: Mode::Unsafe,
        from: &[Role::Primary, Role::Secondary],
        left: Left {
            orders: 2,
            ..Left::default()
        },
        ..Exploration::default()
    };
    let checker = exploration.explore(HasDiscoveries::AnyOf([property].into()));
    assert!(checker.discovery(property).is_some());
}
