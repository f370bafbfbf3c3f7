//! Healthy volumes, some of them slow.

use testbed::csi_addons::{Answer, Code, Health, Rpc};

use super::{Bed, PRIMARY};

const UNANSWERED: &str =
    "secondary@2: Primary Promoted@1 Healthy@1 Replicating@1 | doubt, not synced";
const DEMOTED: &str =
    "secondary@2: Secondary Demoted@2 VolumeDegraded@2 Replicating@1 | doubt, degraded";
const IN_SYNC: &str = "secondary@2: Secondary Demoted@2 Healthy@2 | confirmed";
const RESYNCING: &str = "secondary@2: Secondary Demoted@2 VolumeDegraded@2 ResyncTriggered@2 | doubt, degraded, not synced";
const PROMOTED: &str = "primary@3: Primary Promoted@3 Healthy@3 Replicating@3 | confirmed";

pub(super) async fn a_volume_is_demoted_and_promoted_again(bed: &Bed) {
    let volume = bed.primary("there").await;
    let synced = |object: &serde_json::Value| object["status"]["lastSyncTime"].is_string();
    assert!(synced(&volume.volume.stored().await));

    volume.order("secondary").await;
    volume.reports(&[UNANSWERED, DEMOTED, IN_SYNC]).await;
    // The last sync time has to be read before the demotion.
    assert!(!synced(&volume.volume.stored().await));

    volume.order("primary").await;
    let written = "primary@3: Secondary Demoted@2 Healthy@2 | doubt";
    volume.reports(&[written, PROMOTED]).await;
    let calls = [
        "Enable", "Promote", "Demote", "Demote", "Resync", "Enable", "Promote",
    ];
    assert_eq!(volume.volume.call_names(), calls);
}

pub(super) async fn pending_calls_leave_the_last_report_unchanged(bed: &Bed) {
    let volume = bed.primary("waiting").await;
    let paused = volume.volume.pause(Rpc::Demote);
    volume.order("secondary").await;
    volume.volume.until_asked(Rpc::Demote, 1).await;
    volume.reports(&[UNANSWERED]).await;
    drop(paused);
    volume.reports(&[DEMOTED]).await;
    let paused = volume.volume.pause(Rpc::Resync);
    volume.volume.until_asked(Rpc::Resync, 1).await;
    volume.reports_nothing_new();
    drop(paused);
    volume.reports(&[IN_SYNC]).await;
}

pub(super) async fn a_resync_takes_a_second_call(bed: &Bed) {
    let volume = bed.primary("rounds").await;
    volume
        .volume
        .answers(Rpc::Resync, &[Answer::NotReady, Answer::Done]);
    volume.order("secondary").await;
    volume
        .reports(&[UNANSWERED, DEMOTED, RESYNCING, IN_SYNC])
        .await;
}

pub(super) async fn a_resync_that_never_ends_does_not_block_a_promotion(bed: &Bed) {
    let volume = bed.primary("endless").await;
    volume.volume.answers(Rpc::Resync, &[Answer::NotReady]);
    volume.order("secondary").await;
    volume.reports(&[UNANSWERED, DEMOTED, RESYNCING]).await;
    volume.order("primary").await;
    let written = "primary@3: Secondary Demoted@2 VolumeDegraded@2 ResyncTriggered@2 | doubt";
    // The status no longer shows that it was never in sync: that has to be checked before.
    volume.reports(&[written, PROMOTED]).await;
}

/// Completed is True for the observed generation while the state is Primary.
pub(super) async fn a_primary_is_resynced(bed: &Bed) {
    let volume = bed.primary("resynced").await;
    volume
        .volume
        .answers(Rpc::Resync, &[Answer::NotReady, Answer::Done]);
    volume.order("resync").await;
    volume
        .reports(&[
            "resync@2: Primary Promoted@1 Healthy@1 Replicating@1 | doubt, not synced",
            "resync@2: Primary Demoted@2 VolumeDegraded@2 ResyncTriggered@2 | doubt, degraded, not synced",
            "resync@2: Secondary Demoted@2 Healthy@2 | confirmed",
        ])
        .await;
}

pub(super) async fn a_primary_that_does_not_replicate_is_still_primary(bed: &Bed) {
    let volume = bed.primary("alone").await;
    for (answer, reason) in [
        (Answer::Reports(Health::Degraded), "NotReplicating"),
        (Answer::Reports(Health::Healthy), "Replicating"),
        (Answer::Reports(Health::Error), "NotReplicating"),
        (Answer::Reports(Health::Unknown), "Replicating?"),
        (Answer::Reports(Health::Healthy), "Replicating"),
        (Answer::Fails(Code::Internal), "Replicating?"),
    ] {
        volume.volume.answers(Rpc::Info, &[answer]);
        let line = format!("primary@1: Primary Promoted@1 Healthy@1 {reason}@1 | confirmed");
        volume.reports(&[&line]).await;
    }
}

pub(super) async fn an_info_call_that_fails_leaves_the_last_report_unchanged(bed: &Bed) {
    let volume = bed.primary("unknown").await;
    volume
        .volume
        .answers(Rpc::Info, &[Answer::Fails(Code::NotFound)]);
    let asked = volume.volume.asked(Rpc::Info);
    volume.volume.until_asked(Rpc::Info, asked + 3).await;
    volume.reports_nothing_new();
    assert_eq!(volume.last(), PRIMARY);
}
