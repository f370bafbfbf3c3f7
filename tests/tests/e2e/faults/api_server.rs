//! The API server and its store go and come back, and those who watch it fall behind.

use failover_core::Role;
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;
use testbed::{eventually, fixtures};

use super::attack::Siege;
use super::{Bed, assert_active};
use crate::main_job::{DEMOTE, PROMOTE_VOLUMES, assert_passive};

#[rstest]
#[case::primary(Role::Primary)]
#[case::secondary(Role::Secondary)]
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_comes_back_enforces_from_its_first_answer_on(#[case] role: Role) {
    let mut bed = Bed::start(role).await;
    let siege = match role {
        Role::Primary => None,
        Role::Secondary => Some(Siege::lay(bed.site.client())),
    };
    let under_siege = async |waves: usize| {
        if let Some(siege) = &siege {
            siege.waves(waves).await;
        }
    };

    bed.site.plane.api_server.kill();
    under_siege(2).await;
    bed.site.plane.restart_api_server().await.unwrap();
    under_siege(2).await;
    bed.holds("api-server").await;

    bed.site.plane.etcd.kill();
    under_siege(1).await;
    bed.site.plane.restart_etcd().await.unwrap();
    under_siege(2).await;
    bed.holds("etcd").await;

    // With the webhook dead as well, all rests on policies that the API server has yet to read.
    bed.site.webhook.kill();
    bed.site.plane.api_server.kill();
    bed.site.plane.restart_api_server().await.unwrap();
    under_siege(2).await;
    bed.holds("api-server-and-webhook").await;

    if let Some(siege) = siege {
        let tally = siege.call_off().await;
        tally.expect_beaten_off("while it was away");
        assert!(tally.unavailable > 0 && tally.refused > 0, "{tally:?}");
    }
    bed.site.webhook.restart().unwrap();
    bed.recovers().await;
}

/// Who comes back to an API server that has forgotten where they were is told 410, and has to list anew.
#[rstest]
#[case::a_demotion(Role::Primary, DEMOTE)]
#[case::a_promotion(Role::Secondary, PROMOTE_VOLUMES)]
#[tokio::test(flavor = "multi_thread")]
async fn watches_that_fell_behind_miss_nothing(#[case] role: Role, #[case] order: &[&str]) {
    let mut bed = Bed::start(role).await;
    bed.site.webhook.signal(Signal::SIGSTOP);
    bed.site.controller.signal(Signal::SIGSTOP);
    let order = [order, &["--wait=false"]].concat();
    bed.site.failover(&order).await.expect(0);
    let late = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "late", "labels": {"failover.dev/enforce": "enabled"}},
    });
    bed.site.apply_as_person(&late).await.unwrap();
    // Started anew, its watch cache begins after all that.
    bed.site.plane.api_server.kill();
    bed.site.plane.restart_api_server().await.unwrap();

    bed.site.webhook.signal(Signal::SIGCONT);
    bed.site.controller.signal(Signal::SIGCONT);
    for process in [&bed.site.webhook, &bed.site.controller] {
        eventually("410 Gone", || async {
            let log = process.log();
            if log.contains("too old resource version") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
    }
    bed.role = role.opposite();
    bed.recovers().await;
    let web = fixtures::deployment("late", "web", 2);
    let web = bed.site.apply_as_flux(&web).await.unwrap();
    match bed.role {
        Role::Primary => assert_active(&web),
        Role::Secondary => assert_passive(&web),
    }
}
