//! The transition, driven by a small model of a cluster.

mod documented;
mod later_version;
mod membership;
mod model;
mod newcomers;
mod policies;
mod policies_in_doubt;
mod policies_property;
mod property;
mod settled;
mod shop;
mod sizes;
mod step_order;
mod unverified;
mod world;

use jiff::Timestamp;

use super::*;
use crate::api::{Outcome, Pause, Phase, StepName, StepState, condition};
use crate::guards::{Facts, GuardId};
use crate::namespace::ObjectRole;
use crate::role::{Layer, Role, Roles};
use world::{EVERY, World};

fn settled_primary() -> World {
    let mut world = World::new(Role::Primary, &["blog", "shop"]);
    world.settle();
    world
}

#[test]
fn a_new_primary_site_is_labelled_and_asks_no_peer() {
    let world = settled_primary();
    assert_eq!(world.status().phase, Some(Phase::Stable));
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
    assert_eq!(world.status().namespaces, ["blog", "shop"]);
    assert_eq!(world.status().history[0].id, "birth-east");
    assert_eq!(world.status().history[0].from, None);
    assert_eq!(world.condition(condition::READY), ("True", "Stable"));
}

#[test]
fn a_demotion_labels_sweeps_and_is_recorded_with_who_and_why() {
    let mut world = settled_primary();
    let revision = world.status().revision;
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary); 2]);
    assert_eq!(world.status().revision, revision + 4, "one for each layer");
    assert!(world.status().transition.is_none());
    let last = &world.status().history[0];
    assert_eq!(
        (last.id.as_str(), last.from, last.to),
        ("r1", Some(Role::Primary), Role::Secondary)
    );
    assert_eq!(
        (
            last.requested_by.as_str(),
            last.reason.as_str(),
            last.outcome
        ),
        ("alice", "drill", Outcome::Succeeded)
    );
    assert_eq!(last.objects, 4 * 20);
    assert_eq!(world.status().observed_generation, Some(2));
}

#[test]
fn the_journal_is_written_before_the_namespaces_are_labelled() {
    let mut world = settled_primary();
    world.order(Role::Secondary, "r1", &[]);
    while !matches!(world.decide(), Act::Label(_)) {
        world.step();
    }
    let transition = world.status().transition.as_ref().unwrap();
    let traffic = &transition.steps[1];
    assert_eq!(
        (traffic.name, traffic.state),
        (StepName::Traffic, StepState::Running)
    );
    let ordered = Roles {
        traffic: Some(Role::Secondary),
        ..Roles::all(Role::Primary)
    };
    assert_eq!(world.status().layers, ordered);
}

#[test]
fn a_new_namespace_on_a_secondary_is_demoted_by_itself() {
    let mut world = settled_primary();
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    world.blockers.insert(StepName::PodsGone, vec!["web"]);
    world.enrol("api");
    world.settle();
    let volumes = |world: &World| -> Vec<_> {
        world
            .roles()
            .into_iter()
            .map(|roles| roles.volumes)
            .collect()
    };
    let secondary = Some(Role::Secondary);
    assert_eq!(volumes(&world), [None, secondary, secondary]);
    assert_eq!(world.roles()[0].workloads, secondary);
    assert_eq!(world.status().namespaces, ["blog", "shop"]);
    world.blockers.clear();
    world.now += CHECK_AGAIN.1;
    world.settle();
    assert_eq!(volumes(&world), [secondary; 3]);
    assert_eq!(world.status().namespaces, ["api", "blog", "shop"]);
    assert_eq!(world.status().history[0].namespaces, ["api"]);
}

#[test]
fn a_namespace_that_comes_during_a_transition_waits_for_its_end() {
    let mut world = settled_primary();
    world.blockers.insert(StepName::PodsGone, vec!["web"]);
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    world.enrol("api");
    world.enforcers = vec![Enforcer {
        name: "webhook-a".into(),
        revision: i64::MAX,
        namespaces: 3,
        last_seen: world.now,
    }];
    world.settle();
    assert_eq!(world.roles()[0], Roles::default());
    assert_eq!(
        world.namespaces[0].state.revision,
        Some(world.status().revision)
    );
    world.blockers.clear();
    world.now += CHECK_AGAIN.1;
    world.settle();
    let history = &world.status().history;
    assert_eq!(history[1].id, "r1");
    assert_eq!(history[0].namespaces, ["api"]);
    assert_eq!(world.roles(), [Roles::all(Role::Secondary); 3]);
}

