//! A webhook that the API server reaches, and that does not reach the API server: it answers from what it saw last.

use std::time::Instant;

use failover_core::Role;
use testbed::{eventually, fixtures};

use super::{Bed, NAMESPACE, metric};
use crate::main_job::DEMOTE;

/// It takes the site for primary while that is demoted. It has stopped answering before it is no longer waited for; until
/// then it lets everything pass as it is, and the backstop refuses.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_cut_off_from_the_api_server_falls_silent_before_it_is_given_up() {
    let mut bed = Bed::start(Role::Primary).await;
    let link = bed.site.link_webhook().await.unwrap();
    bed.recovers().await;

    link.cut();
    let demotion = async {
        let order = [DEMOTE, &["--timeout=90s"]].concat();
        bed.site.failover(&order).await.expect(0);
        Instant::now()
    };
    let (demoted, silent, given_up) =
        tokio::join!(demotion, when_silent(&bed), when_given_up(&bed));
    assert!(
        silent < given_up,
        "it was given up {:?} before it fell silent",
        silent - given_up
    );
    assert!(given_up < demoted, "it was not waited for");

    bed.role = Role::Secondary;
    bed.holds("cut-off").await;

    link.mend();
    bed.recovers().await;
}

/// When it is asked, and says 503.
async fn when_silent(bed: &Bed) -> Instant {
    let web = fixtures::deployment(NAMESPACE, "web", 3);
    eventually("a silent webhook", || async {
        // Whatever becomes of it.
        let _ = bed.site.dry_run_as_flux(&web).await;
        match metric(&bed.site.webhook_admin(), "outcome=\"unavailable\"").await {
            0 => Err("all were answered"),
            _ => Ok(Instant::now()),
        }
    })
    .await
}

/// When the controller no longer waits for it.
async fn when_given_up(bed: &Bed) -> Instant {
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
