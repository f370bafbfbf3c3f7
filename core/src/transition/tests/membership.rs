//! Namespaces that lose their label, are unenrolled, deleted, or come back.

use rstest::rstest;

use super::world::World;
use crate::api::{Pause, Phase, SiteStatus, StepName, condition};
use crate::guards::GuardId;
use crate::namespace::Enforcement;
use crate::role::{Role, Roles};
use crate::transition::{Act, DELETED_REMEMBERED, Presence, forget, left};

/// A site in a role, with two namespaces.
fn settled(role: Role) -> World {
    let mut world = World::new(role, &["blog", "shop"]);
    world.settle();
    world
}

fn status(world: &World) -> SiteStatus {
    world.site.status.clone().unwrap()
}

/// The owner of a namespace's labels writes them without ours.
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
fn an_unenrolled_namespace_has_not_left(#[case] role: Role) {
    let mut world = settled(role);
    loses_its_label(&mut world, "blog");
    world.unenrolled.push("blog".into());
    world.settle();
    assert_eq!(status(&world).left, [""; 0]);
    assert_eq!(status(&world).namespaces, ["shop"]);
    assert_eq!(world.condition(condition::READY).0, "True");
}

#[test]
fn a_namespace_that_has_left_blocks_a_demotion_at_the_start() {
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

/// A namespace that still refuses its roles may lose its label without permission: it is primary in all layers.
#[test]
fn a_namespace_that_leaves_during_a_demotion_blocks_its_next_step() {
    let mut world = settled(Role::Primary);
    world.refuse("blog");
    world.order(Role::Secondary, "r1", &[]);
    while !matches!(world.step(), Act::Label(_)) {}
    world.step();
    let traffic = &world.status().transition.as_ref().unwrap().steps[1];
    assert_eq!(traffic.name, StepName::Traffic, "past the guards");
    loses_its_label(&mut world, "blog");
    world.settle();
    let transition = status(&world).transition.unwrap();
    let step = &transition.steps[1];
    let guards: Vec<_> = step.blocked.iter().map(|b| b.guard.as_str()).collect();
    assert_eq!(guards, ["namespace-left"], "{step:?}");
    assert_eq!(status(&world).phase, Some(Phase::Stalled));
    assert!(status(&world).history.iter().all(|entry| entry.id != "r1"));

    world.order(
        Role::Secondary,
        "r2",
        &["namespace-left=blog/namespaces/blog"],
    );
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary)]);
}

/// During a pause, only the site's own list shows that it was enrolled.
#[test]
fn a_namespace_that_comes_and_leaves_during_a_pause_has_left() {
    let mut world = settled(Role::Primary);
    world.site.spec.paused = Some(Pause::default());
    world.enrol("new");
    let created = world.namespaces.iter_mut().find(|n| n.name == "new");
    created.unwrap().state.roles = Roles::all(Role::Primary);
    world.settle();
    assert_eq!(status(&world).namespaces, ["blog", "new", "shop"]);
    loses_its_label(&mut world, "new");
    world.settle();
    world.site.spec.paused = None;
    world.settle();
    assert_eq!(status(&world).left, ["new"]);
}

