//! With `force: true` Flux deletes and recreates what it cannot apply. No refusal of ours may trigger that.

use serde_json::{Value, json};
use testbed::{eventually, fixtures, flux};

use super::{Fed, NAMESPACE, Watched, assert_no_record};
use crate::main_job::{DEMOTE, PROMOTE, PROMOTE_VOLUMES, assert_passive, settled, stored};

const ALL: &[&str] = &["apps"];

/// A primary site whose Kustomization of these objects has `force: true`.
async fn forced(manifests: &[Value]) -> Fed {
    let fed = Fed::start().await;
    for manifest in manifests {
        fed.write(manifest);
    }
    let force = json!({"force": true});
    fed.flux.follow("apps", "./apps", &force).await.unwrap();
    fed.flux.push("live").await.unwrap();
    fed
}

#[tokio::test(flavor = "multi_thread")]
async fn flux_with_force_deletes_nothing_while_only_the_backstop_is_left_to_refuse_it() {
    let manifests = [
        fixtures::deployment(NAMESPACE, "web", 3),
        fixtures::stateful_set(NAMESPACE, "db", 2),
        fixtures::cron_job(NAMESPACE, "report"),
        fixtures::volume_replication(NAMESPACE, "data"),
    ];
    let fed = forced(&manifests).await;
    let watched = Watched::new(&fed.site, &manifests).await;
    let uids = watched.uids().await;
    fed.site.failover(DEMOTE).await.expect(0);
    for manifest in &manifests {
        settled(&fed.site, manifest).await;
    }
    let demoted = watched.versions().await;

    fed.site.webhook.kill();
    fed.flux
        .request("Kustomization", flux::NAMESPACE, ALL)
        .await;
    let log = || fed.flux.kustomize.log();
    eventually("five refusals in a row", || async {
        let refused = log().matches("may not become more active").count();
        if refused >= 5 { Ok(()) } else { Err(refused) }
    })
    .await;
    assert_eq!(watched.versions().await, demoted);
    for manifest in &manifests {
        assert_passive(&stored(&fed.site, manifest).await);
    }

    fed.site.webhook.restart().unwrap();
    fed.site.until_ready().await;
    fed.flux
        .reconcile("Kustomization", flux::NAMESPACE, ALL)
        .await;
    fed.site.failover(PROMOTE_VOLUMES).await.expect(0);
    assert_eq!(watched.uids().await, uids);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flux_recreates_on_a_standby_comes_up_passive_and_with_its_record() {
    let before = fixtures::stateful_set(NAMESPACE, "db", 2);
    let fed = forced(std::slice::from_ref(&before)).await;
    let (site, flux) = (&fed.site, &fed.flux);
    let watched = Watched::new(site, std::slice::from_ref(&before)).await;
    site.failover(DEMOTE).await.expect(0);
    let old = watched.uids().await;

    // An immutable field: here Git requires that Flux deletes the object.
    let mut after = fixtures::stateful_set(NAMESPACE, "db", 4);
    after["spec"]["podManagementPolicy"] = json!("Parallel");
    fed.write(&after);
    flux.push("immutable").await.unwrap();
    assert_ne!(watched.uids().await, old, "it was recreated");
    assert_passive(&settled(site, &after).await);

    site.failover(PROMOTE).await.expect(0);
    let live = settled(site, &after).await;
    assert_eq!(live.data["spec"]["replicas"], json!(4));
    assert_no_record(&live);
}
