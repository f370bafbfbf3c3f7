//! Every sequence of events.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::world::World;
use crate::api::Phase;
use crate::namespace::ObjectRole;
use crate::role::{Role, Roles};
use crate::transition::{Act, EnrolledNamespace};

/// Events of a controller and its cluster.
#[derive(Clone, Debug)]
enum Event {
    Step,
    /// Killed and started again: its memory is lost.
    Crash,
    Order(Role),
    Enrol(u8),
    Tamper(u8),
    /// A single object gets a role of its own, or the role of its namespace again.
    Compile(u8, bool),
    Time(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let role = prop_oneof![Just(Role::Primary), Just(Role::Secondary)];
    prop_oneof![
        8 => Just(Event::Step),
        1 => Just(Event::Crash),
        1 => role.prop_map(Event::Order),
        1 => (0u8..4).prop_map(Event::Enrol),
        1 => (0u8..4).prop_map(Event::Tamper),
        1 => (0u8..4, any::<bool>()).prop_map(|(i, own_role)| Event::Compile(i, own_role)),
        1 => (0i64..100).prop_map(Event::Time),
    ]
}

proptest! {
    #[test]
    fn every_sequence_of_events_ends_in_the_last_ordered_role(events in proptest::collection::vec(event(), 0..60)) {
        let mut world = World::new(Role::Primary, &["n0"]);
        let mut orders = 0;
        for event in events {
            match event {
                Event::Step => {
                    let before = world.status_or_default();
                    let before_labels: Vec<_> = world.namespaces.iter().map(|n| (n.name.clone(), n.state.roles)).collect();
                    let act = world.step();
                    // The journal orders every label before it is written, and only an order changes a role back.
                    if let Act::Label(namespaces) = act {
                        let adopted = before.transition.as_ref().map(|t| t.layers);
                        let stays = |n: &EnrolledNamespace| before_labels.contains(&(n.name.clone(), n.state.roles));
                        let ordered = |n: &EnrolledNamespace| n.state.roles == before.layers || Some(n.state.roles) == adopted;
                        prop_assert!(namespaces.iter().all(|n| ordered(n) || stays(n)));
                        prop_assert!(namespaces.iter().all(|n| n.state.revision == Some(before.revision)));
                    }
                }
                Event::Crash => {
                    world.sweep = None;
                    world.check = None;
                }
                Event::Order(role) if role != world.site.spec.role => {
                    orders += 1;
                    world.order(role, &format!("r{orders}"), &["peer-unknown"]);
                }
                Event::Order(_) => {}
                Event::Enrol(i) => {
                    let name = format!("n{i}");
                    if world.namespaces.iter().all(|n| n.name != name) {
                        world.enrol(&name);
                    }
                }
                Event::Tamper(i) => {
                    if let Some(namespace) = world.namespaces.get_mut(usize::from(i)) {
                        namespace.state.roles = Roles::default();
                    }
                }
                Event::Compile(i, own_role) => {
                    world.compile(&format!("n{i}"), "web", own_role.then_some(ObjectRole::Secondary));
                }
                Event::Time(seconds) => world.now += SignedDuration::from_secs(seconds),
            }
        }
        world.settle();
        prop_assert_eq!(world.status().phase, Some(Phase::Stable));
        prop_assert!(world.roles().iter().all(|r| *r == Roles::all(world.site.spec.role)));
        prop_assert!(world.namespaces.iter().all(|n| world.objects.get(&n.name).is_none_or(|o| *o == n.state.objects)));
        prop_assert!(world.status().namespaces.iter().eq(world.namespaces.iter().map(|n| &n.name)));
    }
}
