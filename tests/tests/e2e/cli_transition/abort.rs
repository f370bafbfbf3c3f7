//! Transitions that are aborted.

use failover_core::Role;
use failover_core::api::{Outcome, Phase, StepName, StepState};
use serde_json::json;
use testbed::site::{assert_names, assert_role_change, guards, waits_for};

use super::{
    DEMOTE, assert_contains, assert_resume, finish, site_that_waits, site_whose_pods_stay, spawn,
    until_available, until_step,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_transition_can_be_aborted_even_while_it_is_paused() {
    let site = site_whose_pods_stay().await;
    let demote = spawn(&site, DEMOTE);
    until_step(&site, StepName::PodsGone, StepState::Running).await;
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
    let superseded = finish(demote).await.expect(1).failure();
    assert_names(&superseded["message"], &["admin", "west did not come up"]);
    assert_eq!(site.status().await.phase, Some(Phase::Paused));

    site.thaw_kubelets();
    assert_resume(&site, "Done").await;
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
    assert_contains(web, "0 of 2");
    let before = site.stored().await;
    let status = before.status.unwrap();
    assert_eq!(status.layers.traffic, Some(Role::Secondary));
    let steps = status.transition.unwrap().steps;
    let available = steps.iter().find(|s| s.name == StepName::Available);
    let available = available.unwrap();
    assert_eq!(available.state, StepState::Running);
    assert_eq!((available.done, available.total), (0, 1));

    let abort = spawn(
        &site,
        &[
            "promote",
            "--abort",
            "--yes",
            "--reason",
            "the images are missing",
        ],
    );
    until_step(&site, StepName::PodsGone, StepState::Running).await;
    site.thaw_kubelets();
    let aborted = finish(abort).await.expect(0).document();
    assert_role_change(&aborted, "secondary", "Done");
    assert_eq!(aborted["aborted"], true, "{aborted:#}");
    let after = site.stored().await;
    assert_eq!(
        after.spec.epoch, before.spec.epoch,
        "an aborted promotion raises no epoch"
    );
    let wide = site.failover(&["history", "-o", "wide"]).await.expect(0);
    assert_contains(&wide.stdout, "the images are missing");
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
