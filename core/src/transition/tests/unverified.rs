//! Sweeps and checks that keep failing.

use rstest::rstest;

use super::*;

/// The API server answers no sweep, or no check, of the running step.
fn fail(world: &mut World) {
    let act = world.step();
    let why = "cannot list deployments.apps".to_owned();
    match act {
        Act::Sweep { revision, .. } => {
            world.sweep = None;
            let since = world.failing_sweep.take().filter(|f| f.of == revision);
            let since = since.map_or(world.now, |f| f.since);
            world.failing_sweep = Some(Failing {
                of: revision,
                since,
                why,
            });
        }
        Act::Check(of) => {
            world.check = None;
            let since = world.failing_check.take().filter(|f| f.of == of);
            let since = since.map_or(world.now, |f| f.since);
            world.failing_check = Some(Failing { of, since, why });
        }
        Act::WriteStatus(_) | Act::Label(_) => {}
        Act::Wait { until } => world.now = until,
    }
}

/// Continues until this step is running, and then lets it fail for this long.
fn failing_at(to: Role, at: StepName, seconds: i64, overrides: &[&str]) -> World {
    let mut world = settled_primary();
    if to == Role::Primary {
        world.order(Role::Secondary, "down", &[]);
        world.settle();
    }
    let mut all = vec!["peer-unknown"];
    all.retain(|_| to == Role::Primary);
    all.extend(overrides);
    world.order(to, "r1", &all);
    let is_at = |world: &World| {
        let transition = world.status().transition.as_ref();
        transition.is_some_and(|transition| {
            let mut steps = transition.steps.iter();
            steps.any(|step| step.name == at && step.state == StepState::Running)
        })
    };
    while !is_at(&world) {
        world.step();
    }
    let end = world.now + SignedDuration::from_secs(seconds);
    while world.now < end {
        for _ in 0..4 {
            fail(&mut world);
        }
        world.now += SignedDuration::from_secs(1);
    }
    for _ in 0..4 {
        fail(&mut world);
    }
    world
}

fn state(world: &World, at: StepName) -> StepState {
    let steps = &world.status().transition.as_ref().unwrap().steps;
    steps.iter().find(|step| step.name == at).unwrap().state
}

#[rstest]
#[case::sweep_of_a_layer(Role::Secondary, StepName::Traffic)]
#[case::guards(Role::Secondary, StepName::Guards)]
#[case::guards_of_a_promotion(Role::Primary, StepName::Guards)]
#[case::check_of_pods(Role::Secondary, StepName::PodsGone)]
#[case::check_of_volumes(Role::Primary, StepName::Replication)]
fn a_step_that_keeps_failing_is_blocked_after_its_deadline(#[case] to: Role, #[case] at: StepName) {
    let world = failing_at(to, at, VERIFY_DEADLINE.as_secs() - 10, &[]);
    assert_eq!(state(&world, at), StepState::Running);
    let mut world = failing_at(to, at, VERIFY_DEADLINE.as_secs() + 10, &[]);
    assert_eq!(state(&world, at), StepState::Blocked);
    assert_eq!(world.status().phase, Some(Phase::Stalled));
    assert_eq!(world.blocked_by(), ["not-verified"]);
    // It is retried all the time, and continues by itself.
    (world.failing_sweep, world.failing_check) = (None, None);
    world.settle();
    assert!(world.status().transition.is_none());
}

#[rstest]
#[case::sweep(Role::Secondary, StepName::Traffic, &["not-verified"], false)]
#[case::sweep_with_consent(Role::Secondary, StepName::Traffic, &["not-verified", "not-conforming"], true)]
#[case::pods(Role::Secondary, StepName::PodsGone, &["not-verified"], false)]
#[case::pods_without(Role::Secondary, StepName::PodsGone, &["pods-running"], false)]
#[case::pods_with_consent(Role::Secondary, StepName::PodsGone, &["not-verified", "pods-running"], true)]
#[case::volumes(Role::Primary, StepName::Guards, &["not-verified"], false)]
#[case::volumes_half(Role::Primary, StepName::Guards, &["not-verified", "volume-degraded"], false)]
fn continuing_without_a_check_needs_all_overrides(
    #[case] to: Role,
    #[case] at: StepName,
    #[case] overrides: &[&str],
    #[case] goes_on: bool,
) {
    let world = failing_at(to, at, VERIFY_DEADLINE.as_secs() + 10, overrides);
    let ahead = state(&world, at) == StepState::Done;
    assert_eq!(ahead, goes_on, "{:?}", world.status().transition);
}

#[test]
fn a_promotion_begins_with_all_overrides() {
    let needed = super::super::unverified::found_by_checking(Role::Primary);
    let mut overrides: Vec<_> = needed.iter().map(|guard| guard.as_str()).collect();
    assert!(overrides.contains(&"volume-not-synced"));
    overrides.push("not-verified");
    let seconds = VERIFY_DEADLINE.as_secs() + 10;
    let world = failing_at(Role::Primary, StepName::Guards, seconds, &overrides);
    assert_eq!(state(&world, StepName::Guards), StepState::Done);
}

#[test]
fn a_failure_of_an_earlier_step_does_not_complete_a_later_one() {
    let overrides = ["not-verified", "not-conforming"];
    let seconds = VERIFY_DEADLINE.as_secs() + 10;
    let world = failing_at(Role::Secondary, StepName::Traffic, seconds, &overrides);
    assert_eq!(state(&world, StepName::Traffic), StepState::Done);
    assert_eq!(state(&world, StepName::Gitops), StepState::Running);
}

#[test]
fn a_settled_site_says_that_its_objects_cannot_be_swept() {
    let mut world = settled_primary();
    world.failing_sweep = Some(Failing {
        of: world.status().revision,
        since: world.now - VERIFY_DEADLINE,
        why: "no answer".into(),
    });
    world.settle();
    assert_eq!(
        world.condition(condition::ENFORCED),
        ("False", "NotVerified")
    );
}
