//! Tests of a plugin that is older than the controller.

use clap::Parser as _;
use failover_core::Role;
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command};
use crate::fake_cluster::{self, FakeCluster, Ran};

async fn status(fake: &FakeCluster) -> Ran<Result<(), Failure>> {
    let line = ["kubectl-failover", "status", "-o", "json"];
    let Command::Status(args) = Cli::try_parse_from(line).unwrap().command else {
        panic!("not status");
    };
    fake_cluster::run(fake, async |session| run(session, &args, None).await).await
}

fn policy(name: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "FailoverPolicy",
        "metadata": { "namespace": "shop", "name": name },
        "spec": { "managedResources": [{ "kind": kind, "name": "web" }] }
    })
}

fn rule(name: &str, layer: &str) -> Value {
    json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "RoleRule", "metadata": { "name": name },
        "spec": {
            "group": "example.com", "version": "v1", "kind": "Widget", "resource": name, "layer": layer,
            "fields": [{ "pointer": "/spec/on", "type": "boolean", "passive": false }]
        }
    })
}

#[tokio::test(start_paused = true)]
async fn readable_objects_are_reported_and_unreadable_ones_named() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| {
        world.put(policy("a", "Widget"));
        world.put(policy("b", "Deployment"));
        world.put(rule("gadgets", "quarantine"));
        world.put(rule("widgets", "workloads"));
        world.touch_site(|site| {
            site["status"]["phase"] = json!("Draining");
            site["status"]["history"] = json!([{
                "id": "b", "to": "primary", "epoch": 1, "startedAt": "2026-01-01T00:00:00Z",
                "finishedAt": "2026-01-01T00:00:01Z", "objects": 0, "outcome": "RolledBack",
                "steps": [{ "name": "snapshots", "seconds": 3 }]
            }]);
        });
    });
    let output = status(&fake).await;
    output.result.unwrap();
    let report: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!(report["phase"], "Draining", "{report:#}");
    assert_eq!(report["history"][0]["outcome"], "RolledBack", "{report:#}");
    let unseen: Vec<_> = report["unseen"]
        .as_array()
        .unwrap()
        .iter()
        .map(|u| &u["what"])
        .collect();
    assert_eq!(unseen, ["RoleRule gadgets", "FailoverPolicy shop/a"]);
    let policies: Vec<_> = report["policies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(policies, ["shop/b"]);
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_site_is_an_error() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| world.touch_site(|site| site["spec"]["mode"] = json!("careful")));
    let failure = status(&fake).await.result.unwrap_err();
    assert!(failure.to_string().contains("careful"), "{failure:?}");
    let error = fake.cluster().site().await.unwrap_err();
    assert!(matches!(error, ApiError::Unreadable { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn objects_generated_from_rules_are_not_changed_if_a_rule_is_unreadable() {
    let fake = FakeCluster::settled(Role::Primary);
    fake.change(|world| world.put(rule("gadgets", "quarantine")));
    let answer = crate::commands::rule::for_present_rules(&fake.cluster(), false, false).await;
    assert!(matches!(answer, Err(ApiError::Unreadable { .. })));
    assert!(fake.writes().is_empty());
}
