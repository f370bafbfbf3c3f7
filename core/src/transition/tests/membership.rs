//! Namespaces that lose their label, are unenrolled, deleted, or come back.

use rstest::rstest;

use super::world::World;
use crate::api::{Phase, SiteStatus, StepName, condition};
use crate::guard::GuardId;
use crate::role::{Role, Roles};

/// A site in a role, with two namespaces.
fn settled(role: Role) -> World {
    let mut world = World::new(role, &["blog", "shop"]);
    world.settle();
    world
}

fn status(world: &World) -> SiteStatus {
    world.site.status.clone().unwrap()
}

/// Somebody who owns the labels of a namespace writes them without ours.
fn loses_its_label(world: &mut World, name: &str) {
    world.namespaces.retain(|namespace| namespace.name != name);
    world.outside.push(name.into());
}

fn gets_its_label_back(world: &mut World, name: &str) {
    world.outside.retain(|other| other != name);
    world.enrol(name);
}

#[rstest]
#[case(Role::Primary)]
#[case(Role::Secondary)]
fn a_namespace_that_lost_its_label_has_left_until_it_is_unenrolled(#[case] role: Role) {
    let mut world = settled(role);
    loses_its_label(&mut world, "blog");
    world.settle();
    assert_eq!(status(&world).left, ["blog"]);
    assert_eq!(status(&world).namespaces, ["shop"]);
    assert_eq!(
        world.condition(condition::READY),
        ("False", "NamespaceLeft")
    );
    assert_eq!(
        world.condition(condition::ENFORCED),
        ("False", "NamespaceLeft")
    );

    world.unenrolled.push("blog".into());
    world.settle();
    assert_eq!(status(&world).left, [""; 0]);
    assert_eq!(world.condition(condition::READY).0, "True");
}

#[rstest]
#[case(Role::Primary)]
#[case(Role::Secondary)]
fn one_that_was_unenrolled_has_not_left(#[case] role: Role) {
    let mut world = settled(role);
    loses_its_label(&mut world, "blog");
    world.unenrolled.push("blog".into());
    world.settle();
    assert_eq!(status(&world).left, [""; 0]);
    assert_eq!(status(&world).namespaces, ["shop"]);
    assert_eq!(world.condition(condition::READY).0, "True");
}

#[test]
fn a_namespace_that_has_left_holds_a_demotion_before_anything_moves() {
    let mut world = settled(Role::Primary);
    loses_its_label(&mut world, "blog");
    world.settle();
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    let transition = status(&world).transition.unwrap();
    assert_eq!(transition.steps[0].name, StepName::Guards);
    let blocked = &transition.steps[0].blocked;
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    assert_eq!(blocked[0].guard, GuardId::NamespaceLeft.to_string());
    assert_eq!(blocked[0].object.as_deref(), Some("blog/namespaces/blog"));
    assert_eq!(status(&world).phase, Some(Phase::Stalled));
    assert_eq!(world.roles(), [Roles::all(Role::Primary)]);

    world.order(
        Role::Secondary,
        "r2",
        &["namespace-left=blog/namespaces/blog"],
    );
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary)]);
    assert_eq!(status(&world).left, ["blog"], "still not let go");
}

/// What it was doing meanwhile nobody knows: its volumes must not turn before its pods are gone.
#[test]
fn one_that_comes_back_to_a_secondary_is_taken_over_step_by_step() {
    let mut world = settled(Role::Secondary);
    loses_its_label(&mut world, "blog");
    world.settle();
    gets_its_label_back(&mut world, "blog");
    world.settle();
    let status = status(&world);
    assert_eq!(status.left, [""; 0]);
    assert_eq!(status.namespaces, ["blog", "shop"]);
    assert_eq!(status.history[0].namespaces, ["blog"]);
    assert!(
        status.history[0]
            .steps
            .iter()
            .any(|step| step.name == StepName::PodsGone),
        "{:?}",
        status.history[0]
    );
}

#[test]
fn one_that_comes_back_to_a_primary_is_primary() {
    let mut world = settled(Role::Primary);
    loses_its_label(&mut world, "blog");
    world.settle();
    gets_its_label_back(&mut world, "blog");
    world.settle();
    assert_eq!(status(&world).left, [""; 0]);
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
    assert_eq!(world.condition(condition::READY).0, "True");
}

/// On a primary nobody stands by under that name; elsewhere the name stays closed, from the moment the deletion begins.
#[rstest]
#[case(Role::Primary, &[])]
#[case(Role::Secondary, &["blog"])]
fn the_name_of_one_that_was_deleted_stays_closed_on_a_standby(
    #[case] role: Role,
    #[case] deleted: &[&str],
) {
    let mut world = settled(role);
    world.terminating.push("blog".into());
    world.settle();
    assert_eq!(status(&world).deleted, deleted);
    world.terminating.clear();
    world
        .namespaces
        .retain(|namespace| namespace.name != "blog");
    world.settle();
    assert_eq!(status(&world).deleted, deleted);
    assert_eq!(status(&world).left, [""; 0]);

    // Without its label after all, as while no policy was there to refuse it.
    if role == Role::Secondary {
        world.outside.push("blog".into());
        world.settle();
        assert_eq!(status(&world).deleted, [""; 0]);
        assert_eq!(status(&world).left, ["blog"]);
    }
}
