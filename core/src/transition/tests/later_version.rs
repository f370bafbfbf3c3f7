//! State that a later version has written: no decision depends on it, and everything else continues.

use serde_json::json;

use super::*;
use crate::api::Unreadable;

/// A demotion whose second step is one that only a later version knows.
fn demotion_with_an_unknown_step() -> World {
    let mut world = settled_primary();
    world.order(Role::Secondary, "r1", &[]);
    while !matches!(world.decide(), Act::Label(_)) {
        world.step();
    }
    let status = world.site.status.as_mut().unwrap();
    let steps = &mut status.transition.as_mut().unwrap().steps;
    steps[2].name = serde_json::from_value(json!("snapshots")).unwrap();
    steps[3].state = serde_json::from_value(json!("Postponed")).unwrap();
    world
}

#[test]
fn an_unknown_step_blocks_and_is_reported() {
    let mut world = demotion_with_an_unknown_step();
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stalled));
    assert_eq!(world.condition(condition::READY), ("False", "Stalled"));
    let steps = &world.status().transition.as_ref().unwrap().steps;
    assert_eq!(steps[1].state, StepState::Done);
    assert_eq!(steps[2].name.as_str(), "snapshots");
    assert!(steps[3].is_unknown(), "and is left as it was found");
    let workloads = world.roles().into_iter().map(|roles| roles.workloads);
    assert!(
        workloads.eq([Some(Role::Primary); 2]),
        "no later step starts first"
    );
}

#[test]
fn a_new_order_replaces_an_unknown_step() {
    let mut world = demotion_with_an_unknown_step();
    world.settle();
    world.order(Role::Primary, "r2", &["peer-unknown"]);
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stable));
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
}

#[test]
fn nothing_is_reported_as_enforced_while_an_order_is_unreadable() {
    let mut world = settled_primary();
    world.unreadable = vec![Unreadable {
        object: "FailoverPolicy shop/db".into(),
        why: "unknown variant".into(),
        namespaces: ["shop".to_owned()].into(),
    }];
    world.settle();
    assert_eq!(
        world.condition(condition::ENFORCED),
        ("False", "Unreadable")
    );
    assert_eq!(world.condition(condition::READY), ("False", "Unreadable"));
    world.unreadable.clear();
    world.settle();
    assert_eq!(world.condition(condition::READY), ("True", "Stable"));
}