/// More than are remembered: the status still becomes stable.
#[test]
fn many_namespaces_deleted_during_a_pause_are_written_once() {
    let names: Vec<String> = (0..DELETED_REMEMBERED + 200)
        .map(|i| format!("n{i:04}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(Role::Primary, &names);
    world.settle();
    world.site.spec.paused = Some(Pause::default());
    world.namespaces.clear();
    world.settle();
    let first = status(&world);
    assert_eq!(first.deleted.len(), DELETED_REMEMBERED);
    assert!(matches!(world.decide(), Act::Wait { .. }));
    assert_eq!(status(&world), first);
}

/// Its state meanwhile is unknown: its volumes must not be demoted before its pods are gone.
#[test]
fn a_namespace_that_comes_back_to_a_secondary_is_taken_over_step_by_step() {
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
fn a_namespace_that_comes_back_to_a_primary_is_primary() {
    let mut world = settled(Role::Primary);
    loses_its_label(&mut world, "blog");
    world.settle();
    gets_its_label_back(&mut world, "blog");
    world.settle();
    assert_eq!(status(&world).left, [""; 0]);
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
    assert_eq!(world.condition(condition::READY).0, "True");
}

/// Under either role, the name is remembered as soon as the deletion begins.
#[rstest]
fn a_deleted_namespace_that_comes_back_without_its_label_has_left(
    #[values(Role::Primary, Role::Secondary)] role: Role,
) {
    let mut world = settled(role);
    world.terminating.push("blog".into());
    world.settle();
    assert_eq!(status(&world).deleted, ["blog"]);
    is_gone(&mut world, "blog");
    world.settle();
    assert_eq!(status(&world).deleted, ["blog"]);
    assert_eq!(status(&world).left, [""; 0]);
    assert_eq!(
        world.condition(condition::READY).0,
        "True",
        "it may stay away"
    );

    world.outside.push("blog".into());
    world.settle();
    assert_eq!(status(&world).deleted, [""; 0]);
    assert_eq!(status(&world).left, ["blog"]);
    assert_eq!(
        world.condition(condition::READY),
        ("False", "NamespaceLeft")
    );
}

fn is_gone(world: &mut World, name: &str) {
    world.terminating.retain(|other| other != name);
    world.namespaces.retain(|namespace| namespace.name != name);
}

#[test]
fn a_deleted_namespace_that_came_back_without_its_label_blocks_a_demotion() {
    let mut world = settled(Role::Primary);
    is_gone(&mut world, "blog");
    world.settle();
    world.outside.push("blog".into());
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    let transition = status(&world).transition.unwrap();
    let blocked = &transition.steps[0].blocked[0];
    assert_eq!(blocked.guard, GuardId::NamespaceLeft.to_string());
    assert_eq!(blocked.object.as_deref(), Some("blog/namespaces/blog"));
}

#[rstest]
fn a_namespace_that_comes_back_labelled_or_is_unenrolled_is_forgotten(
    #[values(Role::Primary, Role::Secondary)] role: Role,
    #[values(true, false)] enrolled: bool,
) {
    let mut world = settled(role);
    is_gone(&mut world, "blog");
    world.settle();
    assert_eq!(status(&world).deleted, ["blog"]);
    if enrolled {
        world.enrol("blog");
    } else {
        world.outside.push("blog".into());
        world.unenrolled.push("blog".into());
    }
    world.settle();
    assert_eq!(status(&world).deleted, [""; 0]);
    assert_eq!(status(&world).left, [""; 0]);
    assert_eq!(status(&world).namespaces.contains(&"blog".into()), enrolled);
}

#[test]
fn the_enforcement_of_a_deleted_namespace_is_remembered() {
    let mut world = settled(Role::Secondary);
    world.namespaces[0].state.enforcement = Some(Enforcement::Policy);
    world.settle();
    assert_eq!(status(&world).policy_only, ["blog"]);
    is_gone(&mut world, "blog");
    world.settle();
    assert_eq!(status(&world).policy_only, ["blog"]);
    world.enrol("blog");
    world.settle();
    assert_eq!(status(&world).policy_only, [""; 0], "everything in it, now");
}

/// As `unenroll` does for the name of a Namespace that does not exist.
#[rstest]
fn a_forgotten_name_is_free(#[values(Role::Primary, Role::Secondary)] role: Role) {
    let mut world = settled(role);
    is_gone(&mut world, "blog");
    world.settle();
    let status = world.site.status.as_mut().unwrap();
    assert!(forget(status, "blog"));
    assert!(!forget(status, "blog"), "nothing of it is left");
    world.settle();
    world.outside.push("blog".into());
    world.settle();
    let status = world.site.status.unwrap();
    assert_eq!((status.left, status.deleted), (vec![], vec![]));
    assert_eq!(status.namespaces, ["shop"]);
}

/// A namespace without roles has nothing active, and needs no transition. One with an active layer has its pods stopped
/// before its volumes are demoted.
#[rstest]
#[case::without_roles(Roles::default(), false)]
#[case::active(Roles::all(Role::Primary), true)]
fn a_deleted_namespace_that_comes_back_to_a_standby(
    #[case] roles: Roles,
    #[case] taken_over: bool,
) {
    let mut world = settled(Role::Secondary);
    is_gone(&mut world, "blog");
    world.settle();
    let before = status(&world).history.len();
    world.enrol("blog");
    let back = world.namespaces.iter_mut().find(|n| n.name == "blog");
    back.unwrap().state.roles = roles;
    world.settle();
    let status = status(&world);
    assert_eq!(status.namespaces, ["blog", "shop"]);
    assert_eq!(status.deleted, [""; 0]);
    assert_eq!(status.history.len() > before, taken_over);
    assert_eq!(world.roles(), [Roles::all(Role::Secondary); 2]);
}

/// A standby never forgets a name, so its status must not hold it twice.
#[rstest]
fn a_name_that_was_deleted_is_in_one_list(#[values(Role::Primary, Role::Secondary)] role: Role) {
    let mut world = settled(role);
    is_gone(&mut world, "blog");
    world.settle();
    assert_eq!(status(&world).namespaces, ["shop"]);
    assert_eq!(status(&world).deleted, ["blog"]);
}

#[rstest]
#[case(Role::Primary, DELETED_REMEMBERED)]
#[case(Role::Secondary, DELETED_REMEMBERED + 5)]
fn a_primary_remembers_the_last_deleted_names(#[case] role: Role, #[case] remembered: usize) {
    let mut world = settled(role);
    let status = world.site.status.as_mut().unwrap();
    // The order of deletion is not the order of names.
    status.deleted = (0..DELETED_REMEMBERED + 4)
        .rev()
        .map(|i| format!("preview-{i:04}"))
        .collect();
    is_gone(&mut world, "blog");
    world.settle();
    let deleted = world.site.status.unwrap().deleted;
    assert_eq!(deleted.len(), remembered);
    assert_eq!(deleted.last().unwrap(), "blog");
    assert!(deleted.contains(&"preview-0000".into()));
    let oldest = format!("preview-{:04}", DELETED_REMEMBERED + 3);
    assert_eq!(deleted.contains(&oldest), role == Role::Secondary);
}

#[rstest]
#[case::lost_its_label(&["blog"], &[], &[], Presence::Outside, true)]
#[case::still_left(&[], &["blog"], &[], Presence::Outside, true)]
#[case::deleted_and_back(&[], &[], &["blog"], Presence::Outside, true)]
#[case::unenrolled(&["blog"], &["blog"], &["blog"], Presence::Unenrolled, false)]
#[case::enrolled(&["blog"], &["blog"], &["blog"], Presence::Enrolled, false)]
#[case::absent(&["blog"], &["blog"], &["blog"], Presence::Absent, false)]
#[case::never_enrolled(&[], &[], &[], Presence::Outside, false)]
fn presence_decides_who_has_left(
    #[case] namespaces: &[&str],
    #[case] left_before: &[&str],
    #[case] deleted: &[&str],
    #[case] presence: Presence,
    #[case] has_left: bool,
) {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let status = SiteStatus {
        namespaces: owned(namespaces),
        left: owned(left_before),
        deleted: owned(deleted),
        ..SiteStatus::default()
    };
    assert_eq!(!left(&status, |_| presence).is_empty(), has_left);
}
