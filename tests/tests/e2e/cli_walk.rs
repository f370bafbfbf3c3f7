//! A transition as an operator sees and steers it: interrupted, followed, out of time, let go on, paused, turned round; and what
//! the history says of it afterwards.
//!
//! KWOK is frozen, so that pods which are to end stay as they are: the transition waits for them for as long as a test wants.

use std::process::Stdio;
use std::time::Duration;

use failover_core::Role;
use failover_core::api::{Outcome, Phase, StepName, StepState};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testbed::site::{Deadlines, Options, Output, Site};
use testbed::{eventually, fixtures};
use tokio::process::Child;

const DEMOTE: &[&str] = &["demote", "--yes", "--reason", "drill"];

/// A primary with an application whose pods never end.
async fn site_whose_pods_stay(pods_gone: &'static str) -> Site {
    let mut site = site_that_waits(Deadlines {
        pods_gone,
        ..Deadlines::default()
    })
    .await;
    freeze(&mut site);
    site
}

/// A primary with an application that is up.
async fn site_that_waits(deadlines: Deadlines) -> Site {
    let site = Site::start(Options {
        nodes: 1,
        deadlines,
        ..Options::default()
    })
    .await
    .unwrap();
    site.enrolled_namespace("shop").await;
    site.apply_as_flux(&fixtures::deployment("shop", "web", 2))
        .await
        .unwrap();
    until_available(&site, 2).await;
    site
}

fn freeze(site: &mut Site) {
    site.kwok.as_mut().unwrap().signal(Signal::SIGSTOP);
}

fn thaw(site: &mut Site) {
    site.kwok.as_mut().unwrap().signal(Signal::SIGCONT);
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
        let walk = site.status().await.transition.ok_or("no walk".to_owned())?;
        let here = walk
            .steps
            .iter()
            .any(|s| s.name == name && s.state == state);
        if here {
            Ok(())
        } else {
            Err(format!("{walk:?}"))
        }
    })
    .await;
}

