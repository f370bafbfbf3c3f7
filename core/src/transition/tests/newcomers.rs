//! Namespaces that come active while the transition of the site is reversed. The exploration found both cases.

use super::*;

fn settled_secondary() -> World {
    let mut world = World::new(Role::Secondary, &["shop"]);
    world.settle();
    world
}

/// All labels that a namespace has had, in order.
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
fn a_namespace_that_comes_active_during_a_reversed_promotion_is_demoted_by_itself() {
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
fn a_namespace_whose_demotion_is_reversed_is_promoted_step_by_step() {
    let mut world = settled_secondary();
    world.enrol("api");
    world.blockers.insert(StepName::PodsGone, vec!["web"]);
    world.settle();
    let halfway = world.roles()[0];
    assert_eq!(
        (halfway.workloads, halfway.volumes),
        (Some(Role::Secondary), None)
    );

    world.order(Role::Primary, "r1", &["peer-unknown"]);
    world.blockers.clear();
    world.acts.clear();
    world.settle();
    let back = &world.status().history[0];
    assert_eq!(
        (back.to, &*back.namespaces),
        (Role::Primary, &["api".to_owned()][..])
    );
    let steps: Vec<_> = back.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        steps,
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
fn a_half_demoted_namespace_does_not_join_the_demotion_of_active_ones() {
    let mut world = settled_secondary();
    world.enrol("api");
    world.blockers.insert(StepName::PodsGone, vec!["web"]);
    world.settle();
    world.order(Role::Primary, "r1", &["peer-unknown"]);
    while world.roles()[1] != Roles::all(Role::Primary) {
        world.step();
    }
    // Repeats its steps, with every layer primary.
    world.compile("shop", "web", Some(ObjectRole::Exempt));
    world.blockers.clear();
    world.acts.clear();
    world.settle();
    let volumes_alone = Roles {
        volumes: Some(Role::Primary),
        ..Roles::all(Role::Secondary)
    };
    assert_eq!(said(&world, "api")[1], volumes_alone);
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
}
