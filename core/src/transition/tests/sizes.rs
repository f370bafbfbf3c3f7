//! The largest possible journal.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// The size of a journal without the names of enrolled namespaces.
fn written(world: &World) -> usize {
    let mut status = world.status().clone();
    status.namespaces.clear();
    serde_json::to_vec(&status).unwrap().len()
}

/// A site with a full history of transitions with the largest texts, and one with the most blockers.
fn largest(reason: &str, overrides: usize, message: &str, newcomers: usize) -> (World, usize) {
    let mut world = settled_primary();
    let mut largest = 0;
    let override_of = |i: usize| {
        let mut text = format!("not-conforming=shop/deployments/{i}-");
        text.push_str(&"x".repeat(512 - text.len()));
        text
    };
    let all: Vec<String> = (0..overrides).map(override_of).collect();
    let mut given: Vec<&str> = all.iter().map(String::as_str).collect();
    given.extend(["peer-unknown"]);
    for i in 0..HISTORY_LIMIT + 2 {
        let role = if i % 2 == 0 {
            Role::Secondary
        } else {
            Role::Primary
        };
        world.order(role, &format!("{i:063}"), &given);
        let request = world.site.spec.request.as_mut().unwrap();
        request.reason = reason.to_owned();
        request.held_jobs_to_run = (0..64).map(|i| format!("shop/{i:0>250}")).collect();
        world.settle();
        largest = largest.max(written(&world));
    }
    for i in 0..newcomers {
        world.enrol(&format!("{i:063}"));
    }
    world.settle();
    largest = largest.max(written(&world));
    world.order(Role::Secondary, "held", &given);
    world.site.spec.request.as_mut().unwrap().reason = reason.to_owned();
    world.stubborn = 10;
    world.message = message.to_owned();
    world.settle();
    (world.clone(), largest.max(written(&world)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn the_largest_journal_fits(
        reason in prop::sample::select(vec!["\u{1}", "\u{10ffff}", "\"", "x"]),
        message in prop::sample::select(vec!["\u{1}", "\u{10ffff}", "\"", "x"]),
        overrides in 60_usize..=63,
        newcomers in 900_usize..1100,
    ) {
        let (_, size) = largest(&reason.repeat(1024), overrides, &message.repeat(100_000), newcomers);
        prop_assert!(size <= JOURNAL_LIMIT, "{size}");
        prop_assert!(size > JOURNAL_LIMIT / 8, "{size}: not the largest by far");
    }
}

/// As many names as docs/enforcement.md promises room for, each as long as a name may be, beside the largest journal.
#[rstest]
#[case::all_enrolled(15_000, 0, 0)]
#[case::all_deleted(0, 0, 15_000)]
#[case::some_of_each(10_000, 1_000, 4_000)]
fn the_promised_number_of_names_fits_beside_the_largest_journal(
    #[case] enrolled: usize,
    #[case] left: usize,
    #[case] deleted: usize,
) {
    /// etcd's default of `--max-request-bytes`, without the rest of the Site: its metadata, and a spec with 64 overrides of
    /// 512 bytes.
    const ETCD_LIMIT: usize = 1_572_864 - 48 * 1024;
    let mut names = (0..).map(|i| format!("{i:063}"));
    let mut next = |count: usize| -> Vec<String> { names.by_ref().take(count).collect() };
    let status = SiteStatus {
        namespaces: next(enrolled),
        left: next(left),
        deleted: next(deleted),
        ..SiteStatus::default()
    };
    let size = serde_json::to_vec(&status).unwrap().len();
    assert!(size + JOURNAL_LIMIT <= ETCD_LIMIT, "{size}");
}

#[test]
fn a_cut_part_is_counted_in_its_place() {
    let (world, _) = largest("drill", 63, &"x".repeat(1000), 0);
    let past = &world.status().history[1];
    assert!(past.overrides.last().unwrap().ends_with(" more)"));
    assert!(past.overrides.len() < 63);
    let transition = world.status().transition.as_ref().unwrap();
    assert_eq!(transition.overrides.len(), 64, "what counts is kept whole");
    let blocked = transition.steps.iter().flat_map(|step| &step.blocked);
    for blocked in blocked {
        assert!(
            blocked.message.ends_with(" bytes more)"),
            "{}",
            blocked.message
        );
    }
}

#[test]
fn more_new_namespaces_than_fit_are_taken_over_in_turn() {
    let mut world = settled_primary();
    world.order(Role::Secondary, "down", &[]);
    world.settle();
    let newcomers = size::TAKEN_OVER_AT_ONCE + 10;
    for i in 0..newcomers {
        world.enrol(&format!("n-{i}"));
    }
    world.settle();
    let taken: Vec<_> = world
        .status()
        .history
        .iter()
        .take(2)
        .map(|h| h.id.clone())
        .collect();
    assert!(taken.iter().all(|id| id.starts_with("enrol-")), "{taken:?}");
    assert_eq!(world.status().namespaces.len(), 2 + newcomers);
    assert!(
        world
            .roles()
            .iter()
            .all(|roles| *roles == Roles::all(Role::Secondary))
    );
}
