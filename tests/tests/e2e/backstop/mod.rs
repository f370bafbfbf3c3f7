//! The backstop: what the API server refuses by itself, without webhook and controller.

mod activation;
mod pod_gate;
mod state;

use std::time::Duration;

use failover_core::RuleSet;
use serde_json::{Value, json};
use testbed::fixtures;
use testbed::site::shared::Lease;
use testbed::site::{DEMOTE, Options, Site};

const PATIENCE: Duration = Duration::from_secs(30);

/// A secondary site with one passive object of each kind, whose webhook and controller are stopped.
async fn secondary_with_backstop_alone() -> Lease {
    let site = Site::shared(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    for manifest in everything() {
        site.apply_as_flux(&manifest).await.unwrap();
    }
    let named = [("Kustomization", "apps")];
    let policy = fixtures::failover_policy("shop", "apps", None, &named);
    site.apply_as_person(&policy).await.unwrap();
    site.until_in_force("shop", "kustomizations/apps=site")
        .await;
    site.failover(DEMOTE).await.expect(0);
    site.controller.terminate(PATIENCE).unwrap();
    site.webhook.terminate(PATIENCE).unwrap();
    site
}

/// Starts webhook and controller again and restores the site.
async fn release(site: Lease) {
    site.controller.restart().unwrap();
    site.webhook.restart().unwrap();
    site.until_ready().await;
    site.clear(&["shop"]).await;
}

fn everything() -> Vec<Value> {
    let mut all = fixtures::every_kind("shop");
    all.push(fixtures::kustomization("shop", "apps"));
    all
}

/// Asserts 403 and a message with all of these parts. On another code Flux would delete and recreate the object.
#[track_caller]
fn assert_forbidden<T: std::fmt::Debug>(result: kube::Result<T>, says: &[&str]) {
    match result {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            for part in says {
                assert!(
                    status.message.contains(part),
                    "{part:?} in {:?}",
                    status.message
                );
            }
        }
        other => panic!("expected 403, got {other:?}"),
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// The rule for an object's kind.
fn rule_of(object: &Value) -> failover_core::Rule {
    let kind = object["kind"].as_str().unwrap();
    let rules = RuleSet::built_in();
    rules.iter().find(|rule| rule.kind == kind).unwrap().clone()
}

/// What makes an object active again, as a merge patch.
fn activation(object: &Value) -> Value {
    let rule = rule_of(object);
    let pointer = &rule.fields[0].pointer;
    let active = match pointer.field() {
        "replicas" => json!(3),
        "replicationState" => json!("primary"),
        "suspend" => json!(false),
        _ => json!("dns-controller"),
    };
    pointer
        .segments()
        .rev()
        .fold(active, |inner, segment| json!({ segment: inner }))
}
