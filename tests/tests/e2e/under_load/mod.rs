//! Two replicas of the webhook behind the Service of the shipped configuration, under 200 writes a second: replicas start,
//! stop and die, and certificates rotate.

mod bed;
mod load;

use std::time::Duration;

use failover_certs::{AUTHORITY_LIFETIME, LEAF_LIFETIME, issue_authority, issue_leaf};
use jiff::{SignedDuration, Timestamp};
use testbed::network::PODS;
use tokio::time::sleep;

use bed::{Bed, under_load};

/// How long the load runs before and after an event.
const A_WHILE: Duration = Duration::from_secs(2);

/// How long a dead replica is still an endpoint: kubelet checks once a second, then the endpoint controller writes.
const UNTIL_NOTICED: Duration = Duration::from_secs(2);

#[test]
fn a_rolling_restart_loses_no_write() {
    under_load(|| async {
        let mut bed = Bed::start().await;
        let load = bed.load();
        // As with the shipped strategy, a new replica is ready before an old one stops.
        let _third = bed.ready_webhook("webhook-2", PODS[2]).await;
        bed.set_endpoints(&PODS[..3]).await;
        bed.retire_first(&PODS[1..3]).await;
        let _fourth = bed.ready_webhook("webhook-3", PODS[3]).await;
        bed.set_endpoints(&PODS[1..]).await;
        bed.retire_second(&PODS[2..]).await;
        sleep(A_WHILE).await;
        load.end().await.expect_all_rewritten("rolling restart");
    });
}

/// Reviews that the killed process was handling, and those sent to its address until the endpoint is removed, stay
/// unanswered: the API server does not retry them. The backstop refuses those writes.
#[test]
fn a_replica_that_is_killed_lets_no_write_through_and_few_are_retried() {
    under_load(|| async {
        let bed = Bed::start().await;
        let load = bed.load();
        sleep(A_WHILE).await;
        bed.second.kill();
        sleep(UNTIL_NOTICED).await;
        bed.set_endpoints(&PODS[..1]).await;
        sleep(A_WHILE).await;
        let tally = load.end().await;
        tally.expect_none_lost("kill -9 of one");
        assert!(tally.refused_at_first < 40, "{tally:?}");
    });
}

#[test]
fn a_replica_that_cannot_answer_sends_the_api_server_to_one_that_can() {
    under_load(|| async {
        let bed = Bed::start().await;
        let load = bed.load();
        sleep(A_WHILE).await;
        let _cut_off = bed.cut_off_webhook("webhook-2", PODS[2]).await;
        bed.set_endpoints(&PODS[..3]).await;
        bed.burst().await.expect_all_rewritten("new connections");
        sleep(A_WHILE).await;
        load.end().await.expect_all_rewritten("one cut off");
    });
}

#[test]
fn a_new_leaf_loses_no_write() {
    under_load(|| async {
        let bed = Bed::start().await;
        let load = bed.load();
        let before = bed.stored().await;
        // A leaf so old that it is due for rotation.
        let since = Timestamp::now() - LEAF_LIFETIME * 2 / 3 - SignedDuration::from_hours(1);
        let authority = before.authority.as_ref().unwrap();
        let due = issue_leaf(authority, &bed::names(), since).unwrap();
        bed.store("tls", &due).await;
        bed.until_replicas_serve_a_leaf_after(&before).await;
        bed.burst().await.expect_all_rewritten("new connections");
        load.end().await.expect_all_rewritten("leaf rotation");
    });
}

#[test]
fn a_new_authority_loses_no_write() {
    under_load(|| async {
        let bed = Bed::start().await;
        let load = bed.load();
        let before = bed.stored().await;
        let since = Timestamp::now() - AUTHORITY_LIFETIME * 2 / 3 - SignedDuration::from_hours(1);
        bed.store("ca", &issue_authority(since).unwrap()).await;
        bed.until_replicas_serve_a_leaf_after(&before).await;
        bed.burst().await.expect_all_rewritten("new connections");
        load.end()
            .await
            .expect_all_rewritten("rotation of the authority");
    });
}
