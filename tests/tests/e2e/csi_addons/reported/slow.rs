//! Calls that a driver does not answer for long.

use testbed::csi_addons::Rpc;

use super::Bed;

pub(super) async fn a_promotion_that_never_returns(bed: &Bed) {
    let volume = bed.volume("lost").await;
    let _paused = volume.volume.pause(Rpc::Promote);
    volume.order("primary").await;
    volume
        .reports(&[
            "primary@1: nothing | doubt",
            "primary@1: Unknown FailedToPromote@1 Error@1 PrerequisiteMet@1 | doubt",
        ])
        .await;
}

/// The lost answer does no harm: the demotion is requested in any case.
pub(super) async fn a_promotion_that_is_reverted_before_its_answer(bed: &Bed) {
    let volume = bed.volume("hasty").await;
    let paused = volume.volume.pause(Rpc::Promote);
    volume.order("primary").await;
    volume.volume.until_asked(Rpc::Promote, 1).await;
    volume.order("secondary").await;
    volume
        .reports(&[
            "primary@1: nothing | doubt",
            "secondary@2: nothing | doubt, not synced",
        ])
        .await;
    drop(paused);
    volume
        .reports(&[
            "secondary@2: Secondary Demoted@2 VolumeDegraded@2 | doubt, degraded",
            "secondary@2: Secondary Demoted@2 Healthy@2 | confirmed",
        ])
        .await;
}

/// The answer is lost: csi-addons still takes the volume for primary and reports it as promoted without a call, while the
/// driver has demoted it. No later report shows that. So the check is made before `primary` is written: then the volume is
/// not known to be in sync.
pub(super) async fn a_demotion_that_is_reverted_before_its_answer(bed: &Bed) {
    let volume = bed.primary("hastier").await;
    let paused = volume.volume.pause(Rpc::Demote);
    volume.order("secondary").await;
    volume.volume.until_asked(Rpc::Demote, 1).await;
    volume
        .reports(&["secondary@2: Primary Promoted@1 Healthy@1 Replicating@1 | doubt, not synced"])
        .await;
    volume.order("primary").await;
    drop(paused);
    volume
        .reports(&[
            "primary@3: Primary Promoted@1 Healthy@1 Replicating@1 | doubt",
            "primary@3: Primary Promoted@3 Healthy@3 Replicating@3 | confirmed WRONGLY",
        ])
        .await;
    assert_eq!(volume.volume.call_names(), ["Enable", "Promote", "Demote"]);

    // Another demotion and promotion repairs it.
    volume.order("secondary").await;
    volume
        .reports(&[
            "secondary@4: Primary Promoted@3 Healthy@3 Replicating@3 | doubt, not synced",
            "secondary@4: Secondary Demoted@4 VolumeDegraded@4 Replicating@3 | doubt, degraded",
            "secondary@4: Secondary Demoted@4 Healthy@4 | confirmed",
        ])
        .await;
    volume.order("primary").await;
    volume
        .reports(&[
            "primary@5: Secondary Demoted@4 Healthy@4 | doubt",
            "primary@5: Primary Promoted@5 Healthy@5 Replicating@5 | confirmed",
        ])
        .await;
}
