//! A group of volumes, which csi-addons replicates by a VolumeReplication that it makes for it.

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
        // csi-addons writes down what it has made for it.
        "primary@2: nothing | doubt",
        "primary@2: Unknown | doubt",
        "primary@3: nothing | doubt",
        "primary@3: Unknown | doubt",
    ];
    let last = "primary@3: Primary Promoted@3 Healthy@3 Replicating@3 | confirmed";
    group.tells_in_the_end(&on_the_way, last).await;
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
    group.tells_in_the_end(&on_the_way, last).await;
}

/// On the way from `secondary@4`.
const PROMOTED: [&str; 2] = [
    "primary@5: Secondary Demoted@4 Healthy@4 | doubt",
    "primary@5: Secondary Demoted@5 Healthy@5 | doubt",
];

pub(super) async fn a_group_goes_there_and_comes_back(bed: &Bed) {
    let group = primary(bed, "group", &["first", "second"]).await;
    demoted(&group).await;
    group.order("primary").await;
    let last = "primary@5: Primary Promoted@5 Healthy@5 Replicating@5 | confirmed";
    group.tells_in_the_end(&PROMOTED, last).await;
}

/// The group copies the status of its volume and says that it is of the group's newest generation, though nobody has checked that
/// yet. So both have to be asked.
pub(super) async fn a_group_says_what_its_volume_does_not(bed: &Bed) {
    let group = primary(bed, "hasty-group", &["third", "fourth"]).await;
    demoted(&group).await;
    let held = group.volume.hold(Rpc::Promote);
    group.order("primary").await;
    group.volume.until_asked(Rpc::Promote, 2).await;
    // The newest generation is told of while the volume still waits for its driver.
    group.tells_in_the_end(&PROMOTED[..1], PROMOTED[1]).await;
    group.order("secondary").await;
    let on_the_way = ["secondary@6: Secondary Demoted@5 Healthy@5 | doubt, not synced"];
    let last = "secondary@6: Secondary Demoted@6 Healthy@6 | confirmed";
    group.tells_in_the_end(&on_the_way, last).await;
    // Which is not so as soon as the driver answers.
    let carrier = group.volume.carrier().await;
    assert!(doubt(&carrier, Role::Secondary).is_some(), "{carrier:#}");
    drop(held);
    group.volume.until_asked(Rpc::Demote, 3).await;
}
