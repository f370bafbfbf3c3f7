//! A transition as an operator sees and controls it: interrupted, followed, timed out, overridden, paused, aborted; and its
//! entry in the history.
//!
//! KWOK is frozen so that terminating pods stay: the transition waits for them as long as a test needs.

mod abort;
mod interrupt;
mod pause;
mod timeout;

use std::process::Stdio;
use std::time::Duration;

use failover_core::api::{StepName, StepState};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};
use testbed::site::shared::Lease;
use testbed::site::{Deadlines, JSON, Options, Output, Site};
use testbed::{eventually, fixtures};
use tokio::process::Child;

const DEMOTE: &[&str] = &["demote", "--yes", "--reason", "drill"];

/// A primary with an application whose pods do not terminate.
async fn site_whose_pods_stay() -> Lease {
    let site = site_that_waits().await;
    site.freeze_kubelets();
    site
}

/// A primary with an available application and long deadlines: nothing stalls within a test.
async fn site_that_waits() -> Lease {
    let site = Site::shared(Options {
        nodes: 1,
        deadlines: Deadlines {
            pods_gone: "60s",
            available: "60s",
            ..Deadlines::default()
        },
        ..Options::default()
    })
    .await
    .unwrap();
    with_application(&site).await;
    site
}

async fn with_application(site: &Site) {
    site.enrolled_namespace("shop").await;
    site.apply_as_flux(&fixtures::deployment("shop", "web", 2))
        .await
        .unwrap();
    until_available(site, 2).await;
}

async fn until_available(site: &Site, wanted: i32) {
    let deployments: Api<Deployment> = Api::namespaced(site.client(), "shop");
    eventually("the application to be up", || async {
        let web = deployments.get("web").await.map_err(|e| e.to_string())?;
        let status = web.status.unwrap_or_default();
        if status.available_replicas == Some(wanted) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
}

async fn until_step(site: &Site, name: StepName, state: StepState) {
    eventually(&format!("step {name:?} {state:?}"), || async {
        let transition = site
            .status()
            .await
            .transition
            .ok_or("no transition".to_owned())?;
        let here = transition
            .steps
            .iter()
            .any(|s| s.name == name && s.state == state);
        if here {
            Ok(())
        } else {
            Err(format!("{transition:?}"))
        }
    })
    .await;
}

/// Starts the CLI with `-o json`; [`finish`] waits for it.
fn spawn(site: &Site, arguments: &[&str]) -> Child {
    site.failover_command(&[arguments, JSON].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn finish(child: Child) -> Output {
    let output = tokio::time::timeout(Duration::from_secs(120), child.wait_with_output())
        .await
        .expect("the CLI ends")
        .unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// For progress output and tables: assert on marks and names only, not on sentences.
#[track_caller]
fn assert_contains(text: &str, what: &str) {
    assert!(text.contains(what), "{what:?} is missing in\n{text}");
}

/// The history, newest first.
async fn history(site: &Site) -> Vec<Value> {
    let document = site.document(&["history"]).await;
    document["changes"].as_array().unwrap().clone()
}

/// Resumes and asserts this outcome.
async fn assert_resume(site: &Site, outcome: &str) {
    let document = site.document(&["resume"]).await;
    assert_eq!(document["kind"], "Pause", "{document:#}");
    assert_eq!(document["outcome"], outcome, "{document:#}");
    assert_eq!(document["paused"], json!(null), "{document:#}");
    assert_eq!(site.stored().await.spec.paused, None);
}
