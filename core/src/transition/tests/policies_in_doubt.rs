//! FailoverPolicies whose objects or site change during their transition.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::shop::{ALL, PEER, ROUTE, Shop, VOLUME, WORKLOAD};
use super::*;
use crate::api::{Blocked, Mode};
use crate::namespace::{Enforcement, ObjectStanding};
use crate::object::ObjectKey;
use crate::transition::{CheckReport, Closing, Failing, closing};

fn block(shop: &mut Shop, at: StepName) {
    shop.world.blockers.insert(at, vec!["x"]);
}

const PRIMARY: ObjectStanding = ObjectStanding::Ruled(Role::Primary);
const SECONDARY: ObjectStanding = ObjectStanding::Ruled(Role::Secondary);

#[test]
fn the_end_of_a_conflict_demotes_no_volume_under_its_pods() {
    let mut shop = Shop::new(Role::Primary);
    block(&mut shop, StepName::Replication);
    let a = shop.policy("a", ALL);
    let b = shop.policy("b", &[VOLUME, WORKLOAD]);
    shop.order(b, Role::Primary, None);
    shop.settle();
    shop.order(a, Role::Secondary, None);
    shop.settle();
    assert_eq!(shop.standings(), [PRIMARY, PRIMARY, SECONDARY, SECONDARY]);
    block(&mut shop, StepName::PodsGone);
    // Somebody deletes the other policy.
    shop.policies.remove(b);
    shop.checks.remove(b);
    shop.settle();
    assert_eq!(shop.standings()[VOLUME], PRIMARY, "{:?}", shop.history);
}

