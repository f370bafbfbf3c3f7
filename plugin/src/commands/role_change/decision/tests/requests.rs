//! Requests: settled, joined, repeated or new.

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::cluster::Unseen;
use crate::exit_code::ExitCode;

#[test]
fn a_site_with_the_role_is_settled_whatever_is_overridden() {
    let view = settled("primary", SOUND);
    assert_eq!(
        decision_on(&view, Role::Primary, &[]).unwrap(),
        Decision::Settled
    );
    assert_eq!(
        decision_on(&view, Role::Primary, &["no-enforcement"]).unwrap(),
        Decision::Settled
    );
}

#[test]
fn a_promotion_raises_the_epoch_and_a_demotion_does_not() {
    assert_eq!(
        epoch_of(decision_on(
            &settled("secondary", SOUND),
            Role::Primary,
            &["peer-unknown"]
        )),
        5
    );
    assert_eq!(
        epoch_of(decision_on(
            &settled("primary", SOUND),
            Role::Secondary,
            &[]
        )),
        4
    );
}

#[test]
fn a_promotion_takes_an_epoch_above_every_epoch_of_the_peer() {
    let mut view = settled("secondary", SOUND);
    view.site.status.as_mut().unwrap().peer =
        serde_json::from_value(json!({"epoch": 6, "highestEpochSeen": 8})).unwrap();
    assert_eq!(
        epoch_of(decision_on(&view, Role::Primary, &["peer-unknown"])),
        9
    );
}

#[test]
fn the_current_request_is_joined_unless_the_intent_adds_something() {
    let view = moving("primary", "secondary");
    let join = Decision::Join { id: "r0".into() };
    assert_eq!(decision_on(&view, Role::Primary, &[]).unwrap(), join);
    assert_eq!(
        decision_on(&view, Role::Primary, &["peer-unknown"]).unwrap(),
        join
    );
    let plan = empty_plan(Role::Primary);
    let safe = ["promote", "--mode", "safe"];
    assert_eq!(decision_with(&view, &safe, &plan).unwrap(), join);
    let consent = order(decision_with(&view, &["promote", "--run-missed"], &plan));
    assert!(consent.batch.run_missed);
}

#[test]
fn a_repeated_request_keeps_overrides_mode_and_consents() {
    let mut view = moving("primary", "secondary");
    view.site.spec.mode = Mode::Unsafe;
    let request = view.site.spec.request.as_mut().unwrap();
    request.run_held_jobs = true;
    let repeated = order(decision_on(
        &view,
        Role::Primary,
        &["workloads-unavailable"],
    ));
    assert_eq!(repeated.epoch, Epoch(4));
    assert_eq!(
        repeated.overrides,
        ["workloads-unavailable", "peer-unknown"]
    );
    assert_eq!(repeated.inherited, ["peer-unknown"]);
    assert_eq!(repeated.mode, Mode::Unsafe);
    assert!(repeated.batch.held_jobs.is_all());
}

#[test]
fn jobs_to_run_are_added_to_those_of_the_current_request() {
    let mut view = moving("primary", "secondary");
    let request = view.site.spec.request.as_mut().unwrap();
    request.held_jobs_to_run = vec!["shop/import".into()];
    let mut plan = empty_plan(Role::Primary);
    let promote =
        |jobs: &[&str], plan: &Plan| decision_with(&view, &[&["promote"], jobs].concat(), plan);

    let join = Decision::Join { id: "r0".into() };
    assert_eq!(
        promote(&["--run-held-jobs=shop/import"], &plan).unwrap(),
        join
    );
    let both = ["--run-held-jobs=shop/import", "--run-held-jobs=shop/index"];
    let failure = promote(&both, &plan).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Usage);
    // The first may have run already. Whether the others exist is unknown if Jobs cannot be listed.
    plan.unseen.push(Unseen {
        what: "jobs.batch".into(),
        why: "forbidden".into(),
    });
    let added = order(promote(&both, &plan));
    let names: Vec<&String> = added.batch.held_jobs.names().collect();
    assert_eq!(names, ["shop/import", "shop/index"]);
    assert_eq!(added.held_jobs, ["shop/index"]);
}

#[test]
fn overrides_for_the_site_do_not_apply_to_namespaces_enrolled_later() {
    let mut view = settled("secondary", SOUND);
    let request = view.site.spec.request.as_mut().unwrap();
    request.overrides = vec!["pods-running".into()];
    start(
        &mut view,
        &json!({"id": "enrol-7", "to": "secondary", "namespaces": ["api"]}),
    );
    let join = Decision::Join { id: "r0".into() };
    assert_eq!(decision_on(&view, Role::Secondary, &[]).unwrap(), join);
    let anew = order(decision_on(&view, Role::Secondary, &["pods-running"]));
    assert_eq!(anew.inherited, Vec::<String>::new());
}

#[rstest]
#[case::default(&["demote"], Mode::Safe)]
#[case::given(&["demote", "--mode", "unsafe", "--reason", "x"], Mode::Unsafe)]
fn a_request_uses_mode_safe_by_default(#[case] line: &[&str], #[case] mode: Mode) {
    let mut view = settled("primary", SOUND);
    view.site.spec.mode = Mode::Unsafe;
    let order = order(decision_with(&view, line, &empty_plan(Role::Secondary)));
    assert_eq!(order.mode, mode);
}

#[test]
fn a_new_site_is_joined_by_its_birth_id() {
    let mut view = moving("primary", "secondary");
    view.site.spec.request = None;
    view.site.status = None;
    let join = Decision::Join {
        id: "birth-east".into(),
    };
    assert_eq!(decision_on(&view, Role::Primary, &[]).unwrap(), join);
}
