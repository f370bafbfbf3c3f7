mod abort;
mod guards;
mod requests;

use clap::Parser as _;
use failover_core::guards::Facts;
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command};
use crate::cluster::Survey;

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

fn intent(line: &[&str]) -> Result<Intent, Failure> {
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

/// The decision, after the guards were checked.
fn decision_with(view: &View, line: &[&str], plan: &Plan) -> Result<Decision, Failure> {
    let intent = intent(line)?;
    let decision = decide(view, &intent, Timestamp::UNIX_EPOCH)?;
    if let Decision::Order(order) = &decision {
        check_guards(view, &intent, order, plan)?;
    }
    Ok(decision)
}

fn decision_on(view: &View, role: Role, overrides: &[&'static str]) -> Result<Decision, Failure> {
    let line = overriding(words(role).command, overrides);
    decision_with(view, &line, &empty_plan(role))
}

fn order(decision: Result<Decision, Failure>) -> Ordered {
    match decision.unwrap() {
        Decision::Order(order) => order,
        other => panic!("{other:?}"),
    }
}

fn epoch_of(decision: Result<Decision, Failure>) -> i64 {
    order(decision).epoch.0
}

fn start(view: &mut View, fields: &Value) {
    let mut transition = fields.clone();
    for (key, value) in [
        ("epoch", json!(4)),
        ("startedAt", json!("2026-03-01T12:00:00Z")),
        ("steps", json!([])),
    ] {
        transition[key] = value;
    }
    let status = view.site.status.as_mut().unwrap();
    status.transition = Some(serde_json::from_value(transition).unwrap());
}
