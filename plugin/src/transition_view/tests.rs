//! The output for a transition, on a terminal and in a log.

use failover_core::api::Site;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::output::screen::tests::{PIPE, captured};

const START: &str = "2026-03-01T12:00:00Z";

fn at(seconds: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn site(steps: &Value) -> Site {
    let mut steps = steps.clone();
    for step in steps.as_array_mut().unwrap() {
        for key in ["startedAt", "finishedAt"] {
            if let Some(seconds) = step[key].as_i64() {
                step[key] = json!(at(seconds));
            }
        }
    }
    serde_json::from_value(json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": {"name": "cluster"},
        "spec": {"siteName": "east", "role": "secondary", "epoch": 4},
        "status": {"transition": {
            "id": "r1", "from": "primary", "to": "secondary", "epoch": 4, "requestedBy": "alice", "reason": "drill",
            "startedAt": START, "steps": steps
        }}
    }))
    .unwrap()
}

fn done(name: &str, from: i64, to: i64, changed: i64) -> Value {
    let mut step = json!({"name": name, "state": "Done", "startedAt": from, "finishedAt": to});
    if changed > 0 {
        step["revision"] = json!(3);
        step["changed"] = json!(changed);
        step["total"] = json!(12);
        step["done"] = json!(12);
    }
    step
}

fn pending(name: &str) -> Value {
    json!({"name": name, "state": "Pending"})
}

fn pods_gone(state: &str, blocked: &Value, left: i64) -> Value {
    json!({"name": "podsGone", "state": state, "startedAt": 4, "total": 3, "done": 3 - left,
           "activity": "Waiting", "blocked": blocked})
}

fn pod(name: &str) -> Value {
    json!({"guard": "pods-running", "object": format!("shop/pods/{name}"), "message": "it is being ended for 5 s"})
}

fn steps_with(step: &Value) -> Value {
    json!([
        done("guards", 0, 0, 0),
        done("traffic", 0, 1, 1),
        done("workloads", 1, 4, 12),
        step,
        pending("volumes")
    ])
}

fn waiting() -> Site {
    site(&steps_with(&pods_gone("Running", &json!([pod("db-0")]), 1)))
}

fn blocked_site() -> Site {
    site(&steps_with(&pods_gone("Blocked", &json!([pod("db-0")]), 1)))
}

fn drawn(site: &Site, seconds: i64) -> String {
    let lines = table::of_site(site, at(seconds));
    let lines: Vec<String> = lines.into_iter().map(|line| line.text).collect();
    lines.join("\n")
}

#[test]
fn on_a_terminal_every_step_is_a_line_and_what_is_waited_for_is_named() {
    insta::assert_snapshot!(drawn(&waiting(), 9));
}

#[test]
fn on_a_terminal_what_holds_a_step_is_named_with_the_order_that_lets_it_go_on() {
    insta::assert_snapshot!(drawn(&blocked_site(), 130));
}

#[test]
fn on_a_terminal_a_pause_stands_above_the_steps() {
    let mut site = waiting();
    let pause = json!({"by": "bob", "reason": "look first", "until": at(7209)});
    site.spec.paused = serde_json::from_value(pause).unwrap();
    insta::assert_snapshot!(drawn(&site, 9));
}

#[test]
fn many_things_in_the_way_are_named_in_part_and_counted() {
    let pods: Vec<Value> = (0..8).map(|i| pod(&format!("web-{i}"))).collect();
    let mut step = pods_gone("Blocked", &json!(pods), 8);
    step["total"] = json!(20);
    step["done"] = json!(6);
    insta::assert_snapshot!(drawn(&site(&steps_with(&step)), 130));
}

/// The log of a transition that is read at these times.
fn log_of(reads: &[(i64, Site)], ended: Option<&HistoryEntry>) -> String {
    let (screen, _, err) = captured(PIPE);
    let mut show = Show::new(&screen);
    for (seconds, site) in reads {
        show.update(site, at(*seconds));
    }
    if let Some(entry) = ended {
        show.ended(&reads.last().unwrap().1, entry);
    }
    drop(show);
    err.text()
}

fn entry() -> HistoryEntry {
    serde_json::from_value(json!({
        "id": "r1", "from": "primary", "to": "secondary", "epoch": 4, "objects": 13, "outcome": "Succeeded",
        "startedAt": START, "finishedAt": at(20), "steps": [
            {"name": "guards", "seconds": 0}, {"name": "traffic", "seconds": 1}, {"name": "workloads", "seconds": 3},
            {"name": "podsGone", "seconds": 14}, {"name": "volumes", "seconds": 2}
        ]
    }))
    .unwrap()
}

