//! A volume group, which csi-addons replicates through a VolumeReplication that it creates.

use failover_core::checks::replication::doubt;
use failover_core::role::Role;
use testbed::csi_addons::Rpc;

use super::Bed;
use super::watched::Watched;

async fn primary(bed: &Bed, name: &str, claims: &[&str]) -> Watched {
    let group = bed.csi_addons.group("default", name, claims).await.unwrap();
    let group = Watched::new(group).await;
    group.order("primary").await;
    let on_the_way = [
        "primary@1: nothing | doubt",
        // csi-addons writes the name of that VolumeReplication.
        "primary@2: nothing | doubt",
        "primary@2: Unknown | doubt",
        "primary@3: nothing | doubt",
        "primary@3: Unknown | doubt",
    ];
    let last = "primary@3: Primary Promoted@3 Healthy@3 Replicating@3 | confirmed";
    group.eventually_reports(&on_the_way, last).await;
    group
}

async fn demoted(group: &Watched) {
    group.order("secondary").await;
    let on_the_way = [
        "secondary@4: Primary Promoted@3 Healthy@3 Replicating@3 | doubt, not synced",
        "secondary@4: Primary Promoted@4 Healthy@4 Replicating@4 | doubt, not synced",
        "secondary@4: Secondary Demoted@4 VolumeDegraded@4 Replicating@4 | doubt, degraded",
    ];
    let last = "secondary@4: Secondary Demoted@4 Healthy@4 | confirmed";
    group.eventually_reports(&on_the_way, last).await;
}

/// The reports that follow `secondary@4`.
const PROMOTED: [&str; 2] = [
    "primary@5: Secondary Demoted@4 Healthy@4 | doubt",
    "primary@5: Secondary Demoted@5 Healthy@5 | doubt",
];

pub(super) async fn a_group_is_demoted_and_promoted_again(bed: &Bed) {
    let group = primary(bed, "group", &["first", "second"]).await;
    demoted(&group).await;
    group.order("primary").await;
    let last = "primary@5: Primary Promoted@5 Healthy@5 Replicating@5 | confirmed";
    group.eventually_reports(&PROMOTED, last).await;
}

/// The group copies the status of its volume with its own newest generation, even if the volume has not reached that yet. So
/// both have to be checked.
pub(super) async fn a_group_reports_ahead_of_its_volume(bed: &Bed) {
    let group = primary(bed, "hasty-group", &["third", "fourth"]).await;
    demoted(&group).await;
    let paused = group.volume.pause(Rpc::Promote);
    group.order("primary").await;
    group.volume.until_asked(Rpc::Promote, 2).await;
    // The group reports the newest generation while the volume still waits for its driver.
    group.eventually_reports(&PROMOTED[..1], PROMOTED[1]).await;
    group.order("secondary").await;
    let on_the_way = ["secondary@6: Secondary Demoted@5 Healthy@5 | doubt, not synced"];
    let last = "secondary@6: Secondary Demoted@6 Healthy@6 | confirmed";
    group.eventually_reports(&on_the_way, last).await;
    // The volume itself is not confirmed.
    let carrier = group.volume.carrier().await;
    assert!(doubt(&carrier, Role::Secondary).is_some(), "{carrier:#}");
    drop(paused);
    group.volume.until_asked(Rpc::Demote, 3).await;
}
