//! A pause in the middle of a transition.

use failover_core::api::{Phase, StepName, StepState};
use serde_json::json;
use testbed::site::{assert_names, assert_role_change};

use super::{
    DEMOTE, assert_contains, assert_resume, finish, site_whose_pods_stay, spawn, until_step,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_transition_continues_only_when_the_pause_is_over() {
    let site = site_whose_pods_stay().await;
    let demote = spawn(&site, DEMOTE);
    until_step(&site, StepName::PodsGone, StepState::Running).await;
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
    assert_contains(&plan.stderr, reason);
    for order in ["promote", "demote"] {
        let refused = site.failure(&[order, "--yes"], 3).await;
        assert_names(&refused["message"], &["admin", reason]);
        assert_names(&refused["next"], &["kubectl failover resume"]);
    }
    let following = ["status", "-w", "--timeout", "1s"];
    let late = site.failure(&following, 4).await;
    assert_names(&late["message"], &["admin", reason]);
    assert_names(&late["next"], &["kubectl failover resume"]);

    let output = finish(demote).await.expect(0);
    assert_role_change(&output.document(), "secondary", "Done");
    assert_contains(&output.stderr, reason);
    assert_contains(&output.stderr, "kubectl failover resume");
    assert_contains(&output.stderr, "site east: resumed");
    let done = &site.status().await.history[0];
    assert!(
        done.finished_at.0 >= until,
        "{done:?}, paused until {until}"
    );

    // A pause that has expired still has to be removed.
    assert!(site.stored().await.spec.paused.is_some());
    assert_resume(&site, "Done").await;
    site.failover(&["pause", "--reason", "x"]).await.expect(0);
    assert_eq!(site.status().await.phase, Some(Phase::Paused));
    assert_resume(&site, "Done").await;
    site.until_ready().await;
    assert_resume(&site, "Already").await;
    site.clear(&["shop"]).await;
}
