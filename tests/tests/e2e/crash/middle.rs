//! Faults in the middle of a transition: the API server or etcd restarts, the transition is aborted, a leader is frozen past
//! its lease. A test stops the transition where it waits for pods or for a volume's driver.

use std::time::Duration;

use failover_core::Role;
use failover_core::api::{StepName, StepState};
use nix::sys::signal::Signal;
use rstest::rstest;
use testbed::csi_addons::Rpc;
use testbed::recorder::Recorder;
use testbed::{eventually, eventually_within};

use super::order::Scope;
use super::{Bed, DEMOTE, NAMESPACE, PROMOTE, order};

impl Bed {
    /// Pods keep their state.
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

    async fn request(&self, order: &[&str]) {
        let order = [order, &["--wait=false"]].concat();
        self.site.failover(&order).await.expect(0);
    }

    async fn until_blocked_at(&self, name: StepName) {
        eventually(&format!("a transition at {name:?}"), || async {
            let transition = self.site.status().await.transition;
            let steps = transition.iter().flat_map(|transition| &transition.steps);
            let mut here = steps.filter(|s| s.name == name && s.state == StepState::Running);
            // It has checked and waits.
            match here.find(|step| !step.blocked.is_empty()) {
                Some(_) => Ok(()),
                None => Err(format!("{transition:?}")),
            }
        })
        .await;
    }

    async fn until_done(&self, role: Role) {
        // KWOK and csi-addons take a while to reconnect to a restarted API server.
        let patience = Duration::from_secs(180);
        eventually_within(patience, &format!("a site that is {role}"), || async {
            if self.is_done(role, Scope::Site).await {
                Ok(())
            } else {
                Err(format!("{:?}", self.site.status().await))
            }
        })
        .await;
        assert!(self.volume.is_in_sync_as(role));
    }

    async fn recorder(&self) -> Recorder {
        Recorder::start(&self.site.client(), order::kinds()).await
    }
}

async fn assert_order_kept(recorder: Recorder) {
    let violations = order::violations(&recorder.finish().await, NAMESPACE, Scope::Site);
    assert_eq!(violations, [""; 0]);
}

#[rstest]
#[case::the_api_server(false)]
#[case::etcd(true)]
#[tokio::test(flavor = "multi_thread")]
async fn a_transition_survives_a_restart_of_the_api_server_or_etcd(#[case] etcd: bool) {
    let mut bed = Bed::new().await;
    let recorder = bed.recorder().await;
    for (order, role) in [(DEMOTE, Role::Secondary), (PROMOTE, Role::Primary)] {
        let paused = bed.volume.pause(Rpc::Promote);
        bed.freeze_pods();
        bed.request(order).await;
        let at = match role {
            Role::Secondary => StepName::PodsGone,
            Role::Primary => StepName::Replication,
        };
        bed.until_blocked_at(at).await;
        let plane = &mut bed.site.plane;
        let restarted = if etcd {
            plane.restart_etcd().await
        } else {
            plane.restart_api_server().await
        };
        restarted.unwrap();
        bed.thaw_pods();
        drop(paused);
        bed.until_done(role).await;
    }
    assert_order_kept(recorder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transition_is_aborted_from_the_step_that_it_has_reached() {
    let mut bed = Bed::new().await;
    let recorder = bed.recorder().await;
    bed.freeze_pods();
    bed.request(DEMOTE).await;
    bed.until_blocked_at(StepName::PodsGone).await;
    let back = [
        "demote",
        "--abort",
        "--yes",
        "--override=peer-unknown",
        "--reason=drill",
    ];
    bed.request(&back).await;
    bed.thaw_pods();
    bed.until_done(Role::Primary).await;

    bed.site.failover(DEMOTE).await.expect(0);
    let paused = bed.volume.pause(Rpc::Promote);
    bed.request(PROMOTE).await;
    bed.until_blocked_at(StepName::Replication).await;
    let back = ["promote", "--abort", "--yes", "--reason=drill"];
    bed.request(&back).await;
    drop(paused);
    bed.until_done(Role::Secondary).await;
    assert_order_kept(recorder).await;
}

/// The leader was about to demote the volumes when it was stopped. When it resumes another one leads, and the site is being
/// promoted again.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_frozen_past_its_lease_breaks_no_order() {
    let mut bed = Bed::new().await;
    let recorder = bed.recorder().await;
    bed.freeze_pods();
    bed.request(DEMOTE).await;
    bed.until_blocked_at(StepName::PodsGone).await;
    let second = bed.site.second_controller().await.unwrap();
    bed.site.controller.signal(Signal::SIGSTOP);
    bed.thaw_pods();
    bed.until_done(Role::Secondary).await;
    bed.site.failover(PROMOTE).await.expect(0);

    bed.site.controller.signal(Signal::SIGCONT);
    bed.site.until_not_leading().await;
    bed.until_done(Role::Primary).await;
    assert_order_kept(recorder).await;
    second.kill();
}
