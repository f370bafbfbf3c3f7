//! The steps in their order, their waits, and what completes them.

use jiff::SignedDuration;

use super::*;

/// The primary layers at each moment of a transition, and the checks between them.
fn path(world: &mut World) -> Vec<String> {
    world.acts.clear();
    world.settle();
    let described = |act: &Act| match act {
        Act::Label(namespaces) => {
            let roles = namespaces[0].state.roles;
            let live = |layer: &Layer| roles.of(*layer) == Some(Role::Primary);
            let live: Vec<_> = Layer::ALL
                .into_iter()
                .filter(live)
                .map(Layer::as_str)
                .collect();
            Some(format!("[{}]", live.join(" ")))
        }
        Act::Check(check) => Some(check.at.as_str().to_owned()),
        _ => None,
    };
    world.acts.iter().filter_map(described).collect()
}

#[test]
fn each_layer_waits_for_the_one_before_it() {
    let mut world = settled_primary();
    world.order(Role::Secondary, "r1", &[]);
    assert_eq!(
        path(&mut world),
        [
            "guards",
            "[volumes workloads gitops]",
            "[volumes workloads]",
            "[volumes]",
            "podsGone",
            "[]",
            "replication",
        ]
    );
    world.order(Role::Primary, "r2", &["peer-unknown"]);
    assert_eq!(
        path(&mut world),
        [
            "guards",
            "[volumes]",
            "replication",
            "cronJobs",
            "[volumes workloads gitops]",
            "available",
            "[volumes workloads gitops traffic]",
        ]
    );
}

#[test]
fn an_unsafe_site_moves_all_layers_at_once_after_its_guards() {
    let mut world = settled_primary();
    world.site.spec.mode = crate::api::Mode::Unsafe;
    world.blockers.insert(StepName::Guards, vec!["agent"]);
    world.order(Role::Secondary, "r1", &[]);
    assert_eq!(path(&mut world), ["guards"]);
    assert_eq!(world.blocked_by(), ["uncovered-workloads"]);
    world.order(Role::Secondary, "r2", &["uncovered-workloads"]);
    assert_eq!(path(&mut world), ["guards", "[]"]);
}

/// Ten are shown, and all are counted: an override of the shown ones does not cover the others.
#[test]
fn overrides_of_shown_objects_do_not_cover_the_others() {
    const THINGS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let mut world = settled_primary();
    world.blockers.insert(StepName::Guards, THINGS.to_vec());
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    let guards = |world: &World| world.status().transition.as_ref().unwrap().steps[0].clone();
    let step = guards(&world);
    assert_eq!((step.total, step.blocked.len()), (12, 10));
    let shown: Vec<String> = step
        .blocked
        .iter()
        .map(|blocked| format!("{}={}", blocked.guard, blocked.object.as_ref().unwrap()))
        .collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    world.order(Role::Secondary, "r2", &shown);
    world.settle();
    let step = guards(&world);
    assert_eq!((step.total, step.blocked.len()), (2, 2));
}

#[test]
fn consent_to_single_jobs_is_part_of_the_order_and_of_the_history() {
    let mut world = settled_primary();
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    world.order(Role::Primary, "r2", &["peer-unknown"]);
    let request = world.site.spec.request.as_mut().unwrap();
    request.held_jobs_to_run = vec!["shop/import".to_owned()];
    let path = path(&mut world);
    assert!(path.contains(&"jobs".to_owned()), "{path:?}");
    let history = &world.site.status.as_ref().unwrap().history;
    assert_eq!(history[0].held_jobs_to_run, ["shop/import"]);
}

#[test]
fn consent_to_batch_work_is_part_of_the_order() {
    let mut world = settled_primary();
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    world.order(Role::Primary, "r2", &["peer-unknown"]);
    let request = world.site.spec.request.as_mut().unwrap();
    (request.run_missed, request.run_held_jobs) = (true, true);
    let path = path(&mut world);
    assert!(!path.contains(&"cronJobs".to_owned()), "{path:?}");
    let jobs = path.iter().position(|step| step == "jobs").unwrap();
    assert_eq!(path[jobs - 1], "[volumes workloads gitops]");
}

