//! What works, some of it slowly.

use testbed::csi_addons::{Answer, Code, Health, Rpc};

use super::{Bed, PRIMARY};

const UNANSWERED: &str =
    "secondary@2: Primary Promoted@1 Healthy@1 Replicating@1 | doubt, not synced";
const DEMOTED: &str =
    "secondary@2: Secondary Demoted@2 VolumeDegraded@2 Replicating@1 | doubt, degraded";
const IN_SYNC: &str = "secondary@2: Secondary Demoted@2 Healthy@2 | confirmed";
const RESYNCING: &str = "secondary@2: Secondary Demoted@2 VolumeDegraded@2 ResyncTriggered@2 | doubt, degraded, not synced";
const PROMOTED: &str = "primary@3: Primary Promoted@3 Healthy@3 Replicating@3 | confirmed";

pub(super) async fn it_goes_there_and_comes_back(bed: &Bed) {
    let volume = bed.primary("there").await;
    let synced = |object: &serde_json::Value| object["status"]["lastSyncTime"].is_string();
    assert!(synced(&volume.volume.stored().await));

    volume.order("secondary").await;
    volume.tells(&[UNANSWERED, DEMOTED, IN_SYNC]).await;
    // Whoever wants to know how far it had come must have looked before.
    assert!(!synced(&volume.volume.stored().await));

    volume.order("primary").await;
    let written = "primary@3: Secondary Demoted@2 Healthy@2 | doubt";
    volume.tells(&[written, PROMOTED]).await;
    let calls = [
        "Enable", "Promote", "Demote", "Demote", "Resync", "Enable", "Promote",
    ];
    assert_eq!(volume.volume.told(), calls);
}

pub(super) async fn calls_that_wait_leave_what_was_told_before(bed: &Bed) {
    let volume = bed.primary("waiting").await;
    let held = volume.volume.hold(Rpc::Demote);
    volume.order("secondary").await;
    volume.volume.until_asked(Rpc::Demote, 1).await;
    volume.tells(&[UNANSWERED]).await;
    drop(held);
    volume.tells(&[DEMOTED]).await;
    let held = volume.volume.hold(Rpc::Resync);
    volume.volume.until_asked(Rpc::Resync, 1).await;
    volume.tells_no_more();
    drop(held);
    volume.tells(&[IN_SYNC]).await;
}

pub(super) async fn a_resync_takes_a_second_round(bed: &Bed) {
    let volume = bed.primary("rounds").await;
    volume
        .volume
        .answers(Rpc::Resync, &[Answer::NotReady, Answer::Done]);
    volume.order("secondary").await;
    volume
        .tells(&[UNANSWERED, DEMOTED, RESYNCING, IN_SYNC])
        .await;
}

pub(super) async fn a_resync_that_never_ends_is_no_obstacle_for_who_promotes(bed: &Bed) {
    let volume = bed.primary("endless").await;
    volume.volume.answers(Rpc::Resync, &[Answer::NotReady]);
    volume.order("secondary").await;
    volume.tells(&[UNANSWERED, DEMOTED, RESYNCING]).await;
    volume.order("primary").await;
    let written = "primary@3: Secondary Demoted@2 VolumeDegraded@2 ResyncTriggered@2 | doubt";
    // Nothing tells any more that it was never in sync: it had to be asked before.
    volume.tells(&[written, PROMOTED]).await;
}

/// Completed is True, of the generation that is observed, and the state is Primary.
pub(super) async fn a_primary_is_resynced(bed: &Bed) {
    let volume = bed.primary("resynced").await;
    volume
        .volume
        .answers(Rpc::Resync, &[Answer::NotReady, Answer::Done]);
    volume.order("resync").await;
    volume
        .tells(&[
            "resync@2: Primary Promoted@1 Healthy@1 Replicating@1 | doubt, not synced",
            "resync@2: Primary Demoted@2 VolumeDegraded@2 ResyncTriggered@2 | doubt, degraded, not synced",
            "resync@2: Secondary Demoted@2 Healthy@2 | confirmed",
        ])
        .await;
}

pub(super) async fn a_primary_that_does_not_replicate_is_still_one(bed: &Bed) {
    let volume = bed.primary("alone").await;
    for (answer, told) in [
        (Answer::Tells(Health::Degraded), "NotReplicating"),
        (Answer::Tells(Health::Healthy), "Replicating"),
        (Answer::Tells(Health::Error), "NotReplicating"),
        (Answer::Tells(Health::Unknown), "Replicating?"),
        (Answer::Tells(Health::Healthy), "Replicating"),
        (Answer::Fails(Code::Internal), "Replicating?"),
    ] {
        volume.volume.answers(Rpc::Info, &[answer]);
        let line = format!("primary@1: Primary Promoted@1 Healthy@1 {told}@1 | confirmed");
        volume.tells(&[&line]).await;
    }
}

pub(super) async fn what_cannot_be_asked_stays_as_it_was_told(bed: &Bed) {
    let volume = bed.primary("unknown").await;
    volume
        .volume
        .answers(Rpc::Info, &[Answer::Fails(Code::NotFound)]);
    let asked = volume.volume.asked(Rpc::Info);
    volume.volume.until_asked(Rpc::Info, asked + 3).await;
    volume.tells_no_more();
    assert_eq!(volume.last(), PRIMARY);
}
