//! Whatever happens, in whatever order.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::world::World;
use crate::api::Phase;
use crate::namespace::ObjectRole;
use crate::role::{Role, Roles};
use crate::transition::{Act, EnrolledNamespace};

/// Things that happen to a controller and its cluster.
#[derive(Clone, Debug)]
enum Event {
    Step,
    /// Killed and started again: what it held in memory is gone.
    Crash,
    Order(Role),
    Enrol(u8),
    Tamper(u8),
    /// A single object is to stand otherwise, or as its namespace again.
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
        1 => (0u8..4, any::<bool>()).prop_map(|(i, apart)| Event::Compile(i, apart)),
        1 => (0i64..100).prop_map(Event::Time),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_it_ends_where_the_last_order_says(events in proptest::collection::vec(event(), 0..60)) {
        let mut world = World::new(Role::Primary, &["n0"]);
        let mut orders = 0;
        for event in events {
            match event {
                Event::Step => {
                    let before = world.status_or_default();
                    let had: Vec<_> = world.namespaces.iter().map(|n| (n.name.clone(), n.state.roles)).collect();
                    let act = world.step();
                    // Nothing is labelled that the journal does not already order, and no role is taken back but by it.
                    if let Act::Label(namespaces) = act {
                        let adopted = before.transition.as_ref().map(|t| t.layers);
                        let stays = |n: &EnrolledNamespace| had.contains(&(n.name.clone(), n.state.roles));
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
                Event::Compile(i, apart) => {
                    world.compile(&format!("n{i}"), "web", apart.then_some(ObjectRole::Secondary));
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
