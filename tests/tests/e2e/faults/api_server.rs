//! The API server and etcd go down and come back, and watches fall behind.

use failover_core::Role;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;
use testbed::{Site, fixtures};

use super::attack::RepeatedAttack;
use super::{Bed, assert_active};
use crate::main_job::{DEMOTE, PROMOTE_VOLUMES, assert_passive};

#[rstest]
#[case::primary(Role::Primary)]
#[case::secondary(Role::Secondary)]
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_api_server_enforces_from_its_first_answer_on(#[case] role: Role) {
    let bed = Bed::start(role).await;
    let attacks = match role {
        Role::Primary => None,
        Role::Secondary => Some(RepeatedAttack::start(bed.site.client())),
    };
    let attacked = async |rounds: usize| {
        if let Some(attacks) = &attacks {
            attacks.rounds(rounds).await;
        }
    };

    bed.site.plane.api_server.kill();
    attacked(2).await;
    bed.site.plane.restart_api_server().await.unwrap();
    attacked(2).await;
    bed.assert_unaffected("api-server").await;

    bed.site.plane.etcd.kill();
    attacked(1).await;
    bed.site.plane.restart_etcd().await.unwrap();
    attacked(2).await;
    bed.assert_unaffected("etcd").await;

    // With the webhook dead as well, enforcement depends on policies that the API server has yet to load.
    bed.site.webhook.kill();
    bed.site.plane.api_server.kill();
    bed.site.plane.restart_api_server().await.unwrap();
    attacked(2).await;
    bed.assert_unaffected("api-server-and-webhook").await;

    if let Some(attacks) = attacks {
        let tally = attacks.stop().await;
        tally.expect_none_active("while it was away");
        assert!(tally.unavailable > 0 && tally.refused > 0, "{tally:?}");
    }
    bed.site.webhook.restart().unwrap();
    bed.assert_recovers().await;
}

/// A client that comes back after etcd has compacted the events that it missed has to list again.
///
/// The logs do not show that: a controller that has lost its lease meanwhile lists again without trying to resume the watch.
#[rstest]
#[case::a_demotion(Role::Primary, DEMOTE)]
#[case::a_promotion(Role::Secondary, PROMOTE_VOLUMES)]
#[tokio::test(flavor = "multi_thread")]
async fn watches_that_fell_behind_miss_nothing(#[case] role: Role, #[case] order: &[&str]) {
    let mut bed = Bed::start(role).await;
    let seen = last_version(&bed.site).await;
    bed.site.webhook.signal(Signal::SIGSTOP);
    bed.site.controller.signal(Signal::SIGSTOP);
    // This ends their connections, with any events buffered in the sockets. Without a watch cache the API server knows only
    // the history that etcd keeps.
    bed.site.plane.api_server.kill();
    let without_cache = ["--watch-cache=false"];
    bed.site
        .plane
        .restart_api_server_with(&without_cache)
        .await
        .unwrap();

    let order = [order, &["--wait=false"]].concat();
    bed.site.failover(&order).await.expect(0);
    let late = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "late", "labels": {"failover.dev/enforce": "enabled"}},
    });
    bed.site.apply_as_person(&late).await.unwrap();
    bed.site.plane.compact().await.unwrap();
    assert_compacted(&bed.site, &seen).await;

    bed.site.webhook.signal(Signal::SIGCONT);
    bed.site.controller.signal(Signal::SIGCONT);
    bed.role = role.opposite();
    bed.assert_recovers().await;
    let web = fixtures::deployment("late", "web", 2);
    let web = bed.site.apply_as_flux(&web).await.unwrap();
    match bed.role {
        Role::Primary => assert_active(&web),
        Role::Secondary => assert_passive(&web),
    }
}

/// The current resource version of the cluster.
async fn last_version(site: &Site) -> String {
    let namespaces: Api<Namespace> = Api::all(site.client());
    let listed = namespaces.list_metadata(&ListParams::default()).await;
    listed.unwrap().metadata.resource_version.unwrap()
}

/// Asserts that watching from this version fails with 410.
async fn assert_compacted(site: &Site, version: &str) {
    let namespaces: Api<Namespace> = Api::all(site.client());
    let watched = match namespaces.watch(&WatchParams::default(), version).await {
        Ok(events) => std::pin::pin!(events).next().await.transpose(),
        Err(error) => Err(error),
    };
    match watched {
        Ok(Some(WatchEvent::Error(status))) => assert_eq!(status.code, 410, "{status:?}"),
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 410, "{status:?}"),
        other => panic!("the history since {version} is still there: {other:?}"),
    }
}
