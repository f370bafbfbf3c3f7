//! FailoverPolicies that move their objects on their own.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::shop::{ALL, PEER, RELEASE, ROUTE, Shop, VOLUME, WORKLOAD};
use super::*;
use crate::api::ManagedResourceReason;
use crate::namespace::ObjectStanding;

/// A demotion of all of it that waits for a pod.
fn waiting_for_pods() -> (Shop, usize) {
    let mut shop = Shop::new(Role::Primary);
    let in_the_way = &mut shop.world.in_the_way;
    in_the_way.insert(StepName::PodsGone, vec!["web-1"]);
    let policy = shop.policy("web", ALL);
    shop.order(policy, Role::Secondary, None);
    shop.settle();
    (shop, policy)
}

#[test]
fn it_demotes_its_objects_layer_by_layer_and_leaves_the_site_alone() {
    let mut shop = Shop::new(Role::Primary);
    let policy = shop.policy("web", ALL);
    shop.order(policy, Role::Secondary, Some(("r1", &[])));
    shop.settle();
    assert_eq!(
        shop.order_of(Role::Secondary),
        [ROUTE, RELEASE, WORKLOAD, VOLUME]
    );
    assert_eq!(shop.world.roles(), [Roles::all(Role::Primary)]);
    let status = shop.status(policy);
    assert_eq!(status.phase, Some(Phase::Stable));
    assert_eq!(shop.ready(policy).1, "Enforced");
    let walk = &status.history[0];
    assert_eq!(
        (walk.id.as_str(), walk.to, walk.outcome, walk.objects),
        ("r1", Role::Secondary, Outcome::Succeeded, 4)
    );
    let steps: Vec<_> = walk.steps.iter().map(|step| step.name.as_str()).collect();
    let expected = [
        "guards",
        "traffic",
        "gitops",
        "workloads",
        "podsGone",
        "volumes",
        "replication",
    ];
    assert_eq!(steps, expected);
}

#[test]
fn its_promotion_asks_for_the_peer_and_goes_the_other_way() {
    let mut shop = Shop::new(Role::Secondary);
    let policy = shop.policy("web", ALL);
    shop.order(policy, Role::Primary, None);
    shop.settle();
    assert_eq!(
        shop.standings(),
        [ObjectStanding::Ruled(Role::Secondary); 4]
    );
    let (ready, reason, message) = shop.ready(policy);
    assert_eq!((ready, reason), ("False", "Stalled"));
    assert!(
        message.starts_with("peer-unknown: ") && message.contains("spec.request.overrides"),
        "{message}"
    );

    shop.order(policy, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    assert_eq!(shop.order_of(Role::Primary)[0], VOLUME);
    assert_eq!(shop.order_of(Role::Primary)[3], ROUTE);
    assert_eq!(shop.status(policy).phase, Some(Phase::Stable));
    assert_eq!(shop.status(policy).epoch, crate::Epoch(2), "one a claim");
}

#[test]
fn what_a_request_overrode_once_it_does_not_override_again() {
    let mut shop = Shop::new(Role::Secondary);
    let policy = shop.policy("web", ALL);
    let request = Some(("r1", PEER));
    shop.order(policy, Role::Primary, request);
    shop.settle();
    shop.order(policy, Role::Secondary, request);
    shop.settle();
    assert_eq!(
        shop.standings(),
        [ObjectStanding::Ruled(Role::Secondary); 4]
    );
    shop.order(policy, Role::Primary, request);
    shop.settle();
    assert_eq!(
        shop.standings(),
        [ObjectStanding::Ruled(Role::Secondary); 4]
    );
    assert_eq!(shop.status(policy).phase, Some(Phase::Stalled));
}

#[test]
fn its_volumes_wait_for_its_pods_until_an_override_that_gives_up_waiting() {
    let (mut shop, policy) = waiting_for_pods();
    assert_eq!(shop.ready(policy).1, "Progressing");
    shop.later(121);
    let (_, reason, message) = shop.ready(policy);
    assert_eq!(
        (reason, message),
        ("Stalled", "pods-running (shop/things/web-1): is in the way")
    );
    assert_eq!(
        shop.standings()[VOLUME],
        ObjectStanding::Ruled(Role::Primary)
    );

    shop.order(policy, Role::Secondary, Some(("r1", &["pods-running"])));
    shop.settle();
    assert_eq!(
        shop.standings(),
        [ObjectStanding::Ruled(Role::Secondary); 4]
    );
    let outcomes: Vec<_> = shop
        .status(policy)
        .history
        .iter()
        .map(|h| h.outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::Succeeded, Outcome::Superseded]);
}

