//! FailoverPolicies that move their objects separately.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::shop::{ALL, PEER, RELEASE, ROUTE, Shop, VOLUME, WORKLOAD};
use super::*;
use crate::api::ManagedResourceReason;
use crate::namespace::ObjectStanding;

/// A demotion of all objects that waits for a pod.
fn waiting_for_pods() -> (Shop, usize) {
    let mut shop = Shop::new(Role::Primary);
    let blockers = &mut shop.world.blockers;
    blockers.insert(StepName::PodsGone, vec!["web-1"]);
    let policy = shop.policy("web", ALL);
    shop.order(policy, Role::Secondary, None);
    shop.settle();
    (shop, policy)
}

#[test]
fn a_policy_demotes_its_objects_layer_by_layer_without_the_site() {
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
    let entry = &status.history[0];
    assert_eq!(
        (entry.id.as_str(), entry.to, entry.outcome, entry.objects),
        ("r1", Role::Secondary, Outcome::Succeeded, 4)
    );
    let steps: Vec<_> = entry.steps.iter().map(|step| step.name.as_str()).collect();
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
fn a_promotion_of_a_policy_needs_the_peer_guard_and_reverses_the_order() {
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
fn an_override_of_a_request_applies_only_once() {
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
fn volumes_of_a_policy_wait_for_its_pods_until_the_wait_is_overridden() {
    let (mut shop, policy) = waiting_for_pods();
    assert_eq!(shop.ready(policy).1, "Progressing");
    shop.later(121);
    let (_, reason, message) = shop.ready(policy);
    assert_eq!(
        (reason, message),
        ("Stalled", "pods-running (shop/things/web-1): blocks")
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
fn a_reversed_transition_of_a_policy_starts_from_the_current_layers() {
    let (mut shop, policy) = waiting_for_pods();
    shop.history.clear();
    shop.order(policy, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    assert_eq!(shop.standings(), [ObjectStanding::Ruled(Role::Primary); 4]);
    let volume =
        |standings: &[ObjectStanding; 4]| standings[VOLUME] == ObjectStanding::Ruled(Role::Primary);
    assert!(shop.history.iter().all(volume), "{:?}", shop.history);
}

#[test]
fn an_added_object_moves_while_the_others_stay() {
    let mut shop = Shop::new(Role::Secondary);
    let policy = shop.policy("web", &[VOLUME, WORKLOAD]);
    shop.order(policy, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    shop.history.clear();
    shop.name(policy, ALL);
    shop.settle();
    // No override of the peer guard was given for these.
    assert_eq!(shop.status(policy).phase, Some(Phase::Stalled));
    shop.order(policy, Role::Primary, Some(("r2", PEER)));
    shop.settle();
    assert_eq!(shop.standings(), [ObjectStanding::Ruled(Role::Primary); 4]);
    let live = |s: &[ObjectStanding; 4]| {
        s[VOLUME] == s[WORKLOAD] && s[VOLUME] == ObjectStanding::Ruled(Role::Primary)
    };
    assert!(shop.history.iter().all(live), "{:?}", shop.history);
}

#[test]
fn an_object_added_to_a_passed_layer_is_waited_for() {
    let mut shop = Shop::new(Role::Primary);
    shop.world
        .blockers
        .insert(StepName::Replication, vec!["other"]);
    let policy = shop.policy("web", &[ROUTE]);
    shop.order(policy, Role::Secondary, None);
    shop.settle();
    // All layers are ordered by now; the pods of the new object still exist.
    shop.world
        .blockers
        .insert(StepName::PodsGone, vec!["web-1"]);
    shop.name(policy, ALL);
    shop.settle();
    let [volume, workload, ..] = shop.standings();
    assert_eq!(workload, ObjectStanding::Ruled(Role::Secondary));
    assert_eq!(volume, ObjectStanding::Ruled(Role::Primary));
    shop.world.blockers.clear();
    shop.later(10);
    assert_eq!(
        shop.standings(),
        [ObjectStanding::Ruled(Role::Secondary); 4]
    );
}

#[test]
fn a_policy_waits_for_the_transition_of_the_site() {
    let mut shop = Shop::new(Role::Primary);
    shop.world.blockers.insert(StepName::PodsGone, vec!["x"]);
    let policy = shop.policy("web", ALL);
    shop.order(policy, Role::Secondary, None);
    shop.settle();
    shop.world.order(Role::Secondary, "s1", &[]);
    shop.settle();
    let message = shop.ready(policy).2;
    assert!(message.ends_with(WAITING_FOR_SITE), "{message}");
    shop.world.blockers.clear();
    shop.later(10);
    assert_eq!(shop.world.roles(), [Roles::all(Role::Secondary)]);
    assert_eq!(shop.status(policy).phase, Some(Phase::Stable));
    assert_eq!(shop.status(policy).history[0].outcome, Outcome::Succeeded);
}

const WAITING_FOR_SITE: &str = "waiting for the transition of the site to end";

#[test]
fn the_faster_of_two_policies_waits_for_the_other_and_names_it() {
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
fn an_object_that_does_not_conform_blocks_only_its_own_policy() {
    let mut shop = Shop::new(Role::Primary);
    shop.world.stubborn = 1; // shop/deployments/stubborn-0
    let policy = shop.policy("web", ALL);
    shop.order(policy, Role::Secondary, None);
    shop.settle();
    assert_eq!(shop.status(policy).phase, Some(Phase::Stable));
    // If not all blockers are named, one may be its own.
    shop.world.stubborn = 11;
    shop.order(policy, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    assert_eq!(shop.status(policy).phase, Some(Phase::Stalled));
    assert!(shop.ready(policy).2.starts_with("not-conforming"));
}

#[test]
fn removing_the_state_ends_the_transition() {
    let mut shop = Shop::new(Role::Primary);
    shop.world
        .blockers
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
fn volumes_that_nothing_orders_to_be_active_become_passive_last_and_unused() {
    let mut shop = Shop::new(Role::Secondary);
    let policy = shop.policy("web", ALL);
    shop.order(policy, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    shop.world
        .blockers
        .insert(StepName::PodsGone, vec!["web-1"]);
    shop.delete_policies();
    shop.settle();
    shop.later(600);
    let mut expected = [ObjectStanding::Ruled(Role::Secondary); 4];
    expected[VOLUME] = ObjectStanding::Ruled(Role::Primary);
    assert_eq!(shop.standings(), expected);
    let deferred = shop.compiled(&BTreeSet::new()).held;
    assert!(
        deferred[0]
            .why
            .starts_with("volumereplications/data stays primary while pods use it"),
        "{deferred:?}"
    );
    shop.world.blockers.clear();
    shop.later(5);
    assert_eq!(
        shop.standings(),
        [ObjectStanding::Ruled(Role::Secondary); 4]
    );
}

#[test]
fn an_old_check_demotes_no_volume() {
    let mut shop = Shop::new(Role::Secondary);
    let policy = shop.policy("web", ALL);
    shop.order(policy, Role::Primary, Some(("r1", PEER)));
    shop.settle();
    shop.delete_policies();
    // Until the users of the volumes have been checked; then no event comes for a while.
    while shop.closing_check.is_none() {
        shop.reconcile();
    }
    shop.world.now += SignedDuration::from_secs(11);
    shop.world
        .blockers
        .insert(StepName::PodsGone, vec!["web-1"]);
    shop.settle();
    assert_eq!(
        shop.standings()[VOLUME],
        ObjectStanding::Ruled(Role::Primary)
    );
}
