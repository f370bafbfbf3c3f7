//! A healthy transition, stopped at each step to assert that no later step has begun.

use failover_core::api::{Phase, StepName};
use nix::sys::signal::Signal;
use testbed::csi_addons::Rpc;

use super::{Bed, VOLUME, Wait};

#[tokio::test(flavor = "multi_thread")]
async fn volumes_change_roles_between_the_last_pod_and_the_first() {
    let bed = Bed::start("primary", Wait::Long).await;
    let volume = bed.volume().await;
    bed.apply_as_flux(&volume).await;
    bed.deploy().await;
    bed.assert_active().await;

    println!("demotion");
    bed.kubelets(Signal::SIGSTOP);
    let paused = volume.pause(Rpc::Demote);
    let (demoted, ()) = tokio::join!(bed.order(&["demote"]), async {
        bed.until_waiting(StepName::PodsGone, "shop/statefulsets/db")
            .await;
        assert_eq!(volume.stored().await["spec"]["replicationState"], "primary");
        assert_eq!(volume.call_names(), ["Enable", "Promote"]);
        assert!(!bed.is_reachable().await);

        bed.kubelets(Signal::SIGCONT);
        volume.until_asked(Rpc::Demote, 1).await;
        bed.assert_inactive().await;
        bed.until_waiting(StepName::Replication, VOLUME).await;
        assert_eq!(bed.phase().await, Some(Phase::Demoting));
        drop(paused);
    });
    demoted.expect(0);
    // So it is in sync, and not only demoted.
    assert_eq!(volume.call_names()[2..], ["Demote", "Demote", "Resync"]);
    assert_eq!(bed.apply_as_flux(&volume).await, "secondary");

    println!(
        "an operator resyncs: neither Git nor we revert it, and the site stays a ready standby"
    );
    volume.order("resync").await;
    volume.until_asked(Rpc::Resync, 2).await;
    assert_eq!(bed.apply_as_flux(&volume).await, "resync");
    bed.site.until_ready().await;

    println!("promotion");
    let paused = volume.pause(Rpc::Promote);
    let (promoted, ()) = tokio::join!(bed.order(&["promote"]), async {
        volume.until_asked(Rpc::Promote, 2).await;
        bed.until_waiting(StepName::Replication, VOLUME).await;
        assert_eq!(bed.phase().await, Some(Phase::Promoting));
        bed.assert_inactive().await;
        drop(paused);
    });
    promoted.expect(0);
    bed.assert_active().await;
    assert_eq!(
        volume.call_names()[5..],
        ["Resync by force", "Enable", "Promote"]
    );
    assert_eq!(bed.apply_as_flux(&volume).await, "primary");
}