#[test]
fn turned_round_in_the_middle_it_goes_back_from_where_it_is() {
    let (mut shop, policy) = waiting_for_pods();
    shop.stood.clear();
    shop.order(policy, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    assert_eq!(shop.standings(), [ObjectStanding::Ruled(Role::Primary); 4]);
    let volume =
        |standings: &[ObjectStanding; 4]| standings[VOLUME] == ObjectStanding::Ruled(Role::Primary);
    assert!(shop.stood.iter().all(volume), "{:?}", shop.stood);
}

#[test]
fn an_object_that_is_added_walks_while_the_others_stay() {
    let mut shop = Shop::new(Role::Secondary);
    let policy = shop.policy("web", &[VOLUME, WORKLOAD]);
    shop.order(policy, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    shop.stood.clear();
    shop.name(policy, ALL);
    shop.settle();
    // Nobody has said anything of the peer for these.
    assert_eq!(shop.status(policy).phase, Some(Phase::Stalled));
    shop.order(policy, Role::Primary, Some(("r2", PEER)));
    shop.settle();
    assert_eq!(shop.standings(), [ObjectStanding::Ruled(Role::Primary); 4]);
    let live = |s: &[ObjectStanding; 4]| {
        s[VOLUME] == s[WORKLOAD] && s[VOLUME] == ObjectStanding::Ruled(Role::Primary)
    };
    assert!(shop.stood.iter().all(live), "{:?}", shop.stood);
}

#[test]
fn an_object_that_is_added_behind_the_walk_is_waited_for() {
    let mut shop = Shop::new(Role::Primary);
    shop.world
        .in_the_way
        .insert(StepName::Replication, vec!["other"]);
    let policy = shop.policy("web", &[ROUTE]);
    shop.order(policy, Role::Secondary, None);
    shop.settle();
    // All layers are ordered by now; the pods of what comes are there.
    shop.world
        .in_the_way
        .insert(StepName::PodsGone, vec!["web-1"]);
    shop.name(policy, ALL);
    shop.settle();
    let [volume, workload, ..] = shop.standings();
    assert_eq!(workload, ObjectStanding::Ruled(Role::Secondary));
    assert_eq!(volume, ObjectStanding::Ruled(Role::Primary));
    shop.world.in_the_way.clear();
    shop.later(10);
    assert_eq!(
        shop.standings(),
        [ObjectStanding::Ruled(Role::Secondary); 4]
    );
}

#[test]
fn it_stands_still_while_the_site_walks_and_goes_on_after() {
    let mut shop = Shop::new(Role::Primary);
    shop.world.in_the_way.insert(StepName::PodsGone, vec!["x"]);
    let policy = shop.policy("web", ALL);
    shop.order(policy, Role::Secondary, None);
    shop.settle();
    shop.world.order(Role::Secondary, "s1", &[]);
    shop.settle();
    let message = shop.ready(policy).2;
    assert!(message.ends_with(STANDING_STILL), "{message}");
    shop.world.in_the_way.clear();
    shop.later(10);
    assert_eq!(shop.world.roles(), [Roles::all(Role::Secondary)]);
    assert_eq!(shop.status(policy).phase, Some(Phase::Stable));
    assert_eq!(shop.status(policy).history[0].outcome, Outcome::Succeeded);
}

const STANDING_STILL: &str = "waiting for the transition of the site to end";

#[test]
fn of_two_that_promote_what_both_name_the_faster_waits_and_says_for_whom() {
    let mut shop = Shop::new(Role::Secondary);
    let (fast, slow) = (shop.policy("fast", ALL), shop.policy("slow", &[WORKLOAD]));
    shop.order(fast, Role::Primary, Some(("r1", PEER)));
    shop.order(slow, Role::Primary, None);
    shop.settle();
    shop.later(31);
    assert_eq!(
        shop.standings()[WORKLOAD],
        ObjectStanding::Ruled(Role::Secondary)
    );
    let message = shop.ready(fast).2;
    assert!(message.contains("another FailoverPolicy"), "{message}");
    shop.order(slow, Role::Primary, Some(("r2", PEER)));
    shop.later(1);
    assert_eq!(shop.standings(), [ObjectStanding::Ruled(Role::Primary); 4]);
}

#[test]
fn an_object_that_will_not_conform_holds_the_walk_of_its_own_policy_alone() {
    let mut shop = Shop::new(Role::Primary);
    shop.world.stubborn = 1; // shop/deployments/stubborn-0
    let policy = shop.policy("web", ALL);
    shop.order(policy, Role::Secondary, None);
    shop.settle();
    assert_eq!(shop.status(policy).phase, Some(Phase::Stable));
    // Of more than are named any may be its own.
    shop.world.stubborn = 11;
    shop.order(policy, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    assert_eq!(shop.status(policy).phase, Some(Phase::Stalled));
    assert!(shop.ready(policy).2.starts_with("not-conforming"));
}

#[test]
fn without_a_state_there_is_no_walk_and_one_under_way_ends() {
    let mut shop = Shop::new(Role::Primary);
    shop.world
        .in_the_way
        .insert(StepName::PodsGone, vec!["web-1"]);
    let policy = shop.policy("web", ALL);
    shop.settle();
    assert_eq!(shop.status(policy).phase, None);
    shop.order(policy, Role::Secondary, None);
    shop.settle();
    shop.write(policy, |spec| spec.desired_state = None);
    shop.settle();
    assert_eq!(shop.status(policy).phase, None);
    assert!(shop.status(policy).transition.is_none());
    let refused = shop.status(policy).resources[WORKLOAD].reason;
    assert_eq!(refused, Some(ManagedResourceReason::Waiting));
}

#[test]
fn once_nothing_orders_them_to_be_live_volumes_close_after_all_else_when_nothing_uses_them() {
    let mut shop = Shop::new(Role::Secondary);
    let policy = shop.policy("web", ALL);
    shop.order(policy, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    shop.world
        .in_the_way
        .insert(StepName::PodsGone, vec!["web-1"]);
    shop.delete_policies();
    shop.settle();
    shop.later(600);
    let mut stands = [ObjectStanding::Ruled(Role::Secondary); 4];
    stands[VOLUME] = ObjectStanding::Ruled(Role::Primary);
    assert_eq!(shop.standings(), stands);
    let held = shop.compiled(&BTreeSet::new()).held;
    assert!(
        held[0]
            .why
            .starts_with("volumereplications/data stays primary while pods use it"),
        "{held:?}"
    );
    shop.world.in_the_way.clear();
    shop.later(5);
    assert_eq!(
        shop.standings(),
        [ObjectStanding::Ruled(Role::Secondary); 4]
    );
}

#[test]
fn what_was_seen_of_volumes_too_long_ago_closes_none() {
    let mut shop = Shop::new(Role::Secondary);
    let policy = shop.policy("web", ALL);
    shop.order(policy, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    shop.delete_policies();
    // Until it has been checked what uses them; then nothing comes about for a while.
    while shop.closing_look.is_none() {
        shop.turn();
    }
    shop.world.now += SignedDuration::from_secs(11);
    shop.world
        .in_the_way
        .insert(StepName::PodsGone, vec!["web-1"]);
    shop.settle();
    assert_eq!(
        shop.standings()[VOLUME],
        ObjectStanding::Ruled(Role::Primary)
    );
}