#[test]
fn workloads_do_not_start_on_a_refused_volume() {
    let mut shop = Shop::new(Role::Secondary);
    let tenant = shop.policy("tenant", &[VOLUME]);
    shop.order(tenant, Role::Secondary, None);
    let a = shop.policy("a", ALL);
    shop.order(a, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    let [volume, workload, ..] = shop.standings();
    assert!(
        volume == PRIMARY || workload == SECONDARY,
        "{:?}",
        shop.standings()
    );
}

#[test]
fn the_guards_of_a_volume_added_midway_are_evaluated() {
    let mut shop = Shop::new(Role::Secondary);
    block(&mut shop, StepName::Available);
    let a = shop.policy("a", &[WORKLOAD, ROUTE]);
    shop.order(a, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    assert_eq!(shop.standings()[WORKLOAD], PRIMARY);
    // The volume is degraded: a guard would block it.
    block(&mut shop, StepName::Guards);
    shop.name(a, ALL);
    shop.settle();
    shop.later(30);
    assert_eq!(shop.standings()[VOLUME], SECONDARY);
}

#[test]
fn a_check_from_before_volumes_were_promoted_again_demotes_none() {
    let mut shop = Shop::new(Role::Secondary);
    let open = |shop: &mut Shop, id: &str| {
        let a = shop.policy("a", ALL);
        shop.write(a, |spec| spec.mode = Mode::Unsafe);
        shop.order(a, Role::Primary, Some((id, PEER)));
        shop.settle();
        assert_eq!(shop.standings(), [PRIMARY; 4]);
    };
    open(&mut shop, "r1");
    shop.delete_policies();
    shop.settle();
    assert_eq!(shop.standings(), [SECONDARY; 4]);
    shop.world.now += SignedDuration::from_secs(4);
    open(&mut shop, "r2");
    block(&mut shop, StepName::PodsGone);
    shop.world.now += SignedDuration::from_secs(4);
    shop.delete_policies();
    shop.settle();
    assert_eq!(shop.standings()[VOLUME], PRIMARY, "{:?}", shop.history);
}

#[test]
fn a_policy_whose_objects_conform_is_not_stalled() {
    let mut shop = Shop::new(Role::Secondary);
    let a = shop.policy("a", ALL);
    shop.order(a, Role::Primary, None);
    shop.settle();
    assert_eq!(shop.status(a).phase, Some(Phase::Stalled));
    shop.world.order(Role::Primary, "s1", PEER);
    shop.settle();
    shop.later(600);
    assert_eq!(shop.standings(), [PRIMARY; 4]);
    assert_eq!(
        shop.status(a).phase,
        Some(Phase::Stable),
        "{:?}",
        shop.ready(a)
    );
}

#[test]
fn a_request_id_counts_once_also_after_another() {
    let mut shop = Shop::new(Role::Secondary);
    let a = shop.policy("a", ALL);
    shop.order(a, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    shop.order(a, Role::Secondary, Some(("r2", &[])));
    shop.settle();
    shop.order(a, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    assert_eq!(shop.standings(), [SECONDARY; 4]);
}

#[test]
fn a_check_that_began_before_an_edit_demotes_no_volume() {
    let mut shop = Shop::new(Role::Primary);
    block(&mut shop, StepName::PodsGone);
    let a = shop.policy("a", &[WORKLOAD]);
    shop.order(a, Role::Secondary, None);
    shop.settle();
    let check = shop.checks[a].clone().unwrap().check;
    // A check begins (of the objects that the policy named until now), then the volume is added.
    shop.name(a, &[VOLUME, WORKLOAD]);
    shop.checks[a] = None;
    shop.reconcile();
    shop.world.now += SignedDuration::from_secs(1);
    // It ends: none of the old objects blocks any more.
    shop.checks[a] = Some(CheckReport {
        check,
        total: 1,
        left: 0,
        blocked: vec![],
        not_waited_for: vec![],
        finished_at: shop.world.now,
    });
    shop.settle();
    assert_eq!(shop.standings()[VOLUME], PRIMARY);
}

#[test]
fn an_object_that_no_rule_reached_is_not_promoted_without_guards() {
    let mut shop = Shop::new(Role::Secondary);
    shop.world.namespaces[0].state.enforcement = Some(Enforcement::Policy);
    shop.settle();
    assert_eq!(shop.standings(), [ObjectStanding::Free; 4]);
    let a = shop.policy("a", ALL);
    // No request, so no override of the peer guard.
    shop.order(a, Role::Primary, None);
    shop.settle();
    assert_ne!(
        shop.standings()[VOLUME],
        PRIMARY,
        "{:?} {:?}",
        shop.ready(a),
        shop.status(a).epoch
    );
}

#[test]
fn a_namespace_that_comes_back_midway_is_not_demoted_at_once() {
    let mut shop = Shop::new(Role::Primary);
    block(&mut shop, StepName::Replication);
    let a = shop.policy("a", ALL);
    shop.order(a, Role::Secondary, None);
    shop.settle();
    assert_eq!(shop.standings(), [SECONDARY; 4]);
    let left = shop.world.namespaces.remove(0);
    shop.world.outside.push(left.name);
    shop.history.clear();
    shop.world.enrol("other");
    for _ in 0..20 {
        // `standings` reads the first namespace: "other" has no objects.
        shop.reconcile();
    }
    // Its pods have started again outside enforcement.
    block(&mut shop, StepName::PodsGone);
    shop.world.namespaces.clear();
    shop.world.outside.clear();
    shop.world.enrol("shop");
    shop.settle();
    assert_eq!(shop.standings()[VOLUME], PRIMARY, "{:?}", shop.history);
}

#[test]
fn the_sites_promotion_waits_for_the_volumes_that_policies_promote() {
    let mut shop = Shop::new(Role::Secondary);
    block(&mut shop, StepName::Replication);
    let a = shop.policy("a", ALL);
    assert!(shop.promoting().is_empty());
    shop.order(a, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    assert_eq!(shop.standings(), [PRIMARY, SECONDARY, SECONDARY, SECONDARY]);
    // It no longer follows its layer, but its workload does.
    let waited_for: Vec<_> = shop.promoting().iter().map(ToString::to_string).collect();
    assert_eq!(waited_for, ["shop/volumereplications/data"]);
    shop.world.blockers.clear();
    shop.later(10);
    assert_eq!(shop.standings(), [PRIMARY; 4]);
    assert!(shop.promoting().is_empty());
}

#[test]
fn an_order_that_does_not_come_into_force_can_be_overridden() {
    let mut shop = Shop::new(Role::Secondary);
    let (fast, slow) = (shop.policy("fast", ALL), shop.policy("slow", &[WORKLOAD]));
    let overrides: &[&str] = &["peer-unknown", "not-conforming"];
    shop.order(fast, Role::Primary, Some(("r1", overrides)));
    shop.order(slow, Role::Primary, None);
    shop.settle();
    shop.later(31);
    shop.later(600);
    let mut expected = [PRIMARY; 4];
    expected[WORKLOAD] = SECONDARY;
    assert_eq!(shop.standings(), expected, "{:?}", shop.ready(fast));
}

#[test]
fn a_namespace_that_comes_back_midway_is_not_promoted_at_once() {
    let mut shop = Shop::new(Role::Secondary);
    block(&mut shop, StepName::Available);
    let a = shop.policy("a", ALL);
    shop.order(a, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    shop.world.namespaces.clear();
    shop.world.enrol("other");
    for _ in 0..20 {
        shop.reconcile();
    }
    // The volume has become stale meanwhile.
    block(&mut shop, StepName::Guards);
    block(&mut shop, StepName::Replication);
    shop.world.namespaces.clear();
    shop.world.enrol("shop");
    shop.history.clear();
    shop.settle();
    shop.later(30);
    assert_ne!(shop.standings()[WORKLOAD], PRIMARY, "{:?}", shop.history);
}

#[test]
fn a_volume_in_use_does_not_keep_another_primary() {
    let mut shop = Shop::new(Role::Secondary);
    shop.policy("a", &[VOLUME]);
    let key = |name: &str| ObjectKey {
        namespace: "shop".into(),
        resource: "volumereplications".into(),
        name: name.into(),
    };
    let volumes: BTreeSet<_> = [key("free"), key("used")].into();
    let observation = shop.world.observation(None);
    let Closing::Check(check) = closing(&observation, &volumes) else {
        panic!()
    };
    let report = CheckReport {
        check,
        total: 2,
        left: 1,
        blocked: vec![Blocked {
            guard: "pods-running".into(),
            object: Some("shop/volumereplications/used".into()),
            message: String::new(),
        }],
        not_waited_for: vec![],
        finished_at: shop.world.now,
    };
    let observation = shop.world.observation(Some(&report));
    let free = BTreeSet::from([key("free")]);
    assert_eq!(closing(&observation, &volumes), Closing::Unused(free));
}

/// Reconciles for this long while no sweep succeeds.
fn fail_sweeps(shop: &mut Shop, seconds: i64) {
    let since = shop.world.now;
    while shop.world.now < since + SignedDuration::from_secs(seconds) {
        shop.reconcile_with(|world| {
            world.sweep = None;
            world.failing_sweep = Some(Failing {
                of: world.status().revision,
                since,
                why: "cannot list deployments.apps".to_owned(),
            });
        });
        shop.world.now += SignedDuration::from_secs(1);
    }
}

#[test]
fn sweeps_that_keep_failing_block_a_policy_until_they_are_overridden() {
    let mut shop = Shop::new(Role::Primary);
    let a = shop.policy("a", ALL);
    shop.order(a, Role::Secondary, None);
    fail_sweeps(&mut shop, 120);
    let status = shop.status(a);
    assert_eq!(status.phase, Some(Phase::Stalled));
    let steps = &status.transition.as_ref().unwrap().steps;
    let blocked: Vec<_> = steps.iter().flat_map(|step| &step.blocked).collect();
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    assert_eq!(blocked[0].guard, GuardId::NotVerified.to_string());
    assert_eq!(shop.standings()[WORKLOAD], PRIMARY);

    let overrides: &[&str] = &["not-verified", "not-conforming"];
    shop.order(a, Role::Secondary, Some(("r1", overrides)));
    fail_sweeps(&mut shop, 300);
    assert_eq!(shop.standings(), [SECONDARY; 4], "{:?}", shop.ready(a));
}
