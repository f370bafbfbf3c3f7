//! A VolumeReplication is protected from deletion on a standby, since that would end the replication.

use testbed::csi_addons::Rpc;
use testbed::site::PROMOTE;
use testbed::{eventually, fixtures};

use super::{Bed, NAMESPACE, Wait};

/// Flux usually has every right.
const FLUX: &str = "--as=system:serviceaccount:flux-system:kustomize-controller";

#[tokio::test(flavor = "multi_thread")]
async fn replication_is_deleted_only_on_a_primary_or_with_consent_or_with_its_namespace() {
    let bed = Bed::start("secondary", Wait::Long).await;
    let volume = bed.volume().await;
    bed.apply_as_flux(&volume).await;
    let group = fixtures::volume_group_replication(NAMESPACE, "group");
    bed.site.apply_as_flux(&group).await.unwrap();
    volume.until_asked(Rpc::Resync, 1).await;
    let kubectl = async |arguments: &[&str]| bed.site.kubectl(arguments).await;
    for account in ["kustomize-controller", "editor"] {
        let subject = format!("--serviceaccount=flux-system:{account}");
        let role = if account == "editor" {
            "admin"
        } else {
            "cluster-admin"
        };
        let role = format!("--clusterrole={role}");
        kubectl(&["create", "clusterrolebinding", account, &role, &subject])
            .await
            .expect(0);
    }
    let delete = async |what: &str, more: &[&str]| {
        kubectl(&[&["delete", what, "-n", NAMESPACE, "--wait=false"], more].concat()).await
    };

    let (one, all) = ("volumereplication/data", "volumereplication");
    for (what, more) in [
        (one, [].as_slice()),
        (one, &[FLUX]),
        (all, &["--all"]),
        ("volumegroupreplication/group", &[]),
    ] {
        println!("{what} {more:?}");
        let refused = delete(what, more).await.expect(1);
        for part in [
            "Forbidden",
            "site east is secondary",
            "its replication would end with it",
            "allow-deletion=true",
        ] {
            assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        }
    }
    let namespace = ["delete", "namespace", NAMESPACE, "--dry-run=server"];
    let refused = kubectl(&[&namespace[..], &[FLUX]].concat()).await.expect(1);
    assert!(refused.stderr.contains("not through GitOps"), "{refused:?}");

    println!("with consent");
    let annotate = [
        "annotate",
        one,
        "-n",
        NAMESPACE,
        "failover.dev/allow-deletion=true",
    ];
    kubectl(&annotate).await.expect(0);
    delete(one, &[FLUX]).await.expect(1);
    delete(one, &["--dry-run=server"]).await.expect(0);

    println!("with its namespace");
    kubectl(&[
        "annotate",
        one,
        "-n",
        NAMESPACE,
        "failover.dev/allow-deletion-",
    ])
    .await
    .expect(0);
    assert_eq!(volume.asked(Rpc::Disable), 0);
    kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"])
        .await
        .expect(0);
    eventually("the namespace to be gone", || async {
        let get = kubectl(&["get", "namespace", NAMESPACE, "-o", "yaml"]).await;
        if get.code == 0 {
            Err(get.stdout)
        } else {
            Ok(())
        }
    })
    .await;
    volume.until_asked(Rpc::Disable, 1).await;

    println!("on a primary");
    bed.site.failover(PROMOTE).await.expect(0);
    bed.site.enrolled_namespace("blog").await;
    let volume = bed.csi_addons.volume("blog", "data").await.unwrap();
    bed.apply_as_flux(&volume).await;
    kubectl(&["delete", one, "-n", "blog", FLUX])
        .await
        .expect(0);
}
