//! A volume group and the VolumeReplication that csi-addons creates for it: both change roles, and a transition waits for
//! both.

use failover_core::api::StepName;
use testbed::csi_addons::Rpc;
use testbed::eventually;

use super::{Bed, NAMESPACE, Wait};

#[tokio::test(flavor = "multi_thread")]
async fn a_demotion_waits_for_a_group_and_for_its_volume() {
    let bed = Bed::start("primary", Wait::Long).await;
    let claims = ["data", "log"];
    let group = bed
        .csi_addons
        .group(NAMESPACE, "group", &claims)
        .await
        .unwrap();
    bed.apply_as_flux(&group).await;
    bed.deploy().await;
    group.until_asked(Rpc::Promote, 1).await;
    bed.assert_active().await;

    let paused = group.pause(Rpc::Demote);
    let (demoted, ()) = tokio::join!(bed.order(&["demote"]), async {
        group.until_asked(Rpc::Demote, 1).await;
        bed.assert_inactive().await;
        let carrier = group.carrier().await;
        assert_eq!(carrier["spec"]["replicationState"], "secondary");
        let carrier = carrier["metadata"]["name"].as_str().unwrap().to_owned();
        for waiting in [
            "volumegroupreplications/group".to_owned(),
            format!("volumereplications/{carrier}"),
        ] {
            bed.until_waiting(StepName::Replication, &format!("{NAMESPACE}/{waiting}"))
                .await;
        }
        drop(paused);
    });
    demoted.expect(0);
    assert_eq!(bed.apply_as_flux(&group).await, "secondary");

    bed.order(&["promote"]).await.expect(0);
    bed.assert_active().await;
    let calls = [
        "Enable", "Promote", "Demote", "Demote", "Resync", "Enable", "Promote",
    ];
    assert_eq!(group.call_names(), calls);

    println!("on a standby it is deleted only with consent, together with its VolumeReplication");
    bed.order(&["demote"]).await.expect(0);
    let kubectl = async |arguments: &[&str]| {
        let arguments = [arguments, &["-n", NAMESPACE]].concat();
        bed.site.kubectl(&arguments).await
    };
    let (it, delete) = ("volumegroupreplication/group", ["delete", "--wait=false"]);
    let delete = [&delete[..], &[it]].concat();
    let refused = kubectl(&delete).await.expect(1);
    assert!(refused.stderr.contains("allow-deletion"), "{refused:?}");
    kubectl(&["annotate", it, "failover.dev/allow-deletion=true"])
        .await
        .expect(0);
    kubectl(&delete).await.expect(0);
    eventually("the group and its volume to be gone", || async {
        let kinds = "volumegroupreplications,volumereplications";
        let left = kubectl(&["get", kinds, "-o", "name"]).await.expect(0);
        if left.stdout.is_empty() {
            Ok(())
        } else {
            Err(left)
        }
    })
    .await;
}
