//! A transition as an operator sees and controls it: interrupted, followed, timed out, overridden, paused, aborted; and its
//! entry in the history.
//!
//! KWOK is frozen so that terminating pods stay: the transition waits for them as long as a test needs.

use std::process::Stdio;
use std::time::Duration;

use failover_core::Role;
use failover_core::api::{Outcome, Phase, StepName, StepState};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testbed::site::shared::Lease;
use testbed::site::{
    Deadlines, JSON, Options, Output, Site, assert_names, assert_role_change, guards, waits_for,
};
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

async fn until_at(site: &Site, name: StepName, state: StepState) {
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

/// Waits until a step reports what blocks it.
async fn until_waiting_for_something(site: &Site) {
    eventually("something that blocks a step", || async {
        let transition = site
            .status()
            .await
            .transition
            .ok_or("no transition".to_owned())?;
        let named = transition.steps.iter().any(|s| !s.blocked.is_empty());
        if named {
            Ok(())
        } else {
            Err(format!("{transition:?}"))
        }
    })
    .await;
}

async fn until_phase(site: &Site, wanted: Phase) {
    eventually(&format!("phase {wanted:?}"), || async {
        let status = site.status().await;
        if status.phase == Some(wanted) {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
}

/// Starts the CLI with `-o json`; [`ended`] waits for it.
fn begin(site: &Site, arguments: &[&str]) -> Child {
    site.failover_command(&[arguments, JSON].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn ended(child: Child) -> Output {
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
fn says(text: &str, what: &str) {
    assert!(text.contains(what), "{what:?} is missing in\n{text}");
}

/// A demotion with this override.
fn overriding(given: &str) -> Vec<&str> {
    [DEMOTE, &["--override", given]].concat()
}

/// The history, newest first.
async fn history(site: &Site) -> Vec<Value> {
    let document = site.document(&["history"]).await;
    document["changes"].as_array().unwrap().clone()
}

/// What blocks a step, from the document of `status`.
fn blocked<'a>(status: &'a Value, step: &str) -> &'a Value {
    let steps = status["transition"]["steps"].as_array().unwrap();
    let step = steps.iter().find(|found| found["name"] == step).unwrap();
    &step["blocked"]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_command_leaves_the_transition_running_and_status_follows_it() {
    let site = site_whose_pods_stay().await;
    let demote = begin(&site, DEMOTE);
    until_at(&site, StepName::PodsGone, StepState::Running).await;
    let pid = i32::try_from(demote.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    // It reports no success.
    let interrupted = ended(demote).await.expect(130).failure();
    assert_eq!(interrupted["reason"], "Interrupted");
    assert_names(&interrupted["message"], &["kubectl failover status -w"]);

    until_waiting_for_something(&site).await;
    let shown = site.failover(&["status"]).await.expect(0);
    says(&shown.stdout, "> podsGone");
    says(&shown.stdout, "pods-running (shop/deployments/web): ");
    let status = site.document(&["status"]).await;
    let web = &blocked(&status, "podsGone")[0];
    assert_eq!(web["guard"], "pods-running", "{status:#}");
    assert_eq!(web["object"], "shop/deployments/web", "{status:#}");
    assert_names(&web["message"], &[" web-"]);
    let follow = begin(&site, &["status", "-w"]);
    site.thaw_kubelets();
    let output = ended(follow).await.expect(0);
    says(&output.stderr, "5/7 podsGone: done");
    says(&output.stderr, "7/7 replication: done");
    let status = output.document();
    assert_eq!(status["transition"], json!(null), "{status:#}");
    assert_eq!(status["roleInEffect"], "secondary", "{status:#}");
    assert!(status["since"].is_string(), "{status:#}");

    let history = history(&site).await;
    let change = &history[0];
    assert_eq!(change["to"], "secondary");
    assert_eq!(change["requestedBy"], "admin");
    assert_eq!(change["reason"], "drill");
    assert_eq!(change["outcome"], "Succeeded");
    let steps = change["steps"].as_array().unwrap().iter();
    let names: Vec<&str> = steps.map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "guards",
            "traffic",
            "gitops",
            "workloads",
            "podsGone",
            "volumes",
            "replication"
        ]
    );
    let wide = site.failover(&["history", "-o", "wide"]).await.expect(0);
    says(&wide.stdout, "primary -> secondary");
    says(&wide.stdout, "podsGone ");
    let again = site.failover(&["status", "-w"]).await.expect(0);
    assert_eq!(again.stderr, "", "there is nothing to follow");
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_names_what_blocks_the_transition_and_the_command_that_lets_it_continue() {
    let site = Site::start(Options {
        nodes: 1,
        deadlines: Deadlines {
            pods_gone: "8s",
            ..Deadlines::default()
        },
        ..Options::default()
    })
    .await
    .unwrap();
    with_application(&site).await;
    site.freeze_kubelets();
    let short = [DEMOTE, &["--timeout", "4s"]].concat();
    let late = site.failure(&short, 4).await;
    assert_eq!(late["reason"], "TimedOut");
    assert_names(&late["message"], &["podsGone"]);
    let web = waits_for(&late, "pods-running", "shop/deployments/web");
    says(web, " web-");
    // It is not blocked yet, so there is nothing to override.
    assert_names(&late["next"], &["kubectl failover status -w"]);
    let first = site.stored().await.spec.request.unwrap().id;

    // No such guard; a guard of promotions; and two guards that could block but do not, which only the status shows.
    let no_guard = site.failure(&overriding("pods-runing"), 2).await;
    assert_eq!(no_guard["reason"], "Usage");
    assert_names(&no_guard["message"], &["pods-runing", "pods-running"]);
    assert_eq!(no_guard["next"], json!(null), "{no_guard:#}");
    for (given, depends_on_the_site) in [
        ("peer-unknown", false),
        ("no-enforcement", true),
        ("uncovered-workloads=shop/pods/web", true),
    ] {
        let unneeded = site.failure(&overriding(given), 2).await;
        assert_eq!(unneeded["reason"], "Usage");
        assert_names(&unneeded["message"], &[given]);
        let next = unneeded["next"].as_str().unwrap();
        let sends_there = next.contains("kubectl failover status");
        assert_eq!(sends_there, depends_on_the_site, "{unneeded:#}");
    }
    assert_eq!(site.stored().await.spec.request.unwrap().id, first);

    // The same request again joins the running transition. That stalls; the command reports it at once and keeps following.
    let join = begin(&site, &[DEMOTE, &["--timeout", "30s"]].concat());
    until_phase(&site, Phase::Stalled).await;
    let shown = site.failover(&["status"]).await.expect(0);
    says(&shown.stdout, "! podsGone");
    let way_on =
        "kubectl failover demote --override pods-running=shop/deployments/web --reason TEXT";
    says(&shown.stdout, way_on);
    let arguments = [
        "demote",
        "--override",
        "pods-running=shop/deployments/web",
        "--reason",
        "its node is off",
        "--yes",
    ];
    assert_role_change(&site.document(&arguments).await, "secondary", "Done");
    let joined = ended(join).await.expect(1);
    says(&joined.stderr, "podsGone: blocked");
    says(&joined.stderr, way_on);
    assert_names(&joined.failure()["message"], &["admin", "its node is off"]);

    let history = history(&site).await;
    let entry_of = |i: usize| {
        let change = &history[i];
        (
            change["reason"].as_str().unwrap().to_owned(),
            change["outcome"].as_str().unwrap().to_owned(),
            change["overrides"].clone(),
        )
    };
    assert_eq!(
        entry_of(0),
        (
            "its node is off".to_owned(),
            "Succeeded".to_owned(),
            serde_json::json!(["pods-running=shop/deployments/web"])
        )
    );
    assert_eq!(
        entry_of(1),
        ("drill".to_owned(), "Superseded".to_owned(), Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_transition_continues_only_when_the_pause_is_over() {
    let site = site_whose_pods_stay().await;
    let demote = begin(&site, DEMOTE);
    until_at(&site, StepName::PodsGone, StepState::Running).await;
    let reason = "the volumes look odd";
    let pause = ["pause", "--reason", reason, "--for", "10s"];
    let paused = site.document(&pause).await;
    assert_eq!(paused["kind"], "Pause", "{paused:#}");
    assert_eq!(paused["site"], "east", "{paused:#}");
    assert_eq!(paused["outcome"], "Done", "{paused:#}");
    let stored = site.stored().await.spec.paused.unwrap();
    assert_eq!(paused["paused"], json!(stored));
    assert_eq!(
        (stored.by.as_str(), stored.reason.as_str()),
        ("admin", reason)
    );
    let until = stored.until.unwrap().0;
    site.thaw_kubelets();

    let status = site.document(&["status"]).await;
    assert_eq!(status["phase"], "Paused", "{status:#}");
    assert_eq!(status["paused"], paused["paused"], "{status:#}");
    assert!(
        status["transition"].is_object(),
        "it stays where it is: {status:#}"
    );
    let plan = site.failover(&["plan", "demote"]).await.expect(0);
    says(&plan.stderr, reason);
    for order in ["promote", "demote"] {
        let refused = site.failure(&[order, "--yes"], 3).await;
        assert_names(&refused["message"], &["admin", reason]);
        assert_names(&refused["next"], &["kubectl failover resume"]);
    }
    let following = ["status", "-w", "--timeout", "1s"];
    let late = site.failure(&following, 4).await;
    assert_names(&late["message"], &["admin", reason]);
    assert_names(&late["next"], &["kubectl failover resume"]);

    let output = ended(demote).await.expect(0);
    assert_role_change(&output.document(), "secondary", "Done");
    says(&output.stderr, reason);
    says(&output.stderr, "kubectl failover resume");
    says(&output.stderr, "site east: resumed");
    let done = &site.status().await.history[0];
    assert!(
        done.finished_at.0 >= until,
        "{done:?}, paused until {until}"
    );

    // A pause that has expired still has to be removed.
    assert!(site.stored().await.spec.paused.is_some());
    resumed(&site, "Done").await;
    site.failover(&["pause", "--reason", "x"]).await.expect(0);
    assert_eq!(site.status().await.phase, Some(Phase::Paused));
    resumed(&site, "Done").await;
    site.until_ready().await;
    resumed(&site, "Already").await;
    site.clear(&["shop"]).await;
}

/// Resumes and asserts this outcome.
async fn resumed(site: &Site, outcome: &str) {
    let resumed = site.document(&["resume"]).await;
    assert_eq!(resumed["kind"], "Pause", "{resumed:#}");
    assert_eq!(resumed["outcome"], outcome, "{resumed:#}");
    assert_eq!(resumed["paused"], json!(null), "{resumed:#}");
    assert_eq!(site.stored().await.spec.paused, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transition_can_be_aborted_even_while_it_is_paused() {
    let site = site_whose_pods_stay().await;
    let demote = begin(&site, DEMOTE);
    until_at(&site, StepName::PodsGone, StepState::Running).await;
    let ordered = site.stored().await.spec;
    let refused = site.failure(&["promote", "--yes"], 3).await;
    let mut refusals = refused["guards"].as_array().unwrap().iter();
    let running = refusals.find(|guard| guard["guard"] == "transition-running");
    let running = running.unwrap();
    let abort = "kubectl failover demote --abort --reason TEXT";
    assert_names(&running["hint"], &[abort]);
    // No promotion is running.
    let none = ["promote", "--abort", "--reason", "x", "--yes"];
    let refused = site.failure(&none, 3).await;
    assert_eq!(refused["guards"], json!(null), "{refused:#}");
    assert_names(&refused["message"], &["east"]);
    assert_names(&refused["next"], &["kubectl failover status"]);
    assert_eq!(site.stored().await.spec, ordered, "nothing is changed");

    site.failover(&["pause", "--reason", "wait"])
        .await
        .expect(0);
    let abort = [
        "demote",
        "--abort",
        "--yes",
        "--reason",
        "west did not come up",
    ];
    let refused = site.failure(&abort, 3).await;
    let asks_for_the_peer = guards(&refused).contains(&("peer-unknown", ""));
    assert!(asks_for_the_peer, "{refused:#}");
    let abort = [&abort[..], &["--override", "peer-unknown"]].concat();
    let report = site.document(&abort).await;
    assert_eq!(report["whenResumed"], true, "{report}");
    let superseded = ended(demote).await.expect(1).failure();
    assert_names(&superseded["message"], &["admin", "west did not come up"]);
    assert_eq!(site.status().await.phase, Some(Phase::Paused));

    site.thaw_kubelets();
    resumed(&site, "Done").await;
    site.failover(&["status", "-w"]).await.expect(0);
    let site_now = site.stored().await;
    assert_eq!(site_now.spec.role, Role::Primary);
    assert!(site_now.spec.epoch > site.status().await.history[1].epoch);
    until_available(&site, 2).await;

    let history = site.status().await.history;
    let outcomes: Vec<_> = history.iter().take(2).map(|h| (h.to, h.outcome)).collect();
    assert_eq!(
        outcomes,
        [
            (Role::Primary, Outcome::Succeeded),
            (Role::Secondary, Outcome::Superseded)
        ]
    );
    let refused = site.failure(&abort, 3).await;
    assert_eq!(refused["guards"], json!(null), "{refused:#}");
    assert_names(&refused["message"], &["primary"]);
    assert_names(&refused["next"], &["kubectl failover status"]);
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_whose_application_does_not_become_available_can_be_aborted() {
    let site = site_that_waits().await;
    site.failover(DEMOTE).await.expect(0);
    site.freeze_kubelets();
    let promote = [
        "promote",
        "--yes",
        "--override",
        "peer-unknown",
        "--reason",
        "west is off",
        "--timeout",
        "10s",
    ];
    let late = site.failure(&promote, 4).await;
    assert_eq!(late["reason"], "TimedOut");
    assert_names(&late["message"], &["available"]);
    let web = waits_for(&late, "workloads-unavailable", "shop/deployments/web");
    says(web, "0 of 2");
    let before = site.stored().await;
    let status = before.status.unwrap();
    assert_eq!(status.layers.traffic, Some(Role::Secondary));
    let steps = status.transition.unwrap().steps;
    let available = steps.iter().find(|s| s.name == StepName::Available);
    let available = available.unwrap();
    assert_eq!(available.state, StepState::Running);
    assert_eq!((available.done, available.total), (0, 1));

    let abort = begin(
        &site,
        &[
            "promote",
            "--abort",
            "--yes",
            "--reason",
            "the images are missing",
        ],
    );
    until_at(&site, StepName::PodsGone, StepState::Running).await;
    site.thaw_kubelets();
    let aborted = ended(abort).await.expect(0).document();
    assert_role_change(&aborted, "secondary", "Done");
    assert_eq!(aborted["aborted"], true, "{aborted:#}");
    let after = site.stored().await;
    assert_eq!(
        after.spec.epoch, before.spec.epoch,
        "an aborted promotion raises no epoch"
    );
    let wide = site.failover(&["history", "-o", "wide"]).await.expect(0);
    says(&wide.stdout, "the images are missing");
    let history = site.status().await.history;
    let outcomes: Vec<_> = history.iter().take(2).map(|h| (h.to, h.outcome)).collect();
    assert_eq!(
        outcomes,
        [
            (Role::Secondary, Outcome::Succeeded),
            (Role::Primary, Outcome::Superseded)
        ]
    );
    site.clear(&["shop"]).await;
}
