//! Namespaces that come live while the site is turned round. The exploration found both.

use super::*;

fn settled_secondary() -> World {
    let mut world = World::new(Role::Secondary, &["shop"]);
    world.settle();
    world
}

/// Everything that the labels of a namespace have said, in order.
fn said(world: &World, name: &str) -> Vec<Roles> {
    let labels = |act: &Act| match act {
        Act::Label(namespaces) => namespaces.iter().find(|n| n.name == name).cloned(),
        _ => None,
    };
    let mut said: Vec<_> = world
        .acts
        .iter()
        .filter_map(labels)
        .map(|n| n.state.roles)
        .collect();
    said.dedup();
    said
}

#[test]
fn one_that_comes_live_to_a_promotion_that_is_taken_back_is_walked_by_itself() {
    let mut world = settled_secondary();
    world.order(Role::Primary, "r1", &[]);
    world.settle();
    world.enrol("api");
    world.order(Role::Secondary, "r2", &[]);
    world.acts.clear();
    world.settle();
    let first = Roles {
        traffic: Some(Role::Secondary),
        ..Roles::default()
    };
    assert_eq!(said(&world, "api")[1], first, "not its volumes");
    assert_eq!(world.roles(), [Roles::all(Role::Secondary); 2]);
    assert_eq!(world.status().history[0].namespaces, ["api"]);
}

#[test]
fn one_whose_demotion_is_turned_round_is_walked_back() {
    let mut world = settled_secondary();
    world.enrol("api");
    world.in_the_way.insert(StepName::PodsGone, vec!["web"]);
    world.settle();
    let halfway = world.roles()[0];
    assert_eq!(
        (halfway.workloads, halfway.volumes),
        (Some(Role::Secondary), None)
    );

    world.order(Role::Primary, "r1", &["peer-unknown"]);
    world.in_the_way.clear();
    world.acts.clear();
    world.settle();
    let back = &world.status().history[0];
    assert_eq!(
        (back.to, &*back.namespaces),
        (Role::Primary, &["api".to_owned()][..])
    );
    let walked: Vec<_> = back.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        walked,
        [
            "volumes",
            "replication",
            "cronJobs",
            "workloads",
            "available",
            "traffic"
        ]
    );
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
}

#[test]
fn one_that_is_halfway_down_is_not_taken_along_by_a_walk_of_those_that_are_live() {
    let mut world = settled_secondary();
    world.enrol("api");
    world.in_the_way.insert(StepName::PodsGone, vec!["web"]);
    world.settle();
    world.order(Role::Primary, "r1", &["peer-unknown"]);
    while world.roles()[1] != Roles::all(Role::Primary) {
        world.step();
    }
    // Begins its steps anew, with every layer primary.
    world.compile("shop", "web", Some(ObjectRole::Exempt));
    world.in_the_way.clear();
    world.acts.clear();
    world.settle();
    let volumes_alone = Roles {
        volumes: Some(Role::Primary),
        ..Roles::all(Role::Secondary)
    };
    assert_eq!(said(&world, "api")[1], volumes_alone);
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
}
