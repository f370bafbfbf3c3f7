//! A group of volumes, and the VolumeReplication that csi-addons makes for it: both are turned, and both are waited for.

use failover_core::api::StepName;
use testbed::csi_addons::Rpc;
use testbed::eventually;

use super::{Bed, NAMESPACE, Wait};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_waited_for_by_its_volume_too() {
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
    bed.is_live().await;

    let held = group.hold(Rpc::Demote);
    let (demoted, ()) = tokio::join!(bed.order(&["demote"]), async {
        group.until_asked(Rpc::Demote, 1).await;
        bed.is_dark().await;
        let carrier = group.carrier().await;
        assert_eq!(carrier["spec"]["replicationState"], "secondary");
        let carrier = carrier["metadata"]["name"].as_str().unwrap().to_owned();
        for waiting in [
            "volumegroupreplications/group".to_owned(),
            format!("volumereplications/{carrier}"),
        ] {
            bed.waits(StepName::Replication, &format!("{NAMESPACE}/{waiting}"))
                .await;
        }
        drop(held);
    });
    demoted.expect(0);
    assert_eq!(bed.apply_as_flux(&group).await, "secondary");

    bed.order(&["promote"]).await.expect(0);
    bed.is_live().await;
    let calls = [
        "Enable", "Promote", "Demote", "Demote", "Resync", "Enable", "Promote",
    ];
    assert_eq!(group.told(), calls);

    println!("on a standby it goes by who means it, and takes along what was made for it");
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