#[test]
fn a_promotion_without_peer_waits_until_the_guard_is_overridden_by_name() {
    let mut world = World::new(Role::Secondary, &["shop"]);
    world.settle();
    world.order(Role::Primary, "r1", &[]);
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stalled));
    assert_eq!(world.roles(), [Roles::all(Role::Secondary)]);
    assert_eq!(world.blocked_by(), [GuardId::PeerUnknown.as_str()]);
    assert_eq!(world.condition(condition::READY), ("False", "Stalled"));

    world.order(Role::Primary, "r2", &["peer-unknown"]);
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stable));
    assert_eq!(world.roles(), [Roles::all(Role::Primary)]);
    let ends: Vec<_> = world
        .status()
        .history
        .iter()
        .map(|h| (h.id.as_str(), h.outcome))
        .collect();
    assert_eq!(
        ends[..2],
        [("r2", Outcome::Succeeded), ("r1", Outcome::Superseded)]
    );
}

#[test]
fn a_site_that_lost_its_status_has_the_role_of_its_namespaces_and_its_guards() {
    let mut world = World::new(Role::Secondary, &["shop"]);
    world.settle();
    world.site.status = None;
    world.sweep = None;
    world.site.spec.role = Role::Primary; // deleted, and created anew as primary
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary)]);
    assert_eq!(world.blocked_by(), ["peer-unknown"]);
}

#[test]
fn a_new_site_continues_the_revisions_of_the_one_before_it() {
    let mut world = settled_primary();
    let before = world.status().revision;
    assert!(before > 0);
    world.site.status = None;
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    assert!(world.status().revision > before);

    world.namespaces[0].state.revision = Some(i64::MAX);
    world.site.status = None;
    world.settle();
    assert!(
        world.status().revision < 1000,
        "nobody writes what it takes for its own"
    );
}

#[test]
fn no_transition_starts_without_enforcement() {
    let mut world = settled_primary();
    world.facts = Facts::default();
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
    assert_eq!(world.blocked_by(), ["no-enforcement"]);
    world.facts.webhook_configured = true;
    world.settle();
    assert_eq!(
        world.roles(),
        [Roles::all(Role::Secondary); 2],
        "goes on by itself once there is"
    );
}

#[test]
fn a_stale_live_enforcer_is_waited_for_and_then_named() {
    let mut world = settled_primary();
    let seen = world.status().revision;
    world.enforcers = vec![Enforcer {
        name: "webhook-a".into(),
        revision: seen,
        namespaces: 2,
        last_seen: world.now,
    }];
    world.order(Role::Secondary, "r1", &[]);
    let until = world.settle();
    assert_eq!(until, world.now + ENFORCER_DEADLINE);
    assert_eq!(world.status().phase, Some(Phase::Demoting));
    world.now = until;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stalled));
    assert_eq!(world.blocked_by(), ["enforcer-silent"]);

    let mut caught_up = world.clone();
    caught_up.enforcers[0].revision = i64::MAX;
    caught_up.settle();
    assert_eq!(caught_up.status().phase, Some(Phase::Stable));

    world.enforcers.clear(); // died: the sweeper enforces alone
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stable));
    assert_eq!(
        world.condition(condition::ENFORCED),
        ("True", "SweeperOnly")
    );
}

#[test]
fn objects_that_do_not_conform_block_the_transition_and_are_named() {
    let mut world = settled_primary();
    world.stubborn = 2;
    world.order(Role::Secondary, "r1", &[]);
    let until = world.settle();
    assert_eq!(until, world.now + SWEEP_RETRY);
    assert_eq!(world.status().phase, Some(Phase::Stalled));
    assert_eq!(world.blocked_by(), ["not-conforming", "not-conforming"]);

    world.now = until;
    world.stubborn = 0;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stable));
}

