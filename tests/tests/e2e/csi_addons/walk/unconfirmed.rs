//! Volumes whose driver does not do what they are ordered to do.

use failover_core::api::{Phase, StepName};
use failover_core::role::Role;
use testbed::csi_addons::{Answer, Code, Rpc};

use super::{Bed, VOLUME, Wait};

const GIVE_UP: [&str; 2] = ["--timeout", "8s"];

const UNCONFIRMED: &str = "replication-unconfirmed=shop/volumereplications/data";

#[tokio::test(flavor = "multi_thread")]
async fn a_demotion_without_an_answer_or_that_fails_stalls_until_it_is_overridden() {
    let bed = Bed::start("primary", Wait::Short).await;
    let volume = bed.volume().await;
    bed.apply_as_flux(&volume).await;
    bed.deploy().await;
    bed.is_live().await;
    // Pods may run before the volume's controller has reported anything.
    volume.until_told("Completed", "True").await;

    println!("no answer");
    let held = volume.hold(Rpc::Demote);
    let demote = [&["demote"], &GIVE_UP[..]].concat();
    bed.order(&demote).await.expect(4);
    // Taken back now, the driver would demote it all the same, and nobody would be told.
    let refused = bed.order(&["promote"]).await.expect(3);
    for part in ["volume-not-synced", VOLUME, "generation"] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    assert_eq!(
        volume.stored().await["spec"]["replicationState"],
        "secondary"
    );
    volume.answers(Rpc::Demote, &[Answer::Fails(Code::FailedPrecondition)]);
    drop(held);

    for code in [Code::FailedPrecondition, Code::Aborted] {
        println!("{code:?}");
        volume.answers(Rpc::Demote, &[Answer::Fails(code)]);
        let stalled = bed.order(&demote).await.expect(4);
        for part in [
            "replication-unconfirmed",
            VOLUME,
            "FailedToDemote",
            "log of its driver",
        ] {
            assert!(stalled.stderr.contains(part), "{part}: {stalled:?}");
        }
        assert_eq!(bed.phase().await, Some(Phase::Stalled));
        bed.waits(StepName::Replication, VOLUME).await;
        bed.is_dark().await;
    }

    bed.order(&["demote", "--override", UNCONFIRMED])
        .await
        .expect(0);
    assert_eq!(volume.stand().map(|stand| stand.role), Some(Role::Primary));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_never_returns_keeps_the_site_dark_until_it_is_overridden() {
    let bed = Bed::start("secondary", Wait::Short).await;
    let volume = bed.volume().await;
    assert_eq!(bed.apply_as_flux(&volume).await, "secondary");
    bed.deploy().await;
    volume.until_asked(Rpc::Resync, 1).await;
    bed.site.until_ready().await;

    let _held = volume.hold(Rpc::Promote);
    let stalled = bed
        .order(&[&["promote"], &GIVE_UP[..]].concat())
        .await
        .expect(4);
    for part in ["replication-unconfirmed", VOLUME, "generation"] {
        assert!(stalled.stderr.contains(part), "{part}: {stalled:?}");
    }
    assert_eq!(bed.phase().await, Some(Phase::Stalled));
    bed.waits(StepName::Replication, VOLUME).await;
    bed.is_dark().await;

    bed.order(&["promote", "--override", UNCONFIRMED])
        .await
        .expect(0);
    bed.is_live().await;
}
