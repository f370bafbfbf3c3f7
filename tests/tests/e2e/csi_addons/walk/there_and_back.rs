//! The transition as it should be, held up at each place to see that nothing goes ahead.

use failover_core::api::{Phase, StepName};
use nix::sys::signal::Signal;
use testbed::csi_addons::Rpc;

use super::{Bed, VOLUME, Wait};

#[tokio::test(flavor = "multi_thread")]
async fn volumes_turn_between_the_last_pod_and_the_first() {
    let bed = Bed::start("primary", Wait::Long).await;
    let volume = bed.volume().await;
    bed.apply_as_flux(&volume).await;
    bed.deploy().await;
    bed.is_live().await;

    println!("demotion");
    bed.kubelets(Signal::SIGSTOP);
    let held = volume.hold(Rpc::Demote);
    let (demoted, ()) = tokio::join!(bed.order(&["demote"]), async {
        bed.waits(StepName::PodsGone, "shop/statefulsets/db").await;
        assert_eq!(volume.stored().await["spec"]["replicationState"], "primary");
        assert_eq!(volume.told(), ["Enable", "Promote"]);
        assert!(!bed.is_reachable().await);

        bed.kubelets(Signal::SIGCONT);
        volume.until_asked(Rpc::Demote, 1).await;
        bed.is_dark().await;
        bed.waits(StepName::Replication, VOLUME).await;
        assert_eq!(bed.phase().await, Some(Phase::Demoting));
        drop(held);
    });
    demoted.expect(0);
    // By that it is in sync, and not only demoted.
    assert_eq!(volume.told()[2..], ["Demote", "Demote", "Resync"]);
    assert_eq!(bed.apply_as_flux(&volume).await, "secondary");

    println!("an operator resyncs: neither Git nor we undo it, and it is a standby all the same");
    volume.order("resync").await;
    volume.until_asked(Rpc::Resync, 2).await;
    assert_eq!(bed.apply_as_flux(&volume).await, "resync");
    bed.site.until_ready().await;

    println!("promotion");
    let held = volume.hold(Rpc::Promote);
    let (promoted, ()) = tokio::join!(bed.order(&["promote"]), async {
        volume.until_asked(Rpc::Promote, 2).await;
        bed.waits(StepName::Replication, VOLUME).await;
        assert_eq!(bed.phase().await, Some(Phase::Promoting));
        bed.is_dark().await;
        drop(held);
    });
    promoted.expect(0);
    bed.is_live().await;
    assert_eq!(volume.told()[5..], ["Resync by force", "Enable", "Promote"]);
    assert_eq!(bed.apply_as_flux(&volume).await, "primary");
}