#[test]
fn in_a_log_each_step_is_told_once_when_it_is_over_and_now_and_then_while_it_lasts() {
    let three = json!([pod("db-0"), pod("web-1"), pod("web-2")]);
    let running = |left| {
        let blocked: Vec<_> = three.as_array().unwrap()[..left].to_vec();
        let left = i64::try_from(left).unwrap();
        site(&steps_with(&pods_gone("Running", &json!(blocked), left)))
    };
    let reads = [
        (
            1,
            site(
                &json!([done("guards", 0, 0, 0), {"name": "traffic", "state": "Running", "activity": "Sweeping", "startedAt": 0}]),
            ),
        ),
        (4, running(3)),
        (5, running(3)),
        (7, running(3)),
        (9, running(2)),
        (18, running(1)),
    ];
    insta::assert_snapshot!(log_of(&reads, Some(&entry())));
}

#[test]
fn in_a_log_what_holds_a_step_is_told_at_once_and_only_when_it_changes() {
    let mut later = blocked_site();
    let steps = &mut later
        .status
        .as_mut()
        .unwrap()
        .transition
        .as_mut()
        .unwrap()
        .steps;
    steps[3].blocked[0].message = "it is being ended for 6 s".into();
    insta::assert_snapshot!(log_of(
        &[(124, blocked_site()), (125, blocked_site()), (150, later)],
        None
    ));
}

#[test]
fn in_a_log_a_pause_and_its_end_are_told() {
    let mut paused = waiting();
    paused.spec.paused = serde_json::from_value(json!({"by": "bob", "reason": "look"})).unwrap();
    insta::assert_snapshot!(log_of(
        &[(5, paused.clone()), (6, paused), (8, waiting())],
        None
    ));
}

#[test]
fn a_walk_that_was_over_before_anybody_looked_is_told_from_the_history() {
    let mut settled = waiting();
    settled.status.as_mut().unwrap().transition = None;
    insta::assert_snapshot!(log_of(&[(30, settled)], Some(&entry())));
}

#[rstest]
#[case::one(&[pod("db-0")], 1, "--override pods-running=shop/pods/db-0")]
#[case::two(&[pod("db-0"), pod("db-1")], 2, "--override pods-running=shop/pods/db-0 --override pods-running=shop/pods/db-1")]
#[case::more_than_are_named(&[pod("db-0")], 5, "--override pods-running")]
#[case::too_many(&[pod("a"), pod("b"), pod("c"), pod("d")], 4, "--override pods-running")]
#[case::no_object(&[json!({"guard": "enforcer-silent", "message": "m"})], 1, "--override enforcer-silent")]
fn the_override_command_names_what_blocks_the_transition(
    #[case] blocked: &[Value],
    #[case] left: i64,
    #[case] overrides: &str,
) {
    let mut step: Step =
        serde_json::from_value(json!({"name": "podsGone", "state": "Blocked"})).unwrap();
    step.total = left;
    step.blocked = serde_json::from_value(json!(blocked)).unwrap();
    assert_eq!(
        override_command(failover_core::Role::Secondary, &step).unwrap(),
        format!("kubectl failover demote {overrides} --reason TEXT")
    );
}

#[test]
fn an_unknown_guard_has_no_override_command() {
    let mut step: Step =
        serde_json::from_value(json!({"name": "podsGone", "state": "Blocked"})).unwrap();
    step.blocked =
        serde_json::from_value(json!([{"guard": "of-tomorrow", "message": "m"}])).unwrap();
    assert_eq!(
        override_command(failover_core::Role::Secondary, &step),
        None
    );
}

#[test]
fn the_last_step_gets_the_remaining_changes_if_its_end_was_not_observed() {
    let step = json!({"name": "traffic", "state": "Running", "revision": 4, "startedAt": 4});
    let seen = site(&json!([done("workloads", 0, 4, 12), step]));
    let entry = HistoryEntry {
        steps: serde_json::from_value(json!([{"name": "traffic", "seconds": 1}])).unwrap(),
        ..entry()
    };
    let last = "site east: demotion 2/2 traffic: done in 1s, 1 object changed\n";
    let log = log_of(&[(5, seen)], Some(&entry));
    assert!(log.ends_with(last), "{log}");
}

#[test]
fn a_superseded_transition_is_not_reported_as_done() {
    let entry = HistoryEntry {
        outcome: failover_core::api::Outcome::Superseded,
        ..entry()
    };
    let log = log_of(&[(9, waiting())], Some(&entry));
    assert!(!log.contains("podsGone: done"), "{log}");
    assert!(
        log.ends_with("site east: the demotion is superseded by a newer request\n"),
        "{log}"
    );
}
