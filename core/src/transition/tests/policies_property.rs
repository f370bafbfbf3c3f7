//! FailoverPolicies and their site, whatever happens, in whatever order; in a cluster of which looks tell the truth.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::shop::{ALL, PEER, ROUTE, Shop, VOLUME, WORKLOAD};
use super::*;
use crate::RuleSet;
use crate::namespace::{ExemptLabel, ObjectStanding};

/// What happens to a controller and its cluster.
#[derive(Clone, Debug)]
enum Event {
    Turn,
    /// Killed and started again: what it held in memory is gone.
    Crash,
    /// Of one of the two policies.
    Order(usize, Option<Role>, bool),
    Site(Role),
    /// The namespace leaves, or comes back with nothing in force.
    Leave(bool),
    /// The last pod ends, where none is wanted.
    PodsEnd,
    /// The driver of the volume says that it is what it is to be.
    Confirm,
    Time(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let role = || prop_oneof![Just(Role::Primary), Just(Role::Secondary)];
    let order = (0..2usize, proptest::option::of(role()), any::<bool>());
    prop_oneof![
        24 => Just(Event::Turn),
        1 => Just(Event::Crash),
        3 => order.prop_map(|(policy, role, over)| Event::Order(policy, role, over)),
        1 => role().prop_map(Event::Site),
        1 => any::<bool>().prop_map(Event::Leave),
        3 => Just(Event::PodsEnd),
        3 => Just(Event::Confirm),
        2 => (0i64..100).prop_map(Event::Time),
    ]
}

/// What is so, apart from what is said.
#[derive(Debug)]
struct Truth {
    pods: bool,
    /// The volume is what it is to be.
    confirmed: bool,
    standings: [ObjectStanding; 4],
}

impl Truth {
    fn of(shop: &Shop) -> Self {
        let standings = shop.standings();
        Self {
            pods: is_live(standings[WORKLOAD]),
            confirmed: true,
            standings,
        }
    }

    /// A turn, in which the site and the policies each see what their transitions are about.
    fn turn(&mut self, shop: &mut Shop) -> Result<bool, TestCaseError> {
        let rules = RuleSet::built_in();
        let follows = |resource: &str, name: &str| {
            let rule = rules.iter().find(|rule| rule.resource == resource);
            let mut namespaces = shop.world.namespaces.iter();
            namespaces.any(|namespace| {
                namespace
                    .state
                    .follows_layer(rule.unwrap(), name, ExemptLabel::Unseen)
            })
        };
        let volume = follows("volumereplications", "data");
        let of_site = volume || follows("deployments", "web");
        let waited_for = volume || !shop.promoting().is_empty();
        let (pods, unconfirmed) = (self.pods, !self.confirmed);
        let set = |world: &mut World, at, is_so| {
            world.in_the_way.remove(&at);
            if is_so {
                world.in_the_way.insert(at, vec!["x"]);
            }
        };
        set(&mut shop.world, StepName::PodsGone, pods && of_site);
        set(
            &mut shop.world,
            StepName::Replication,
            unconfirmed && waited_for,
        );
        let rests = shop.turn_with(|world| {
            set(world, StepName::PodsGone, pods);
            set(world, StepName::Replication, unconfirmed);
        });
        self.went_on(shop)?;
        Ok(rests)
    }

    /// No volume turns under a pod, no workload comes over a volume that is not confirmed, no traffic to what is not live.
    fn went_on(&mut self, shop: &Shop) -> Result<(), TestCaseError> {
        let before = std::mem::replace(&mut self.standings, shop.standings());
        let now = &self.standings;
        // Where no role was known before, it may have been live.
        let closed = !is_closed(before[VOLUME]) && is_closed(now[VOLUME]);
        prop_assert!(!(closed && self.pods), "{before:?} -> {now:?}");
        let opened = is_closed(before[WORKLOAD]) && is_live(now[WORKLOAD]);
        prop_assert!(
            !opened || (self.confirmed && is_live(now[VOLUME])),
            "{before:?} -> {now:?}"
        );
        prop_assert!(
            is_live(now[WORKLOAD]) || !is_live(now[ROUTE]),
            "{:#?}",
            shop.stood
        );
        self.confirmed &= is_closed(before[VOLUME]) == is_closed(now[VOLUME]);
        self.pods |= is_live(now[WORKLOAD]);
        Ok(())
    }

