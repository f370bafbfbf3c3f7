//! What happens in the middle of a transition: the API server or etcd restarts, another order comes, a leader is frozen and wakes
//! up late. The transition is held where it waits for pods, or for the driver of a volume, for as long as a test wants.

use std::time::Duration;

use failover_core::Role;
use failover_core::api::{StepName, StepState};
use nix::sys::signal::Signal;
use rstest::rstest;
use testbed::csi_addons::Rpc;
use testbed::recorder::Recorder;
use testbed::{eventually, eventually_within};

use super::order::Whose;
use super::{Bed, DEMOTE, NAMESPACE, PROMOTE, order};

impl Bed {
    /// Pods stay as they are.
    fn freeze_pods(&mut self) {
        self.kwok(Signal::SIGSTOP);
    }

    fn thaw_pods(&mut self) {
        self.kwok(Signal::SIGCONT);
    }

    fn kwok(&mut self, signal: Signal) {
        let kwok = self.site.kwok.as_mut().expect("there are nodes");
        kwok.signal(signal);
    }

    async fn ordered(&self, order: &[&str]) {
        let order = [order, &["--wait=false"]].concat();
        self.site.failover(&order).await.expect(0);
    }

    async fn until_at(&self, name: StepName) {
        eventually(&format!("a walk at {name:?}"), || async {
            let walk = self.site.status().await.transition;
            let steps = walk.iter().flat_map(|walk| &walk.steps);
            let mut here = steps.filter(|s| s.name == name && s.state == StepState::Running);
            // It has looked, and waits.
            match here.find(|step| !step.blocked.is_empty()) {
                Some(_) => Ok(()),
                None => Err(format!("{walk:?}")),
            }
        })
        .await;
    }

    async fn until_done(&self, role: Role) {
        // KWOK and csi-addons come back to an API server that was away in their own time.
        let patience = Duration::from_secs(180);
        eventually_within(patience, &format!("a site that is {role}"), || async {
            if self.is_done(role, Whose::Site).await {
                Ok(())
            } else {
                Err(format!("{:?}", self.site.status().await))
            }
        })
        .await;
        assert!(self.volume.stands_as(role));
    }

    async fn recorder(&self) -> Recorder {
        Recorder::start(&self.site.client(), order::kinds()).await
    }
}

async fn kept(recorder: Recorder) {
    let violations = order::violations(&recorder.finish().await, NAMESPACE, Whose::Site);
    assert_eq!(violations, [""; 0]);
}

#[rstest]
#[case::the_api_server(false)]
#[case::etcd(true)]
#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_the_journal_restarts_and_the_walk_goes_on(#[case] etcd: bool) {
    let mut bed = Bed::new().await;
    let recorder = bed.recorder().await;
    for (order, role) in [(DEMOTE, Role::Secondary), (PROMOTE, Role::Primary)] {
        let held = bed.volume.hold(Rpc::Promote);
        bed.freeze_pods();
        bed.ordered(order).await;
        let at = match role {
            Role::Secondary => StepName::PodsGone,
            Role::Primary => StepName::Replication,
        };
        bed.until_at(at).await;
        let plane = &mut bed.site.plane;
        let restarted = if etcd {
            plane.restart_etcd().await
        } else {
            plane.restart_api_server().await
        };
        restarted.unwrap();
        bed.thaw_pods();
        drop(held);
        bed.until_done(role).await;
    }
    kept(recorder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_order_turns_the_walk_round_from_where_it_stands() {
    let mut bed = Bed::new().await;
    let recorder = bed.recorder().await;
    bed.freeze_pods();
    bed.ordered(DEMOTE).await;
    bed.until_at(StepName::PodsGone).await;
    let back = [
        "demote",
        "--abort",
        "--yes",
        "--override=peer-unknown",
        "--reason=drill",
    ];
    bed.ordered(&back).await;
    bed.thaw_pods();
    bed.until_done(Role::Primary).await;

    bed.site.failover(DEMOTE).await.expect(0);
    let held = bed.volume.hold(Rpc::Promote);
    bed.ordered(PROMOTE).await;
    bed.until_at(StepName::Replication).await;
    let back = ["promote", "--abort", "--yes", "--reason=drill"];
    bed.ordered(&back).await;
    drop(held);
    bed.until_done(Role::Secondary).await;
    kept(recorder).await;
}

/// It was about to turn the volumes when it was stopped. Another one leads by the time it wakes up, and the site has turned
/// back.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_frozen_past_its_lease_puts_nothing_out_of_order() {
    let mut bed = Bed::new().await;
    let recorder = bed.recorder().await;
    bed.freeze_pods();
    bed.ordered(DEMOTE).await;
    bed.until_at(StepName::PodsGone).await;
    let second = bed.site.second_controller().await.unwrap();
    bed.site.controller.signal(Signal::SIGSTOP);
    bed.thaw_pods();
    bed.until_done(Role::Secondary).await;
    bed.site.failover(PROMOTE).await.expect(0);

    bed.site.controller.signal(Signal::SIGCONT);
    bed.site.until_not_leading().await;
    bed.until_done(Role::Primary).await;
    kept(recorder).await;
    second.kill();
}
