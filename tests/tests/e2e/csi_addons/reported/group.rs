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
    let last = "primary@3: Primary Promoted@3 Healthy@3 Replicating@3 | confirmed";
    group.eventually_reports(last).await;
    group
}

async fn demoted(group: &Watched) {
    group.order("secondary").await;
    let last = "secondary@4: Secondary Demoted@4 Healthy@4 | confirmed";
    group.eventually_reports(last).await;
}

pub(super) async fn a_group_is_demoted_and_promoted_again(bed: &Bed) {
    let group = primary(bed, "group", &["first", "second"]).await;
    demoted(&group).await;
    group.order("primary").await;
    let last = "primary@5: Primary Promoted@5 Healthy@5 Replicating@5 | confirmed";
    group.eventually_reports(last).await;
}

/// The newest generation of the group, of a volume that is not promoted yet.
const AHEAD: &str = "primary@5: Secondary Demoted@5 Healthy@5 | doubt";

/// The group copies the status of its volume with its own newest generation, even if the volume has not reached that yet. So
/// both have to be checked.
pub(super) async fn a_group_reports_ahead_of_its_volume(bed: &Bed) {
    let group = primary(bed, "hasty-group", &["third", "fourth"]).await;
    demoted(&group).await;
    let paused = group.volume.pause(Rpc::Promote);
    group.order("primary").await;
    group.volume.until_asked(Rpc::Promote, 2).await;
    // The group reports the newest generation while the volume still waits for its driver.
    group.eventually_reports(AHEAD).await;
    group.order("secondary").await;
    let last = "secondary@6: Secondary Demoted@6 Healthy@6 | confirmed";
    group.eventually_reports(last).await;
    // The volume itself is not confirmed.
    let carrier = group.volume.carrier().await;
    assert!(doubt(&carrier, Role::Secondary).is_some(), "{carrier:#}");
    drop(paused);
    group.volume.until_asked(Rpc::Demote, 3).await;
}
