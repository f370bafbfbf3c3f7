use clap::Parser as _;
use failover_core::api::Peer;
use failover_core::checks::uncovered::Uncovered;
use failover_core::checks::uncovered::traffic::Published;
use failover_core::guards::Facts;
use failover_core::object::ObjectRef;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command};
use crate::cluster::{Survey, Unseen};
use crate::exit_code::ExitCode;
use crate::plan::tests::enrolled;

const SOUND: Facts = Facts {
    webhook_configured: true,
    policy_configured: false,
};

fn view(spec: &Value, status: &Value, facts: Facts) -> View {
    let site = json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "Site",
        "metadata": {"name": "cluster", "resourceVersion": "9"}, "spec": spec, "status": status
    });
    View {
        site: serde_json::from_value(site).unwrap(),
        enrolled: vec![],
        left: vec![],
        facts,
    }
}

fn layers(role: &str) -> Value {
    json!({"volumes": role, "workloads": role, "gitops": role, "traffic": role})
}

fn settled(role: &str, facts: Facts) -> View {
    view(
        &json!({"siteName": "east", "role": role, "epoch": 4, "request": {"id": "r0", "requestedBy": "bob"}}),
        &json!({"phase": "Stable", "layers": layers(role)}),
        facts,
    )
}

fn moving(to: &str, from: &str) -> View {
    view(
        &json!({"siteName": "east", "role": to, "epoch": 4, "request": {
            "id": "r0", "requestedBy": "bob", "reason": "drill", "overrides": ["peer-unknown"]}}),
        &json!({"phase": "Promoting", "layers": layers(from)}),
        SOUND,
    )
}

fn wish(line: &[&str]) -> Result<Intent, Failure> {
    match Cli::try_parse_from(["kubectl-failover"].iter().chain(line))
        .unwrap()
        .command
    {
        Command::Promote(args) => Intent::of(Role::Primary, &args.switch, args.batch.consent()),
        Command::Demote(args) => Intent::of(Role::Secondary, &args.switch, BatchConsent::default()),
        other => panic!("{other:?}"),
    }
}

fn overriding(command: &'static str, overrides: &[&'static str]) -> Vec<&'static str> {
    let mut line = vec![command, "--reason", "x"];
    for text in overrides {
        line.extend(["--override", text]);
    }
    line
}

fn empty_plan(role: Role) -> Plan {
    crate::plan::plan("east", role, &[], &Survey::default(), Timestamp::UNIX_EPOCH)
}

/// What is decided, once the guards are asked too.
fn decide_with(view: &View, line: &[&str], plan: &Plan) -> Result<Decision, Failure> {
    let wish = wish(line)?;
    let course = course(view, &wish, Timestamp::UNIX_EPOCH)?;
    if let Decision::Order(order) = &course {
        guards(view, &wish, order, plan)?;
    }
    Ok(course)
}

