//! Calls that a driver refuses, always or at first.

use testbed::csi_addons::{Answer, Code, Rpc};

use super::{Bed, PRIMARY};

const NOTHING: &str = "primary@1: nothing | doubt";
const FAILED: &str = "primary@1: Unknown FailedToPromote@1 Error@1 PrerequisiteMet@1 | doubt";
const UNANSWERED: &str =
    "secondary@2: Primary Promoted@1 Healthy@1 Replicating@1 | doubt, not synced";

const NOT_NOW: Answer = Answer::Fails(Code::FailedPrecondition);

/// csi-addons forces a promotion without further consent.
pub(super) async fn a_forced_promotion_leaves_no_trace(bed: &Bed) {
    let volume = bed.volume("forced").await;
    volume
        .volume
        .answers(Rpc::Promote, &[NOT_NOW, Answer::Done]);
    volume.order("primary").await;
    volume.reports(&[NOTHING, PRIMARY]).await;
    assert_eq!(
        volume.volume.call_names(),
        ["Enable", "Promote", "Promote by force"]
    );
}

pub(super) async fn a_promotion_that_fails_even_by_force(bed: &Bed) {
    never_promoted(bed, "forceless", NOT_NOW).await;
}

pub(super) async fn a_promotion_that_is_aborted(bed: &Bed) {
    never_promoted(bed, "aborted", Answer::Fails(Code::Aborted)).await;
}

pub(super) async fn a_promotion_with_an_internal_error(bed: &Bed) {
    never_promoted(bed, "internal", Answer::Fails(Code::Internal)).await;
}

async fn never_promoted(bed: &Bed, name: &str, answer: Answer) {
    let volume = bed.volume(name).await;
    volume.volume.answers(Rpc::Promote, &[answer]);
    volume.order("primary").await;
    volume.reports(&[NOTHING, FAILED]).await;
    let asked = volume.volume.asked(Rpc::Promote);
    volume.volume.until_asked(Rpc::Promote, asked + 4).await;
    volume.reports_nothing_new();
}

/// A prerequisite that was missing at first stays reported.
pub(super) async fn prerequisites_that_are_met_late(bed: &Bed) {
    let volume = bed.volume("prepared").await;
    volume
        .volume
        .answers(Rpc::Enable, &[NOT_NOW, NOT_NOW, Answer::Done]);
    volume.order("primary").await;
    volume
        .reports(&[
            NOTHING,
            "primary@1: Unknown FailedToPromote@1 Error@1 PrerequisiteNotMet@1 | doubt",
            "primary@1: Primary Promoted@1 Healthy@1 PrerequisiteNotMet@1 Replicating@1 | confirmed",
        ])
        .await;
}

pub(super) async fn a_resync_that_fails(bed: &Bed) {
    let volume = bed.primary("unsynced").await;
    let fails = Answer::Fails(Code::Internal);
    volume.volume.answers(Rpc::Resync, &[fails, Answer::Done]);
    volume.order("secondary").await;
    volume
        .reports(&[
            UNANSWERED,
            "secondary@2: Secondary Demoted@2 VolumeDegraded@2 Replicating@1 | doubt, degraded",
            "secondary@2: Secondary FailedToResync@2 Error@2 FailedToResync@2 Replicating@1 | doubt, degraded, not synced",
            "secondary@2: Secondary Demoted@2 Healthy@2 | confirmed",
        ])
        .await;
}

/// It is promoted again without a call, since it has been primary all the time.
pub(super) async fn a_demotion_that_fails_and_is_reverted(bed: &Bed) {
    let volume = bed.primary("kept").await;
    volume
        .volume
        .answers(Rpc::Demote, &[Answer::Fails(Code::Aborted)]);
    volume.order("secondary").await;
    volume
        .reports(&[
            UNANSWERED,
            "secondary@2: Primary FailedToDemote@2 Error@2 Replicating@1 | doubt, degraded, not synced",
        ])
        .await;
    volume.volume.until_asked(Rpc::Demote, 4).await;
    volume.reports_nothing_new();

    volume.order("primary").await;
    volume
        .reports(&[
            "primary@3: Primary FailedToDemote@2 Error@2 Replicating@1 | doubt",
            "primary@3: Primary Promoted@3 Healthy@3 Replicating@3 | confirmed",
        ])
        .await;
    assert_eq!(volume.volume.asked(Rpc::Promote), 1);
}