    fn settle(&mut self, shop: &mut Shop) -> Result<(), TestCaseError> {
        for _ in 0..200 {
            if self.turn(shop)? {
                return Ok(());
            }
        }
        Err(TestCaseError::fail("never comes to rest"))
    }
}

/// The namespace is enrolled anew, whatever it was outside of enforcement.
fn come_back(shop: &mut Shop, truth: &mut Truth) -> Result<(), TestCaseError> {
    let registered = |shop: &Shop| {
        let status = shop.world.status();
        let led = status.transition.iter().flat_map(|walk| &walk.namespaces);
        status
            .namespaces
            .iter()
            .chain(led)
            .any(|name| name == "shop")
    };
    if shop.world.namespaces.is_empty() {
        // Until that is known, its coming back looks like somebody who tears its labels off.
        while registered(shop) {
            if truth.turn(shop)? {
                shop.world.now += SignedDuration::from_secs(60);
            }
        }
        shop.world.outside.clear();
        shop.world.enrol("shop");
        *truth = Truth {
            pods: true,
            confirmed: false,
            standings: shop.standings(),
        };
    }
    Ok(())
}

fn is_live(standing: ObjectStanding) -> bool {
    standing == ObjectStanding::Ruled(Role::Primary)
}

fn is_closed(standing: ObjectStanding) -> bool {
    standing == ObjectStanding::Ruled(Role::Secondary)
}

proptest! {
    #[test]
    fn objects_of_policies_move_in_the_safe_order_and_end_where_they_are_ordered(
        site in prop_oneof![Just(Role::Primary), Just(Role::Secondary)],
        events in proptest::collection::vec(event(), 0..160),
    ) {
        let mut shop = Shop::new(site);
        for name in ["a", "b"] {
            shop.policy(name, ALL);
        }
        let mut truth = Truth::of(&shop);
        let mut orders = 0;
        let order = |shop: &mut Shop, policy: usize, role, over, orders: &mut u32| {
            *orders += 1;
            let id = format!("r{orders}");
            shop.order(policy, role, Some((&id, if over { PEER } else { &[] })));
        };
        for event in events {
            match event {
                Event::Turn => {
                    truth.turn(&mut shop)?;
                }
                Event::Crash => {
                    shop.world.sweep = None;
                    shop.world.check = None;
                    shop.checks.fill(None);
                    shop.closing_look = None;
                }
                Event::Order(policy, role, over) => order(&mut shop, policy, role, over, &mut orders),
                Event::Site(role) if role != shop.world.site.spec.role => {
                    orders += 1;
                    shop.world.order(role, &format!("s{orders}"), PEER);
                }
                Event::Site(_) => {}
                Event::Leave(true) => {
                    let left = shop.world.namespaces.pop().map(|namespace| namespace.name);
                    shop.world.outside.extend(left);
                }
                Event::Leave(false) => come_back(&mut shop, &mut truth)?,
                Event::PodsEnd => truth.pods &= is_live(shop.standings()[WORKLOAD]),
                Event::Confirm => truth.confirmed = true,
                Event::Time(seconds) => shop.world.now += SignedDuration::from_secs(seconds),
            }
        }
        come_back(&mut shop, &mut truth)?;
        // In the end they agree, and somebody has seen to the peer, of all that there is then; pods end, and drivers answer.
        let role = shop.policies[0].spec.desired_state;
        for _ in 0..2 {
            for policy in 0..2 {
                order(&mut shop, policy, role, true, &mut orders);
            }
            for _ in 0..9 {
                truth.settle(&mut shop)?;
                truth.pods &= is_live(shop.standings()[WORKLOAD]);
                truth.confirmed = true;
                shop.world.now += SignedDuration::from_secs(60);
            }
        }
        if let Some(role) = role {
            prop_assert_eq!(shop.standings(), [ObjectStanding::Ruled(role); 4], "{:?}", shop.ready(0));
            prop_assert_eq!(shop.status(0).phase, Some(Phase::Stable));
        }
    }
}