/// Until the step that is under way says what it waits for.
async fn until_waiting_for_something(site: &Site) {
    eventually("something in the way", || async {
        let walk = site.status().await.transition.ok_or("no walk".to_owned())?;
        let named = walk.steps.iter().any(|s| !s.blocked.is_empty());
        if named {
            Ok(())
        } else {
            Err(format!("{walk:?}"))
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

/// Starts the CLI, to be met again at its end.
fn begin(site: &Site, arguments: &[&str]) -> Child {
    site.failover_command(arguments)
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

#[track_caller]
fn says(text: &str, what: &str) {
    assert!(text.contains(what), "{what:?} is missing in\n{text}");
}

/// The changes of the past, newest first.
async fn history(site: &Site) -> Vec<Value> {
    let output = site.failover(&["history", "-o", "json"]).await.expect(0);
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    document["changes"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_interrupts_the_command_leaves_the_walk_going_and_can_follow_it_to_its_end() {
    let mut site = site_whose_pods_stay("30s").await;
    let demote = begin(&site, DEMOTE);
    until_at(&site, StepName::PodsGone, StepState::Running).await;
    let pid = i32::try_from(demote.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    let output = ended(demote).await.expect(130);
    says(&output.stderr, "kubectl failover status -w");
    assert_eq!(output.stdout, "", "nothing is claimed");

    until_waiting_for_something(&site).await;
    let shown = site.failover(&["status"]).await.expect(0);
    says(&shown.stdout, "> podsGone");
    says(
        &shown.stdout,
        "pods-running (shop/deployments/web): pod web-",
    );
    let follow = begin(&site, &["status", "-w"]);
    thaw(&mut site);
    let output = ended(follow).await.expect(0);
    says(&output.stderr, "demotion 5/7 podsGone: done in");
    says(&output.stderr, "demotion 7/7 replication: done in");
    says(&output.stdout, "Role:         secondary for");

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
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_time_it_says_what_is_waited_for_and_the_order_that_it_names_lets_the_walk_go_on() {
    let site = site_whose_pods_stay("8s").await;
    let short = [DEMOTE, &["--timeout", "4s"]].concat();
    let output = site.failover(&short).await.expect(4);
    says(&output.stderr, "it has come to step podsGone");
    says(
        &output.stderr,
        "pods-running (shop/deployments/web): pod web-",
    );
    let first = site.stored().await.spec.request.unwrap().id;

    for (given, code, told) in [
        ("pods-runing", 2, "is not a guard: the guards are"),
        ("peer-unknown", 2, "does not apply to a demotion"),
        ("no-enforcement", 2, "does not block now"),
        (
            "uncovered-workloads=shop/pods/web",
            2,
            "does not block that object now",
        ),
    ] {
        let line = [DEMOTE, &["--override", given]].concat();
        let output = site.failover(&line).await.expect(code);
        says(&output.stderr, told);
    }
    assert_eq!(site.stored().await.spec.request.unwrap().id, first);

    // The same order again is joined; it stalls, and the command says so at once and goes on following.
    let join = begin(&site, &[DEMOTE, &["--timeout", "30s"]].concat());
    until_phase(&site, Phase::Stalled).await;
    let shown = site.failover(&["status"]).await.expect(0);
    says(&shown.stdout, "! podsGone");
    says(
        &shown.stdout,
        "it continues once the cause is removed; to continue without: kubectl failover demote --override pods-running=shop/deployments/web --reason TEXT",
    );
    let arguments = [
        "demote",
        "--override",
        "pods-running=shop/deployments/web",
        "--reason",
        "its node is off",
        "--yes",
    ];
    let output = site.failover(&arguments).await.expect(0);
    says(&output.stdout, "demoted to secondary");
    let joined = ended(join).await.expect(1);
    says(&joined.stderr, "blocked");
    says(&joined.stderr, "it continues once the cause is removed");
    says(&joined.stderr, "by admin: its node is off");

    let history = history(&site).await;
    let told = |i: usize| {
        let change = &history[i];
        (
            change["reason"].as_str().unwrap().to_owned(),
            change["outcome"].as_str().unwrap().to_owned(),
            change["overrides"].clone(),
        )
    };
    assert_eq!(
        told(0),
        (
            "its node is off".to_owned(),
            "Succeeded".to_owned(),
            serde_json::json!(["pods-running=shop/deployments/web"])
        )
    );
    assert_eq!(
        told(1),
        ("drill".to_owned(), "Superseded".to_owned(), Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_in_the_middle_lets_nothing_move_until_it_is_over() {
    let mut site = site_whose_pods_stay("60s").await;
    let demote = begin(&site, DEMOTE);
    until_at(&site, StepName::PodsGone, StepState::Running).await;
    let pause = ["pause", "--reason", "the volumes look odd", "--for", "10s"];
    let output = site.failover(&pause).await.expect(0);
    says(&output.stdout, "site east paused by admin until");
    says(&output.stdout, "the demotion stays where it is");
    let until = site.stored().await.spec.paused.unwrap().until.unwrap().0;
    thaw(&mut site);

    let shown = site.failover(&["status"]).await.expect(0);
    says(&shown.stdout, "Phase:        Paused");
    says(&shown.stdout, "Paused:       by admin until");
    let plan = site.failover(&["plan", "demote"]).await.expect(0);
    says(&plan.stderr, "is paused by admin until");
    for order in ["promote", "demote"] {
        let output = site.failover(&[order, "--yes"]).await.expect(3);
        says(&output.stderr, "resume it first: kubectl failover resume");
    }
    let following = site
        .failover(&["status", "-w", "--timeout", "1s"])
        .await
        .expect(4);
    says(&following.stderr, "the site is paused by admin until");

    let output = ended(demote).await.expect(0);
    says(&output.stderr, "site east: paused by admin until");
    says(&output.stderr, "the volumes look odd");
    says(&output.stderr, "site east: resumed");
    let done = &site.status().await.history[0];
    assert!(
        done.finished_at.0 >= until,
        "{done:?}, paused until {until}"
    );

    let over = site.failover(&["resume"]).await.expect(0);
    says(&over.stdout, "which had ended by itself");
    site.failover(&["pause", "--reason", "x"]).await.expect(0);
    let resumed = site.failover(&["resume"]).await.expect(0);
    says(
        &resumed.stdout,
        "site east resumed (it was paused by admin: x)",
    );
    site.until_ready().await;
    let idle = site.failover(&["resume"]).await.expect(0);
    says(&idle.stdout, "is not paused: nothing to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_is_turned_round_in_the_middle_even_while_it_is_paused() {
    let mut site = site_whose_pods_stay("60s").await;
    let demote = begin(&site, DEMOTE);
    until_at(&site, StepName::PodsGone, StepState::Running).await;
    let output = site.failover(&["promote", "--yes"]).await.expect(3);
    says(&output.stderr, "guard transition-running");
    says(
        &output.stderr,
        "kubectl failover demote --abort --reason TEXT",
    );
    let none = ["promote", "--abort", "--reason", "x", "--yes"];
    let output = site.failover(&none).await.expect(3);
    says(
        &output.stderr,
        "no promotion of site east is under way, and nothing was changed: a demotion is",
    );

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
    let output = site.failover(&abort).await.expect(3);
    says(&output.stderr, "guard peer-unknown");
    let abort = [&abort[..], &["--override", "peer-unknown"]].concat();
    let report = site.document(&abort).await;
    assert_eq!(report["whenResumed"], true, "{report}");
    let output = ended(demote).await.expect(1);
    says(&output.stderr, "by admin: west did not come up");
    assert_eq!(site.status().await.phase, Some(Phase::Paused));

    thaw(&mut site);
    let output = site.failover(&["resume"]).await.expect(0);
    says(&output.stdout, "the promotion goes on");
    site.failover(&["status", "-w"]).await.expect(0);
    let site_now = site.stored().await;
    assert_eq!(site_now.spec.role, Role::Primary);
    assert!(site_now.spec.epoch > site.status().await.history[1].epoch);
    until_available(&site, 2).await;

    let history = site.status().await.history;
    let told: Vec<_> = history.iter().take(2).map(|h| (h.to, h.outcome)).collect();
    assert_eq!(
        told,
        [
            (Role::Primary, Outcome::Succeeded),
            (Role::Secondary, Outcome::Superseded)
        ]
    );
    let output = site.failover(&abort).await.expect(3);
    says(&output.stderr, "the site is settled as primary");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_whose_application_does_not_come_up_is_turned_round() {
    let mut site = site_that_waits(Deadlines {
        available: "60s",
        ..Deadlines::default()
    })
    .await;
    site.failover(DEMOTE).await.expect(0);
    freeze(&mut site);
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
    let output = site.failover(&promote).await.expect(4);
    says(&output.stderr, "it has come to step available, 0 of 1");
    says(
        &output.stderr,
        "workloads-unavailable (shop/deployments/web): 0 of 2 replicas are available",
    );
    let before = site.stored().await;
    assert_eq!(before.status.unwrap().layers.traffic, Some(Role::Secondary));

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
    thaw(&mut site);
    let output = ended(abort).await.expect(0);
    says(
        &output.stdout,
        "site east: promotion aborted, demoted to secondary in",
    );
    let after = site.stored().await;
    assert_eq!(
        after.spec.epoch, before.spec.epoch,
        "who stands back claims nothing"
    );
    let wide = site.failover(&["history", "-o", "wide"]).await.expect(0);
    says(&wide.stdout, "the images are missing");
    let history = site.status().await.history;
    let told: Vec<_> = history.iter().take(2).map(|h| (h.to, h.outcome)).collect();
    assert_eq!(
        told,
        [
            (Role::Secondary, Outcome::Succeeded),
            (Role::Primary, Outcome::Superseded)
        ]
    );
}
