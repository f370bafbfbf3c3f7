//! Guards and their overrides.

use failover_core::api::Peer;
use failover_core::checks::uncovered::Uncovered;
use failover_core::checks::uncovered::traffic::Published;
use failover_core::object::ObjectRef;
use rstest::rstest;

use super::*;
use crate::cluster::Unseen;
use crate::exit_code::ExitCode;

#[test]
fn a_promotion_needs_an_override_of_peer_unknown_even_with_a_configured_peer() {
    let mut view = settled("secondary", SOUND);
    view.site.spec.peer = Some(Peer {
        site_name: "west".into(),
        kubeconfig_secret: None,
    });
    let failure = decision_on(&view, Role::Primary, &[]).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    assert_eq!(failure.holds[0].guard, GuardId::PeerUnknown);
    assert_eq!(
        epoch_of(decision_on(&view, Role::Primary, &["peer-unknown"])),
        5
    );
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
fn uncovered_workloads_block_a_demotion_until_overridden() {
    let view = settled("primary", SOUND);
    let plan = with_a_bare_pod();
    let failure = decision_with(&view, &["demote"], &plan).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    let hold = &failure.holds[0];
    assert_eq!(hold.guard, GuardId::UncoveredWorkloads);
    assert_eq!(hold.object.as_deref(), Some("shop/pods/bare"));
    for given in ["uncovered-workloads", "uncovered-workloads=shop/pods/bare"] {
        decision_with(&view, &overriding("demote", &[given]), &plan).unwrap();
    }
    let other = overriding("demote", &["uncovered-workloads=shop/pods/other"]);
    let failure = decision_with(&view, &other, &plan).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Usage);
}

#[test]
fn uncovered_traffic_blocks_a_demotion_and_needs_its_own_override() {
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
    let failure = decision_with(&view, &given, &plan).unwrap_err();
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
    decision_with(&view, &overriding("demote", &both), &plan).unwrap();
}

#[test]
fn an_override_is_accepted_if_some_objects_could_not_be_read() {
    let view = settled("primary", SOUND);
    let mut plan = empty_plan(Role::Secondary);
    let given = overriding("demote", &["uncovered-workloads"]);
    assert_eq!(
        decision_with(&view, &given, &plan).unwrap_err().exit,
        ExitCode::Usage
    );
    plan.unseen.push(Unseen {
        what: "what no rule reaches".into(),
        why: "forbidden".into(),
    });
    decision_with(&view, &given, &plan).unwrap();
}

#[rstest]
#[case::does_not_block(
    "no-enforcement",
    "--override no-enforcement: this guard does not block now"
)]
fn an_unneeded_override_is_refused(#[case] given: &'static str, #[case] message: &str) {
    let failure = decision_on(&settled("secondary", SOUND), Role::Primary, &[given]).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Usage);
    assert!(failure.message.contains(message), "{failure}");
}

#[rstest]
#[case::unknown(&["promote", "--override", "peer-unknwon"], "is not a guard: the guards are peer-unknown")]
#[case::of_another_command(&["promote", "--override", "records-left"], "does not apply to a promotion")]
#[case::of_the_other_direction(&["demote", "--override", "peer-unknown"], "does not apply to a demotion")]
#[case::of_the_aborted_direction(&["promote", "--abort", "--override", "peer-unknown"], "does not apply to a demotion")]
#[case::not_about_objects(&["promote", "--override", "peer-unknown=a/b/c"], "cannot be overridden for single objects")]
#[case::abort_with_a_mode(&["promote", "--abort", "--mode", "safe"], "--abort only aborts the running promotion")]
#[case::abort_with_consent(&["promote", "--abort", "--run-missed"], "--abort only aborts the running promotion")]
fn a_flag_without_effect_is_refused(#[case] line: &[&str], #[case] message: &str) {
    let line = [line, &["--reason", "x"]].concat();
    let failure = intent(&line).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Usage);
    assert!(failure.message.contains(message), "{failure}");
}
