use failover_core::transition::EnrolledNamespace;
use serde_json::{Value, json};

use super::*;
use crate::cluster::WebhookState;
use crate::commands::status::report::Backstop;
use crate::output::Format;
use crate::output::screen::tests::{PIPE, captured};
use crate::plan::tests::{deployment, enrolled, survey};

const SOUND: WebhookState = WebhookState {
    configured: true,
    trusted: true,
};

fn now() -> Timestamp {
    "2026-03-01T14:00:00Z".parse().unwrap()
}

fn layers(role: &str) -> Value {
    json!({"volumes": role, "workloads": role, "gitops": role, "traffic": role})
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message,
           "lastTransitionTime": "2026-03-01T13:00:00Z"})
}

fn site(role: &str, status: &Value) -> failover_core::api::Site {
    serde_json::from_value(json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": {"name": "cluster"},
        "spec": {"siteName": "east", "role": role, "epoch": 7}, "status": status
    }))
    .unwrap()
}

fn settled() -> failover_core::api::Site {
    let status = json!({
        "phase": "Stable", "revision": 3, "layers": layers("secondary"),
        "history": [{
            "id": "r1", "from": "primary", "to": "secondary", "epoch": 7, "requestedBy": "alice", "reason": "drill\nnext line",
            "startedAt": "2026-03-01T11:59:58Z", "finishedAt": "2026-03-01T12:00:00Z", "objects": 42, "outcome": "Succeeded"
        }],
        "enforcers": [{"name": "webhook-a", "revision": 3, "namespaces": 1, "lastSeen": "2026-03-01T13:59:58Z"}],
        "conditions": [
            condition("Ready", "True", "Stable", "role and objects agree"),
            condition("PeerConsistent", "Unknown", "NoPeer", "no peer is configured")
        ]
    });
    site("secondary", &status)
}

fn stalled() -> failover_core::api::Site {
    let status = json!({
        "phase": "Stalled", "revision": 4, "layers": layers("secondary"),
        "transition": {
            "id": "r2", "from": "primary", "to": "secondary", "epoch": 7, "requestedBy": "bob", "reason": "fire",
            "startedAt": "2026-03-01T13:59:00Z", "steps": [
                {"name": "guards", "state": "Done"},
                {"name": "workloads", "state": "Blocked", "total": 2, "done": 1, "blocked": [
                    {"guard": "not-conforming", "object": "shop/deployments/api", "message": "refused\u{1b}[2J"}]}
            ]
        },
        "conditions": [condition("Ready", "False", "Stalled", "not-conforming")]
    });
    site("secondary", &status)
}

fn shop() -> (Vec<EnrolledNamespace>, crate::cluster::Survey) {
    let shop = enrolled("shop", Some(Role::Secondary));
    let found = vec![
        deployment("web", 0, Some("{\"/spec/replicas\":3}")),
        deployment("api", 2, None),
    ];
    let survey = survey(&shop, found);
    (vec![shop], survey)
}

fn printed(report: &StatusReport, format: Format) -> String {
    let (screen, out, err) = captured(PIPE);
    report.print(format, &screen);
    assert_eq!(err.text(), "");
    out.text()
}

#[test]
fn a_settled_site_fits_on_a_screen() {
    let (enrolled, survey) = shop();
    let mut report = StatusReport::new(
        Some(&settled()),
        &enrolled[..],
        Some(&survey),
        Some(SOUND),
        None,
        now(),
    );
    report.backstop = Some(Backstop { missing: vec![] });
    insta::assert_snapshot!(printed(&report, Format::Table));
}

#[test]
fn wide_adds_conditions_replicas_and_history() {
    let (enrolled, survey) = shop();
    let report = StatusReport::new(
        Some(&settled()),
        &enrolled,
        Some(&survey),
        Some(SOUND),
        None,
        now(),
    );
    insta::assert_snapshot!(printed(&report, Format::Wide));
}

#[test]
fn a_site_that_is_held_says_by_what() {
    let (enrolled, survey) = shop();
    let webhook = WebhookState::default();
    let mut report = StatusReport::new(
        Some(&stalled()),
        &enrolled,
        Some(&survey),
        Some(webhook),
        None,
        now(),
    );
    report.backstop = Some(Backstop {
        missing: vec![
            "policy jobs.batch.failover.dev".into(),
            "binding jobs.batch.failover.dev".into(),
        ],
    });
    insta::assert_snapshot!(printed(&report, Format::Table));
}

#[test]
fn a_site_that_is_lost_still_shows_what_the_namespaces_hold() {
    let (enrolled, _) = shop();
    let report = StatusReport::new(None, &enrolled, None, None, None, now());
    insta::assert_snapshot!(printed(&report, Format::Table));
}

#[test]
fn object_roles_deferred_requests_and_refused_policies_are_named() {
    let (mut enrolled, survey) = shop();
    enrolled[0].state.objects.set(
        "deployments",
        "proxy",
        failover_core::namespace::ObjectRole::Exempt,
    );
    let mut report = StatusReport::new(
        Some(&settled()),
        &enrolled,
        Some(&survey),
        Some(SOUND),
        None,
        now(),
    );
    report.deferred.push(failover_core::object_roles::Deferred {
        object: failover_core::object::ObjectKey {
            namespace: "shop".into(),
            resource: "deployments".into(),
            name: "web".into(),
        },
        why: "exempt label of deployments/web waits for the promotion".into(),
    });
    for (name, ready, reason) in [
        ("shop/east", Some(false), "Conflict"),
        ("shop/sound", Some(true), "Enforced"),
    ] {
        report.policies.push(crate::plan::object_roles::Policy {
            name: name.into(),
            desired_state: Some(Role::Secondary),
            ready,
            reason: reason.into(),
            message: String::new(),
        });
    }
    insta::assert_snapshot!(printed(&report, Format::Table));
}

#[test]
fn the_document_has_everything_under_stable_names() {
    let (enrolled, survey) = shop();
    let report = StatusReport::new(
        Some(&stalled()),
        &enrolled,
        Some(&survey),
        Some(SOUND),
        None,
        now(),
    );
    let mut document = serde_json::to_value(&report).unwrap();
    assert_eq!(
        document["namespaces"][0]["notConforming"],
        json!([{"object": "shop/deployments/api"}])
    );
    assert_eq!(
        document["transition"]["steps"][1]["blocked"][0]["guard"],
        "not-conforming"
    );
    let mut names: Vec<_> = document.as_object_mut().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "backstop",
            "conditions",
            "controller",
            "deferred",
            "enforcers",
            "epoch",
            "history",
            "hooks",
            "layers",
            "left",
            "namespaces",
            "objectRoles",
            "orphaned",
            "paused",
            "phase",
            "policies",
            "role",
            "roleInEffect",
            "since",
            "site",
            "transition",
            "unseen",
            "webhook"
        ]
    );
}

#[test]
fn a_paused_site_says_who_paused_it_until_when_and_why() {
    let (enrolled, survey) = shop();
    let mut paused = stalled();
    paused.spec.paused = serde_json::from_value(
        json!({"by": "bob", "reason": "look first", "until": "2026-03-01T15:30:00Z"}),
    )
    .unwrap();
    paused.status.as_mut().unwrap().phase = Some(Phase::Paused);
    let report = StatusReport::new(
        Some(&paused),
        &enrolled,
        Some(&survey),
        Some(SOUND),
        None,
        now(),
    );
    insta::assert_snapshot!(printed(&report, Format::Table));
}