fn decide(view: &View, role: Role, overrides: &[&'static str]) -> Result<Decision, Failure> {
    let line = overriding(words(role).command, overrides);
    decide_with(view, &line, &empty_plan(role))
}

fn order(course: Result<Decision, Failure>) -> Ordered {
    match course.unwrap() {
        Decision::Order(order) => order,
        other => panic!("{other:?}"),
    }
}

fn epoch_of(course: Result<Decision, Failure>) -> i64 {
    order(course).epoch.0
}

#[test]
fn a_site_in_that_role_is_left_alone_whatever_is_overridden() {
    let view = settled("primary", SOUND);
    assert_eq!(
        decide(&view, Role::Primary, &[]).unwrap(),
        Decision::Settled
    );
    assert_eq!(
        decide(&view, Role::Primary, &["no-enforcement"]).unwrap(),
        Decision::Settled
    );
}

#[test]
fn a_promotion_raises_the_epoch_and_a_demotion_does_not() {
    assert_eq!(
        epoch_of(decide(
            &settled("secondary", SOUND),
            Role::Primary,
            &["peer-unknown"]
        )),
        5
    );
    assert_eq!(
        epoch_of(decide(&settled("primary", SOUND), Role::Secondary, &[])),
        4
    );
}

#[test]
fn a_promotion_claims_more_than_the_peer_was_ever_seen_to_claim() {
    let mut view = settled("secondary", SOUND);
    view.site.status.as_mut().unwrap().peer =
        serde_json::from_value(json!({"epoch": 6, "highestEpochSeen": 8})).unwrap();
    assert_eq!(epoch_of(decide(&view, Role::Primary, &["peer-unknown"])), 9);
}

#[test]
fn a_promotion_is_held_until_it_is_overridden_by_name_whatever_the_site_says_of_a_peer() {
    let mut view = settled("secondary", SOUND);
    view.site.spec.peer = Some(Peer {
        site_name: "west".into(),
        kubeconfig_secret: None,
    });
    let failure = decide(&view, Role::Primary, &[]).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    assert_eq!(failure.holds[0].guard, GuardId::PeerUnknown);
    assert_eq!(epoch_of(decide(&view, Role::Primary, &["peer-unknown"])), 5);
}

#[test]
fn an_order_that_stands_is_joined_unless_something_is_brought_that_it_lacks() {
    let view = moving("primary", "secondary");
    let join = Decision::Join { id: "r0".into() };
    assert_eq!(decide(&view, Role::Primary, &[]).unwrap(), join);
    assert_eq!(
        decide(&view, Role::Primary, &["peer-unknown"]).unwrap(),
        join
    );
    let plan = empty_plan(Role::Primary);
    let safe = ["promote", "--mode", "safe"];
    assert_eq!(decide_with(&view, &safe, &plan).unwrap(), join);
    let consent = order(decide_with(&view, &["promote", "--run-missed"], &plan));
    assert!(consent.batch.run_missed);
}

#[test]
fn an_order_that_repeats_a_running_one_keeps_what_that_says() {
    let mut view = moving("primary", "secondary");
    view.site.spec.mode = Mode::Unsafe;
    let request = view.site.spec.request.as_mut().unwrap();
    request.run_held_jobs = true;
    let repeated = order(decide(&view, Role::Primary, &["workloads-unavailable"]));
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
fn jobs_that_an_order_names_are_added_to_those_of_the_running_one() {
    let mut view = moving("primary", "secondary");
    let request = view.site.spec.request.as_mut().unwrap();
    request.held_jobs_to_run = vec!["shop/import".into()];
    let mut plan = empty_plan(Role::Primary);
    let promote =
        |jobs: &[&str], plan: &Plan| decide_with(&view, &[&["promote"], jobs].concat(), plan);

    let join = Decision::Join { id: "r0".into() };
    assert_eq!(
        promote(&["--run-held-jobs=shop/import"], &plan).unwrap(),
        join
    );
    let both = ["--run-held-jobs=shop/import", "--run-held-jobs=shop/index"];
    let failure = promote(&both, &plan).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Usage);
    // The first may have run already. Of Jobs that could not be listed nobody knows.
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
fn what_was_overridden_for_the_site_is_not_for_namespaces_that_came_later() {
    let mut view = settled("secondary", SOUND);
    let request = view.site.spec.request.as_mut().unwrap();
    request.overrides = vec!["pods-running".into()];
    walk(
        &mut view,
        &json!({"id": "enrol-7", "to": "secondary", "namespaces": ["api"]}),
    );
    let join = Decision::Join { id: "r0".into() };
    assert_eq!(decide(&view, Role::Secondary, &[]).unwrap(), join);
    let anew = order(decide(&view, Role::Secondary, &["pods-running"]));
    assert_eq!(anew.inherited, Vec::<String>::new());
}

#[rstest]
#[case::not_said(&["demote"], Mode::Safe)]
#[case::said(&["demote", "--mode", "unsafe", "--reason", "x"], Mode::Unsafe)]
fn an_order_is_carried_out_safely_unless_it_says_otherwise(
    #[case] line: &[&str],
    #[case] mode: Mode,
) {
    let mut view = settled("primary", SOUND);
    view.site.spec.mode = Mode::Unsafe;
    let order = order(decide_with(&view, line, &empty_plan(Role::Secondary)));
    assert_eq!(order.mode, mode);
}

#[test]
fn a_new_site_that_is_being_taken_over_is_joined_by_the_id_of_its_birth() {
    let mut view = moving("primary", "secondary");
    view.site.spec.request = None;
    view.site.status = None;
    let join = Decision::Join {
        id: "birth-east".into(),
    };
    assert_eq!(decide(&view, Role::Primary, &[]).unwrap(), join);
}

#[test]
fn turning_a_running_transition_round_takes_an_override() {
    let view = moving("primary", "secondary");
    let failure = decide(&view, Role::Secondary, &[]).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    assert_eq!(
        failure.holds[0].message,
        "the promotion requested by bob: drill is not finished"
    );
    assert_eq!(
        epoch_of(decide(&view, Role::Secondary, &["transition-running"])),
        4
    );
}

#[test]
fn a_walk_is_turned_round_by_its_own_command() {
    let view = moving("primary", "secondary");
    let abort = ["promote", "--abort", "--reason", "no"];
    let order = order(decide_with(&view, &abort, &empty_plan(Role::Secondary)));
    assert_eq!(order.epoch, Epoch(4));
    assert!(!order.when_resumed);
}

#[test]
fn turning_a_demotion_round_is_a_promotion_and_asks_its_guards() {
    let mut view = moving("secondary", "primary");
    walk(&mut view, &json!({"id": "r0", "to": "secondary"}));
    let status = view.site.status.as_mut().unwrap();
    status.layers.traffic = Some(Role::Secondary);
    let mut shop = enrolled("shop", Some(Role::Primary));
    shop.state.roles.traffic = Some(Role::Secondary);
    view.enrolled.push(shop);
    let plan = empty_plan(Role::Primary);
    let abort = ["demote", "--abort", "--reason", "no"];
    let failure = decide_with(&view, &abort, &plan).unwrap_err();
    assert_eq!(failure.holds[0].guard, GuardId::PeerUnknown);
    let by_name = [&abort[..], &["--override", "peer-unknown"]].concat();
    assert_eq!(epoch_of(decide_with(&view, &by_name, &plan)), 5);
}

#[rstest]
#[case::settled(settled("primary", SOUND), "the site is settled as primary")]
#[case::the_other_way(moving("secondary", "primary"), "a demotion is")]
#[case::newcomers(newcomers(), "only namespaces that came later are being taken over")]
fn what_is_not_under_way_is_not_turned_round(#[case] view: View, #[case] instead: &str) {
    let command = if view.site.spec.role == Role::Secondary && instead.starts_with("only") {
        "demote"
    } else {
        "promote"
    };
    let line = [command, "--abort", "--reason", "x"];
    let failure = decide_with(&view, &line, &empty_plan(Role::Secondary)).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    assert!(failure.message.ends_with(instead), "{failure}");
}

fn newcomers() -> View {
    let mut view = settled("secondary", SOUND);
    walk(
        &mut view,
        &json!({"id": "enrol-7", "to": "secondary", "namespaces": ["api"]}),
    );
    view
}

fn walk(view: &mut View, walk: &Value) {
    let mut walk = walk.clone();
    for (key, value) in [
        ("epoch", json!(4)),
        ("startedAt", json!("2026-03-01T12:00:00Z")),
        ("steps", json!([])),
    ] {
        walk[key] = value;
    }
    let status = view.site.status.as_mut().unwrap();
    status.transition = Some(serde_json::from_value(walk).unwrap());
}

fn pause(view: &mut View) {
    view.site.spec.paused =
        serde_json::from_value(json!({"by": "bob", "reason": "upgrade"})).unwrap();
}

#[test]
fn a_paused_site_is_not_ordered_about() {
    let mut view = settled("primary", SOUND);
    pause(&mut view);
    let failure = decide(&view, Role::Secondary, &[]).unwrap_err();
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
fn a_walk_that_was_paused_because_it_goes_wrong_can_be_aborted_before_it_goes_on() {
    let mut view = moving("primary", "secondary");
    pause(&mut view);
    let abort = ["promote", "--abort", "--reason", "no"];
    let order = order(decide_with(&view, &abort, &empty_plan(Role::Secondary)));
    assert!(order.when_resumed);
}

fn with_a_bare_pod() -> Plan {
    let mut plan = empty_plan(Role::Secondary);
    plan.uncovered.push(Uncovered {
        object: ObjectRef {
            namespace: "shop".into(),
            group: String::new(),
            resource: "pods".into(),
            name: "bare".into(),
        },
        why: "it has no controller".into(),
    });
    plan
}

#[test]
fn what_no_rule_reaches_holds_a_demotion_until_it_is_overridden_by_name() {
    let view = settled("primary", SOUND);
    let plan = with_a_bare_pod();
    let failure = decide_with(&view, &["demote"], &plan).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    let hold = &failure.holds[0];
    assert_eq!(hold.guard, GuardId::UncoveredWorkloads);
    assert_eq!(hold.object.as_deref(), Some("shop/pods/bare"));
    for given in ["uncovered-workloads", "uncovered-workloads=shop/pods/bare"] {
        decide_with(&view, &overriding("demote", &[given]), &plan).unwrap();
    }
    let other = overriding("demote", &["uncovered-workloads=shop/pods/other"]);
    let failure = decide_with(&view, &other, &plan).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Usage);
}

#[test]
fn what_both_sites_would_publish_holds_a_demotion_and_is_overridden_apart_from_what_runs() {
    let view = settled("primary", SOUND);
    let mut plan = with_a_bare_pod();
    plan.published.push(Published {
        object: ObjectRef {
            namespace: "shop".into(),
            group: String::new(),
            resource: "services".into(),
            name: "web".into(),
        },
        why: "external-dns publishes shop.example.com".into(),
        rule: Some("service-external-dns"),
    });
    let given = overriding("demote", &["uncovered-workloads"]);
    let failure = decide_with(&view, &given, &plan).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    let holds: Vec<_> = failure
        .holds
        .iter()
        .map(|hold| (hold.guard, hold.object.as_deref()))
        .collect();
    assert_eq!(
        holds,
        [(GuardId::UncoveredTraffic, Some("shop/services/web"))]
    );
    let both = ["uncovered-workloads", "uncovered-traffic=shop/services/web"];
    decide_with(&view, &overriding("demote", &both), &plan).unwrap();
}

#[test]
fn where_not_everything_could_be_seen_nobody_is_told_that_an_override_is_not_needed() {
    let view = settled("primary", SOUND);
    let mut plan = empty_plan(Role::Secondary);
    let given = overriding("demote", &["uncovered-workloads"]);
    assert_eq!(
        decide_with(&view, &given, &plan).unwrap_err().exit,
        ExitCode::Usage
    );
    plan.unseen.push(Unseen {
        what: "what no rule reaches".into(),
        why: "forbidden".into(),
    });
    decide_with(&view, &given, &plan).unwrap();
}

#[rstest]
#[case::not_standing(
    "no-enforcement",
    "--override no-enforcement: this guard does not block now"
)]
fn an_override_that_is_not_needed_is_refused(#[case] given: &'static str, #[case] message: &str) {
    let failure = decide(&settled("secondary", SOUND), Role::Primary, &[given]).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Usage);
    assert!(failure.message.contains(message), "{failure}");
}

#[rstest]
#[case::unknown(&["promote", "--override", "peer-unknwon"], "is not a guard: the guards are peer-unknown")]
#[case::of_another_command(&["promote", "--override", "records-left"], "does not apply to a promotion")]
#[case::of_the_other_direction(&["demote", "--override", "peer-unknown"], "does not apply to a demotion")]
#[case::of_where_it_leads(&["promote", "--abort", "--override", "peer-unknown"], "does not apply to a demotion")]
#[case::not_about_objects(&["promote", "--override", "peer-unknown=a/b/c"], "cannot be overridden for single objects")]
#[case::abort_with_a_mode(&["promote", "--abort", "--mode", "safe"], "--abort only aborts the running promotion")]
#[case::abort_with_consent(&["promote", "--abort", "--run-missed"], "--abort only aborts the running promotion")]
fn what_can_have_no_effect_is_refused(#[case] line: &[&str], #[case] message: &str) {
    let line = [line, &["--reason", "x"]].concat();
    let failure = wish(&line).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Usage);
    assert!(failure.message.contains(message), "{failure}");
}