#[rstest::rstest]
#[case(Role::Secondary, StepName::PodsGone, "pods-running", Deadlines::default().pods_gone)]
#[case(Role::Secondary, StepName::Replication, "replication-unconfirmed", Deadlines::default().replication)]
#[case(Role::Primary, StepName::Replication, "replication-unconfirmed", Deadlines::default().replication)]
#[case(Role::Primary, StepName::Available, "workloads-unavailable", Deadlines::default().available)]
fn a_blocker_is_waited_for_then_named_and_overridden_by_name(
    #[case] to: Role,
    #[case] at: StepName,
    #[case] guard: &str,
    #[case] deadline: SignedDuration,
) {
    let mut world = settled_primary();
    if to == Role::Primary {
        world.order(Role::Secondary, "r0", &[]);
        world.settle();
    }
    world.blockers.insert(at, vec!["a", "b"]);
    world.order(to, "r1", &["peer-unknown"]);
    assert_eq!(world.settle(), world.now + CHECK_AGAIN.0);
    assert_ne!(world.status().phase, Some(Phase::Stalled));
    assert_eq!(
        world.blocked_by(),
        [guard, guard],
        "what is waited for is named"
    );
    let before = world.status().layers;
    world.now += deadline;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stalled));
    assert_eq!(world.status().layers, before);

    let mut passed = world.clone();
    passed.blockers.clear();
    passed.now += CHECK_AGAIN.1;
    passed.settle();
    assert_eq!(
        passed.status().phase,
        Some(Phase::Stable),
        "goes on by itself"
    );

    let one = format!("{guard}=shop/things/a");
    world.order(to, "r2", &["peer-unknown", &one]);
    world.settle();
    assert_eq!(world.status().layers, before, "b still blocks");
    let other = format!("{guard}=shop/things/b");
    world.order(to, "r3", &["peer-unknown", &one, &other]);
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stable));
    assert_eq!(world.status().layers, Roles::all(to));
}

#[test]
fn changed_layers_are_swept_while_a_transition_waits() {
    let mut world = settled_primary();
    world.blockers.insert(StepName::PodsGone, vec!["web"]);
    world.order(Role::Secondary, "r1", &[]);
    let mut until = world.settle();
    world.acts.clear();
    let begun = world.now;
    while world.now < begun + EVERY * 3 {
        world.now = until;
        until = world.settle();
    }
    let sweeps = world
        .acts
        .iter()
        .filter(|act| matches!(act, Act::Sweep { layers, .. } if *layers == Layer::ALL));
    assert_eq!(sweeps.count(), 3);
}

#[test]
fn a_clock_behind_the_last_leaders_does_not_cause_continuous_checks() {
    let mut world = settled_primary();
    world.blockers.insert(StepName::PodsGone, vec!["web"]);
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    world.now -= SignedDuration::from_hours(1);
    (world.check, world.sweep) = (None, None);
    let until = world.settle();
    assert!(until > world.now);
    world.blockers.clear();
    world.now = until;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stable));
}

#[test]
fn an_early_override_shortens_the_wait_but_does_not_skip_it() {
    let mut world = settled_primary();
    world.blockers.insert(StepName::PodsGone, vec!["a"]);
    world.order(Role::Secondary, "r1", &["pods-running"]);
    world.settle();
    assert_eq!(world.status().layers.volumes, Some(Role::Primary));
    world.now += Deadlines::default().pods_gone;
    world.settle();
    assert_eq!(world.status().layers, Roles::all(Role::Secondary));
}

#[test]
fn an_override_applies_only_to_its_own_transition() {
    let mut world = settled_primary();
    world.order(Role::Secondary, "r1", &["pods-running"]);
    world.settle();
    world.blockers.insert(StepName::PodsGone, vec!["web"]);
    world.enrol("api");
    world.settle();
    world.now += Deadlines::default().pods_gone;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stalled));
    assert_ne!(world.roles()[0].volumes, Some(Role::Secondary));

    world.order(Role::Secondary, "r2", &["pods-running"]);
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stable));
    assert_eq!(world.roles(), [Roles::all(Role::Secondary); 3]);
    let newest = &world.status().history[0];
    assert_eq!(
        (newest.id.as_str(), &newest.namespaces[..]),
        ("r2", &["api".to_owned()][..])
    );
}

#[test]
fn a_namespace_that_refuses_its_roles_blocks_the_transition_and_is_named() {
    let mut world = settled_primary();
    world.refuse("shop");
    world.order(Role::Secondary, "r1", &[]);
    while !matches!(world.step(), Act::Label(_)) {}
    assert_eq!(world.status().phase, Some(Phase::Stalled));
    let step = &world.status().transition.as_ref().unwrap().steps[1];
    assert_eq!(step.name, StepName::Traffic);
    assert_eq!(
        step.blocked[0].object.as_deref(),
        Some("shop/namespaces/shop")
    );
    assert_eq!(
        world.roles()[0].traffic,
        Some(Role::Secondary),
        "the others go on"
    );
    assert_eq!(world.roles()[1].traffic, Some(Role::Primary));
    world.refused.clear();
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary); 2]);
}

#[test]
fn an_earlier_check_no_longer_counts() {
    let mut world = settled_primary();
    world.blockers.insert(StepName::PodsGone, vec!["a"]);
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    world.blockers.clear();
    // Reversed and back: pods may have started in between.
    world.order(Role::Primary, "r2", &["peer-unknown"]);
    world.settle();
    world.blockers.insert(StepName::PodsGone, vec!["b"]);
    world.order(Role::Secondary, "r3", &[]);
    world.settle();
    assert_eq!(world.status().layers.volumes, Some(Role::Primary));
}
