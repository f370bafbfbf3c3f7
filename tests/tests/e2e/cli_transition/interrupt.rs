//! An interrupted command, and following the transition afterwards.

use failover_core::api::{StepName, StepState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testbed::eventually;
use testbed::site::{Site, assert_names};

use super::{DEMOTE, assert_contains, finish, history, site_whose_pods_stay, spawn, until_step};

/// Waits until a step reports what blocks it.
async fn until_blocked(site: &Site) {
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

/// What blocks a step, from the document of `status`.
fn blocked<'a>(status: &'a Value, step: &str) -> &'a Value {
    let steps = status["transition"]["steps"].as_array().unwrap();
    let step = steps.iter().find(|found| found["name"] == step).unwrap();
    &step["blocked"]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_command_leaves_the_transition_running_and_status_follows_it() {
    let site = site_whose_pods_stay().await;
    let demote = spawn(&site, DEMOTE);
    until_step(&site, StepName::PodsGone, StepState::Running).await;
    let pid = i32::try_from(demote.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    // It reports no success.
    let interrupted = finish(demote).await.expect(130).failure();
    assert_eq!(interrupted["reason"], "Interrupted");
    assert_names(&interrupted["message"], &["kubectl failover status -w"]);

    until_blocked(&site).await;
    let shown = site.failover(&["status"]).await.expect(0);
    assert_contains(&shown.stdout, "> podsGone");
    assert_contains(&shown.stdout, "pods-running (shop/deployments/web): ");
    let status = site.document(&["status"]).await;
    let web = &blocked(&status, "podsGone")[0];
    assert_eq!(web["guard"], "pods-running", "{status:#}");
    assert_eq!(web["object"], "shop/deployments/web", "{status:#}");
    assert_names(&web["message"], &[" web-"]);
    let follow = spawn(&site, &["status", "-w"]);
    site.thaw_kubelets();
    let output = finish(follow).await.expect(0);
    assert_contains(&output.stderr, "5/7 podsGone: done");
    assert_contains(&output.stderr, "7/7 replication: done");
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
    assert_contains(&wide.stdout, "primary -> secondary");
    assert_contains(&wide.stdout, "podsGone ");
    let again = site.failover(&["status", "-w"]).await.expect(0);
    assert_eq!(again.stderr, "", "there is nothing to follow");
    site.clear(&["shop"]).await;
}