#[rstest::rstest]
#[case(&["not-conforming"], true)]
#[case(&["not-conforming=shop/deployments/stubborn-0", "not-conforming=shop/deployments/stubborn-1"], true)]
#[case(&["not-conforming=shop/deployments/stubborn-0"], false)]
fn objects_can_be_left_behind_by_name(#[case] overrides: &[&str], #[case] goes_on: bool) {
    let mut world = settled_primary();
    world.stubborn = 2;
    world.order(Role::Secondary, "r1", overrides);
    for _ in 0..20 {
        let until = world.settle();
        assert!(until > world.now);
        if world.status().phase == Some(Phase::Stable) {
            break;
        }
        world.now = until;
    }
    assert_eq!(world.status().phase == Some(Phase::Stable), goes_on);
    if goes_on {
        assert_eq!(
            world.condition(condition::ENFORCED),
            ("False", "NotConforming")
        );
        assert_eq!(world.condition(condition::READY).0, "False");
    }
}

#[test]
fn a_new_order_reverses_a_transition_from_the_current_layers() {
    let mut world = settled_primary();
    world.order(Role::Secondary, "r1", &[]);
    while !matches!(world.step(), Act::Sweep { .. }) {}
    world.order(Role::Primary, "r2", &["peer-unknown"]);
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
    let ends: Vec<_> = world
        .status()
        .history
        .iter()
        .map(|h| (h.id.as_str(), h.outcome))
        .collect();
    assert_eq!(
        ends[..2],
        [("r2", Outcome::Succeeded), ("r1", Outcome::Superseded)]
    );
}

#[test]
fn a_paused_site_does_not_move_until_the_pause_ends() {
    let mut world = settled_primary();
    let until = world.now + SignedDuration::from_mins(10);
    world.site.spec.paused = Some(Pause {
        until: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(until)),
        ..Pause::default()
    });
    world.order(Role::Secondary, "r1", &[]);
    assert_eq!(world.settle(), until);
    assert_eq!(world.status().phase, Some(Phase::Paused));
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
    world.now = until;
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary); 2]);
}

#[test]
fn a_check_from_before_a_pause_does_not_count_after_it() {
    let mut world = settled_primary();
    world.blockers.insert(StepName::PodsGone, vec!["a"]);
    world.order(Role::Secondary, "r1", &["pods-running=shop/things/a"]);
    world.settle();
    world.site.spec.paused = Some(Pause::default());
    world.settle();
    world.now += SignedDuration::from_hours(72);
    world.blockers.insert(StepName::PodsGone, vec!["a", "b"]);
    world.site.spec.paused = None;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stalled));
    assert_eq!(
        world.status().layers.volumes,
        Some(Role::Primary),
        "b came during the pause"
    );
}

#[test]
fn history_keeps_the_last_twenty() {
    let mut world = settled_primary();
    for i in 0..25 {
        let role = if i % 2 == 0 {
            Role::Secondary
        } else {
            Role::Primary
        };
        world.order(role, &format!("r{i}"), &["peer-unknown"]);
        world.settle();
    }
    assert_eq!(world.status().history.len(), HISTORY_LIMIT);
    assert_eq!(world.status().history[0].id, "r24");
}

#[test]
fn a_change_of_single_objects_does_not_wait_for_a_guard() {
    let mut world = World::new(Role::Secondary, &["shop"]);
    world.settle();
    world.order(Role::Primary, "r1", &[]);
    world.settle();
    let revision = world.status().revision;
    world.compile("shop", "web", Some(ObjectRole::Primary));
    world.acts.clear();
    world.settle();
    assert_eq!(world.in_force("shop"), "deployments/web=primary");
    assert_eq!(world.roles(), [Roles::all(Role::Secondary)]);
    assert!(
        world
            .acts
            .iter()
            .any(|act| matches!(act, Act::Sweep { revision: of, .. } if *of == revision + 1))
    );
    assert_eq!(world.blocked_by(), ["peer-unknown"]);
}

#[test]
fn a_transition_verifies_changed_objects_again() {
    let mut world = settled_primary();
    world.stubborn = 1;
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    let revision = world.status().revision;
    world.compile("blog", "web", Some(ObjectRole::Secondary));
    world.stubborn = 0;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stable));
    assert_eq!(world.in_force("blog"), "deployments/web=secondary");
    let raised = 1 + 3; // of the change, and of the layers after the first
    assert_eq!(world.sweep.as_ref().unwrap().revision, revision + raised);
}
