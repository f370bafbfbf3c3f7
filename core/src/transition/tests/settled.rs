//! A settled site: what it enforces, takes over, sweeps and reports.

use super::*;

#[test]
fn a_new_leader_keeps_the_reported_conditions() {
    let mut world = settled_primary();
    world.sweep = None;
    assert!(
        matches!(world.step(), Act::Sweep { .. }),
        "nothing is written"
    );
    assert_eq!(world.condition(condition::ENFORCED).0, "True");
    // Nor does it keep the reported condition for ever: it cannot verify it.
    world.sweep = None;
    world.failing_sweep = Some(Failing {
        of: world.status().revision,
        since: world.now,
        why: "no answer".into(),
    });
    world.step();
    assert_eq!(world.condition(condition::ENFORCED), ("False", "Adopting"));
    world.failing_sweep = None;
    world.settle();
    // A changed state does not keep the reported condition.
    world.sweep = None;
    world.compile("shop", "web", Some(ObjectRole::Exempt));
    world.step();
    let reported = world.condition(condition::ENFORCED);
    assert_eq!(reported, ("False", "Adopting"));
}

#[test]
fn a_namespace_that_refuses_its_roles_does_not_keep_others_from_being_swept() {
    let mut world = settled_primary();
    world.compile("shop", "web", Some(ObjectRole::Secondary));
    world.refuse("shop");
    let until = world.settle();
    assert_eq!(until, world.now + EVERY);
    assert_eq!(world.condition(condition::ENFORCED), ("False", "Refused"));
    let of = |acts: &[Act], wanted: fn(&Act) -> bool| acts.iter().filter(|a| wanted(a)).count();
    world.acts.clear();
    world.now = until;
    world.settle();
    assert_eq!(of(&world.acts, |act| matches!(act, Act::Sweep { .. })), 1);
    assert_eq!(of(&world.acts, |act| matches!(act, Act::Label(_))), 1);
    world.refused.clear();
    world.now += EVERY;
    world.settle();
    assert_eq!(world.in_force("shop"), "deployments/web=secondary");
    assert_eq!(world.condition(condition::ENFORCED).0, "True");
}

#[test]
fn a_newly_enrolled_namespace_is_labelled_and_swept() {
    let mut world = World::new(Role::Secondary, &["shop"]);
    world.settle();
    world.enrol("blog");
    world.acts.clear();
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary); 2]);
    assert!(
        world
            .acts
            .iter()
            .any(|act| matches!(act, Act::Sweep { .. }))
    );
    assert_eq!(world.status().namespaces, ["blog", "shop"]);
    assert_eq!(world.condition(condition::READY), ("True", "Stable"));
}

#[test]
fn changed_labels_are_restored() {
    let mut world = World::new(Role::Secondary, &["shop"]);
    world.settle();
    world.namespaces[0].state.roles.workloads = Some(Role::Primary);
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary)]);
}

#[test]
fn a_settled_site_only_has_its_periodic_sweep() {
    let mut world = settled_primary();
    world.acts.clear();
    let until = world.settle();
    assert_eq!(
        world.acts,
        [Act::Wait {
            until: world.now + EVERY
        }]
    );
    world.now = until;
    world.acts.clear();
    world.settle();
    assert!(
        matches!(world.acts[..], [Act::Sweep { .. }, Act::Wait { .. }]),
        "{:?}",
        world.acts
    );
}

#[test]
fn a_namespace_deleted_on_a_secondary_is_remembered_until_it_is_back_or_released() {
    let mut world = World::new(Role::Secondary, &["blog", "shop"]);
    world.settle();
    let lists = |world: &World| {
        let status = world.status();
        (status.namespaces.join(" "), status.deleted.join(" "))
    };
    let of = |namespaces: &str, deleted: &str| (namespaces.to_owned(), deleted.to_owned());
    world.namespaces.clear();
    world.settle();
    assert_eq!(lists(&world), of("", "blog shop"));

    // One comes back and is swept; the other one comes back, and an operator releases it.
    let revision = world.status().revision;
    world.enrol("shop");
    world.outside = vec!["blog".into()];
    world.unenrolled = vec!["blog".into()];
    world.settle();
    assert_eq!(lists(&world), of("shop", ""));
    assert!(world.sweep.as_ref().unwrap().revision > revision);

    world.namespaces.clear();
    world.order(Role::Primary, "r1", &["peer-unknown"]);
    world.settle();
    assert_eq!(lists(&world), of("", "shop"));
}

#[test]
fn a_namespace_deleted_during_a_demotion_and_created_again_goes_on_with_it() {
    let mut world = World::new(Role::Primary, &["blog", "shop"]);
    world.settle();
    world.blockers.insert(StepName::PodsGone, vec!["web"]);
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    let blog = world.namespaces.remove(0);
    world.settle();
    assert_eq!(world.status().namespaces, ["shop"]);
    assert_eq!(world.status().deleted, ["blog"]);
    world.namespaces.insert(0, blog);
    world.blockers.clear();
    world.now += CHECK_AGAIN.1;
    world.settle();
    let history = &world.status().history;
    assert_eq!(history[0].id, "r1");
    assert_eq!(history[0].namespaces, [""; 0], "nobody was taken over");
    assert_eq!(world.roles(), [Roles::all(Role::Secondary); 2]);
}

#[test]
fn a_change_of_single_objects_gets_a_revision_and_a_sweep() {
    let mut world = settled_primary();
    let before = world.status().revision;
    world.enforcers = vec![Enforcer {
        name: "webhook-a".into(),
        revision: before,
        namespaces: 2,
        last_seen: world.now,
    }];
    world.settle();
    world.compile("shop", "web", Some(ObjectRole::Exempt));
    world.acts.clear();
    let until = world.settle();
    assert_eq!(world.in_force("shop"), "deployments/web=exempt");
    assert_eq!(
        world.status().revision,
        before + 1,
        "once, not at every reconcile"
    );
    assert!(
        world
            .namespaces
            .iter()
            .all(|n| n.state.revision == Some(before + 1))
    );
    assert!(
        !world
            .acts
            .iter()
            .any(|act| matches!(act, Act::Sweep { .. }))
    );
    assert_eq!(until, world.now + ENFORCER_DEADLINE);

    world.enforcers[0].revision = before + 1;
    world.acts.clear();
    world.settle();
    assert!(
        world
            .acts
            .iter()
            .any(|act| matches!(act, Act::Sweep { revision: of, .. } if *of == before + 1))
    );
    assert_eq!(world.condition(condition::READY), ("True", "Stable"));
}

#[test]
fn an_enforcer_that_stays_stale_does_not_delay_the_sweep_for_ever() {
    let mut world = settled_primary();
    let revision = world.status().revision;
    world.enforcers = vec![Enforcer {
        name: "webhook-a".into(),
        revision,
        namespaces: 2,
        last_seen: world.now,
    }];
    world.compile("shop", "web", Some(ObjectRole::Secondary));
    world.now = world.settle();
    world.acts.clear();
    world.settle();
    assert!(
        world
            .acts
            .iter()
            .any(|act| matches!(act, Act::Sweep { revision: of, .. } if *of == revision + 1))
    );
}
