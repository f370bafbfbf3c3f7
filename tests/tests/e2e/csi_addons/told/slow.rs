//! What a driver does not answer for long.

use testbed::csi_addons::Rpc;

use super::Bed;

pub(super) async fn a_promotion_that_never_returns(bed: &Bed) {
    let volume = bed.volume("lost").await;
    let _held = volume.volume.hold(Rpc::Promote);
    volume.order("primary").await;
    volume
        .tells(&[
            "primary@1: nothing | doubt",
            "primary@1: Unknown FailedToPromote@1 Error@1 PrerequisiteMet@1 | doubt",
        ])
        .await;
}

/// Its answer is lost, and does no harm: the demotion is ordered whatever is thought of it.
pub(super) async fn a_promotion_that_is_taken_back_before_its_answer(bed: &Bed) {
    let volume = bed.volume("hasty").await;
    let held = volume.volume.hold(Rpc::Promote);
    volume.order("primary").await;
    volume.volume.until_asked(Rpc::Promote, 1).await;
    volume.order("secondary").await;
    volume
        .tells(&[
            "primary@1: nothing | doubt",
            "secondary@2: nothing | doubt, not synced",
        ])
        .await;
    drop(held);
    volume
        .tells(&[
            "secondary@2: Secondary Demoted@2 VolumeDegraded@2 | doubt, degraded",
            "secondary@2: Secondary Demoted@2 Healthy@2 | confirmed",
        ])
        .await;
}

/// Its answer is lost: csi-addons still takes the volume for a primary, calls that promoted and asks nobody, while the
/// driver has demoted it. Nothing that is told from then on gives it away. So it has to be known before, when primary is
/// to be written: then nobody can say whether it is in sync.
pub(super) async fn a_demotion_that_is_taken_back_before_its_answer(bed: &Bed) {
    let volume = bed.primary("hastier").await;
    let held = volume.volume.hold(Rpc::Demote);
    volume.order("secondary").await;
    volume.volume.until_asked(Rpc::Demote, 1).await;
    volume
        .tells(&["secondary@2: Primary Promoted@1 Healthy@1 Replicating@1 | doubt, not synced"])
        .await;
    volume.order("primary").await;
    drop(held);
    volume
        .tells(&[
            "primary@3: Primary Promoted@1 Healthy@1 Replicating@1 | doubt",
            "primary@3: Primary Promoted@3 Healthy@3 Replicating@3 | confirmed WRONGLY",
        ])
        .await;
    assert_eq!(volume.volume.told(), ["Enable", "Promote", "Demote"]);

    // There and back once more puts it right.
    volume.order("secondary").await;
    volume
        .tells(&[
            "secondary@4: Primary Promoted@3 Healthy@3 Replicating@3 | doubt, not synced",
            "secondary@4: Secondary Demoted@4 VolumeDegraded@4 Replicating@3 | doubt, degraded",
            "secondary@4: Secondary Demoted@4 Healthy@4 | confirmed",
        ])
        .await;
    volume.order("primary").await;
    volume
        .tells(&[
            "primary@5: Secondary Demoted@4 Healthy@4 | doubt",
            "primary@5: Primary Promoted@5 Healthy@5 Replicating@5 | confirmed",
        ])
        .await;
}
