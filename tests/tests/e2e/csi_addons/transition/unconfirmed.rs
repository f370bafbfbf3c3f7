//! Volumes whose driver does not reach the desired state.

use failover_core::api::{Phase, StepName};
use failover_core::role::Role;
use testbed::csi_addons::{Answer, Code, Rpc};
use testbed::site::{assert_names, waits_for};

use super::{Bed, VOLUME, Wait};

const GIVE_UP: [&str; 2] = ["--timeout", "8s"];

const UNCONFIRMED: &str = "replication-unconfirmed=shop/volumereplications/data";

#[tokio::test(flavor = "multi_thread")]
async fn a_demotion_that_is_unanswered_or_fails_stalls_until_it_is_overridden() {
    let bed = Bed::start("primary", Wait::Short).await;
    let volume = bed.volume().await;
    bed.apply_as_flux(&volume).await;
    bed.deploy().await;
    bed.assert_active().await;
    // Pods may run before the volume's controller has reported anything.
    volume.until_reported("Completed", "True").await;

    println!("no answer");
    let paused = volume.pause(Rpc::Demote);
    let demote = [&["demote"], &GIVE_UP[..]].concat();
    bed.order(&demote).await.expect(4);
    // A slow cluster may reach this step after the CLI has timed out.
    bed.until_waiting(StepName::Replication, VOLUME).await;
    // If it were reverted now, the driver would demote it anyway, and no status would show that.
    let refused = bed.refusal(&["promote"], 3).await;
    let mut guards = refused["guards"].as_array().unwrap().iter();
    let guard = guards.find(|guard| guard["guard"] == "volume-not-synced");
    let guard = guard.unwrap();
    assert_eq!(guard["object"], VOLUME, "{refused:#}");
    assert_names(&guard["message"], &["generation"]);
    assert_eq!(
        volume.stored().await["spec"]["replicationState"],
        "secondary"
    );
    volume.answers(Rpc::Demote, &[Answer::Fails(Code::FailedPrecondition)]);
    drop(paused);

    for code in [Code::FailedPrecondition, Code::Aborted] {
        println!("{code:?}");
        volume.answers(Rpc::Demote, &[Answer::Fails(code)]);
        let stalled = bed.refusal(&demote, 4).await;
        let why = waits_for(&stalled, "replication-unconfirmed", VOLUME);
        assert!(why.contains("FailedToDemote"), "{stalled:#}");
        assert_eq!(bed.phase().await, Some(Phase::Stalled));
        bed.until_waiting(StepName::Replication, VOLUME).await;
        bed.assert_inactive().await;
    }

    bed.order(&["demote", "--override", UNCONFIRMED])
        .await
        .expect(0);
    assert_eq!(
        volume.replica_state().map(|state| state.role),
        Some(Role::Primary)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_never_returns_keeps_workloads_down_until_it_is_overridden() {
    let bed = Bed::start("secondary", Wait::Short).await;
    let volume = bed.volume().await;
    assert_eq!(bed.apply_as_flux(&volume).await, "secondary");
    bed.deploy().await;
    volume.until_asked(Rpc::Resync, 1).await;
    bed.site.until_ready().await;

    let _paused = volume.pause(Rpc::Promote);
    let promote = [&["promote"], &GIVE_UP[..]].concat();
    let stalled = bed.refusal(&promote, 4).await;
    let why = waits_for(&stalled, "replication-unconfirmed", VOLUME);
    assert!(why.contains("generation"), "{stalled:#}");
    assert_eq!(bed.phase().await, Some(Phase::Stalled));
    bed.until_waiting(StepName::Replication, VOLUME).await;
    bed.assert_inactive().await;

    bed.order(&["promote", "--override", UNCONFIRMED])
        .await
        .expect(0);
    bed.assert_active().await;
}
