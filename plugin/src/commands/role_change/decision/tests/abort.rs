//! Aborts, and requests on a paused site.

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::exit_code::ExitCode;
use crate::plan::tests::enrolled;

#[test]
fn the_opposite_command_needs_an_override_while_a_transition_is_running() {
    let view = moving("primary", "secondary");
    let failure = decision_on(&view, Role::Secondary, &[]).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    assert_eq!(
        failure.holds[0].message,
        "the promotion requested by bob: drill is not finished"
    );
    assert_eq!(
        epoch_of(decision_on(&view, Role::Secondary, &["transition-running"])),
        4
    );
}

#[test]
fn a_transition_is_aborted_by_its_own_command() {
    let view = moving("primary", "secondary");
    let abort = ["promote", "--abort", "--reason", "no"];
    let order = order(decision_with(&view, &abort, &empty_plan(Role::Secondary)));
    assert_eq!(order.epoch, Epoch(4));
    assert!(!order.when_resumed);
}

#[test]
fn aborting_a_demotion_checks_the_guards_of_a_promotion() {
    let mut view = moving("secondary", "primary");
    start(&mut view, &json!({"id": "r0", "to": "secondary"}));
    let status = view.site.status.as_mut().unwrap();
    status.layers.traffic = Some(Role::Secondary);
    let mut shop = enrolled("shop", Some(Role::Primary));
    shop.state.roles.traffic = Some(Role::Secondary);
    view.enrolled.push(shop);
    let plan = empty_plan(Role::Primary);
    let abort = ["demote", "--abort", "--reason", "no"];
    let failure = decision_with(&view, &abort, &plan).unwrap_err();
    assert_eq!(failure.holds[0].guard, GuardId::PeerUnknown);
    let by_name = [&abort[..], &["--override", "peer-unknown"]].concat();
    assert_eq!(epoch_of(decision_with(&view, &by_name, &plan)), 5);
}

#[rstest]
#[case::settled(settled("primary", SOUND), "the site is settled as primary")]
#[case::the_opposite_is_running(moving("secondary", "primary"), "a demotion is")]
#[case::enrolling_later(
    enrolling_later(),
    "only namespaces that came later are being taken over"
)]
fn a_transition_that_is_not_running_cannot_be_aborted(#[case] view: View, #[case] instead: &str) {
    let command = if view.site.spec.role == Role::Secondary && instead.starts_with("only") {
        "demote"
    } else {
        "promote"
    };
    let line = [command, "--abort", "--reason", "x"];
    let failure = decision_with(&view, &line, &empty_plan(Role::Secondary)).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    assert!(failure.message.ends_with(instead), "{failure}");
}

fn enrolling_later() -> View {
    let mut view = settled("secondary", SOUND);
    start(
        &mut view,
        &json!({"id": "enrol-7", "to": "secondary", "namespaces": ["api"]}),
    );
    view
}

fn pause(view: &mut View) {
    view.site.spec.paused =
        serde_json::from_value(json!({"by": "bob", "reason": "upgrade"})).unwrap();
}

#[test]
fn a_request_is_refused_on_a_paused_site() {
    let mut view = settled("primary", SOUND);
    pause(&mut view);
    let failure = decision_on(&view, Role::Secondary, &[]).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    assert!(
        failure.message.contains("paused by bob: upgrade"),
        "{failure}"
    );
    assert_eq!(
        failure.next.as_deref(),
        Some("resume it first: kubectl failover resume")
    );
}

#[test]
fn a_paused_transition_can_be_aborted() {
    let mut view = moving("primary", "secondary");
    pause(&mut view);
    let abort = ["promote", "--abort", "--reason", "no"];
    let order = order(decision_with(&view, &abort, &empty_plan(Role::Secondary)));
    assert!(order.when_resumed);
}
