//! FailoverPolicies and their site under every sequence of events, in a cluster whose checks are correct.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::shop::{ALL, PEER, ROUTE, Shop, VOLUME, WORKLOAD};
use super::*;
use crate::RuleSet;
use crate::namespace::{ExemptLabel, ObjectStanding};

/// Events of a controller and its cluster.
#[derive(Clone, Debug)]
enum Event {
    Turn,
    /// Killed and started again: its memory is lost.
    Crash,
    /// Of one of the two policies.
    Order(usize, Option<Role>, bool),
    Site(Role),
    /// The namespace leaves, or comes back without entries.
    Leave(bool),
    /// The last pod ends, if none is wanted.
    PodsEnd,
    /// The driver of the volume confirms its ordered state.
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

/// The actual state, as opposed to the reported one.
#[derive(Debug)]
struct Truth {
    pods: bool,
    /// The volume has its ordered state.
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

    /// One reconcile, in which the site and the policies each check the objects of their transitions.
    fn reconcile(&mut self, shop: &mut Shop) -> Result<bool, TestCaseError> {
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
            world.blockers.remove(&at);
            if is_so {
                world.blockers.insert(at, vec!["x"]);
            }
        };
        set(&mut shop.world, StepName::PodsGone, pods && of_site);
        set(
            &mut shop.world,
            StepName::Replication,
            unconfirmed && waited_for,
        );
        let idle = shop.reconcile_with(|world| {
            set(world, StepName::PodsGone, pods);
            set(world, StepName::Replication, unconfirmed);
        });
        self.check_order(shop)?;
        Ok(idle)
    }

    /// No volume is demoted under a pod, no workload starts on a volume that is not confirmed, no traffic goes to an
    /// inactive workload.
    fn check_order(&mut self, shop: &Shop) -> Result<(), TestCaseError> {
        let before = std::mem::replace(&mut self.standings, shop.standings());
        let now = &self.standings;
        // Without a known role, it may have been active.
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
            shop.history
        );
        self.confirmed &= is_closed(before[VOLUME]) == is_closed(now[VOLUME]);
        self.pods |= is_live(now[WORKLOAD]);
        Ok(())
    }

    fn settle(&mut self, shop: &mut Shop) -> Result<(), TestCaseError> {
        for _ in 0..200 {
            if self.reconcile(shop)? {
                return Ok(());
            }
        }
        Err(TestCaseError::fail("never becomes stable"))
    }
}

/// The namespace is enrolled again, from any state outside enforcement.
fn come_back(shop: &mut Shop, truth: &mut Truth) -> Result<(), TestCaseError> {
    let registered = |shop: &Shop| {
        let status = shop.world.status();
        let taken_over = status
            .transition
            .iter()
            .flat_map(|transition| &transition.namespaces);
        status
            .namespaces
            .iter()
            .chain(taken_over)
            .any(|name| name == "shop")
    };
    if shop.world.namespaces.is_empty() {
        // Until this is observed, its return looks like a label that is removed repeatedly.
        while registered(shop) {
            if truth.reconcile(shop)? {
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
                    truth.reconcile(&mut shop)?;
                }
                Event::Crash => {
                    shop.world.sweep = None;
                    shop.world.check = None;
                    shop.checks.fill(None);
                    shop.closing_check = None;
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
        // At the end the policies agree, the peer guard is overridden for all existing objects, pods end, and drivers
        // confirm.
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
