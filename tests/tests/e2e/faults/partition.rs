//! A webhook that the API server can reach but that cannot reach the API server: it answers from stale state.

use std::time::Instant;

use failover_core::Role;
use testbed::{eventually, fixtures};

use super::{Bed, NAMESPACE, metric};
use crate::main_job::DEMOTE;

/// It takes the site for primary while that is being demoted. Until it stops answering it allows everything unchanged, and
/// the backstop refuses. It must stop before the controller stops waiting for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_cut_off_from_the_api_server_stops_answering_before_the_controller_stops_waiting()
{
    let mut bed = Bed::start(Role::Primary).await;
    let link = bed.site.link_webhook().await.unwrap();
    bed.assert_recovers().await;

    link.cut();
    let demotion = async {
        let order = [DEMOTE, &["--timeout=90s"]].concat();
        bed.site.failover(&order).await.expect(0);
        Instant::now()
    };
    let (demoted, unavailable, abandoned) =
        tokio::join!(demotion, until_unavailable(&bed), until_no_enforcers(&bed));
    assert!(
        unavailable < abandoned,
        "the controller stopped waiting {:?} before it stopped answering",
        unavailable - abandoned
    );
    assert!(abandoned < demoted, "it was not waited for");

    bed.role = Role::Secondary;
    bed.assert_unaffected("cut-off").await;

    link.restore();
    bed.assert_recovers().await;
}

/// Sends writes until the webhook answers 503; returns when.
async fn until_unavailable(bed: &Bed) -> Instant {
    let web = fixtures::deployment(NAMESPACE, "web", 3);
    eventually("a webhook that answers 503", || async {
        // The result does not matter.
        let _ = bed.site.dry_run_as_flux(&web).await;
        match metric(&bed.site.webhook_admin(), "outcome=\"unavailable\"").await {
            0 => Err("all were answered"),
            _ => Ok(Instant::now()),
        }
    })
    .await
}

/// Waits until the controller no longer waits for the webhook; returns when.
async fn until_no_enforcers(bed: &Bed) -> Instant {
    eventually("a site without enforcers", || async {
        let status = bed.site.status().await;
        if status.enforcers.is_empty() {
            Ok(Instant::now())
        } else {
            Err(status.enforcers)
        }
    })
    .await
}
