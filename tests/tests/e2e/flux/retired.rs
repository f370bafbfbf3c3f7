//! An application that is removed from Git while the site is on standby: Flux does not uninstall a suspended release.

use kube::api::ListParams;
use serde_json::json;
use testbed::{eventually, fixtures};

use super::{Fed, NAMESPACE, release};
use crate::main_job::{DEMOTE, PROMOTE, assert_passive, settled, stored};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_retired_during_the_outage_does_not_start_until_somebody_takes_it_over() {
    let fed = Fed::start().await;
    let (site, flux) = (&fed.site, &fed.flux);
    fed.write_chart();
    for name in ["kept", "old"] {
        fed.write(&release(NAMESPACE, name, 2));
    }
    flux.follow("apps", "./apps", &json!({})).await.unwrap();
    flux.push("live").await.unwrap();
    flux.settled("HelmRelease", NAMESPACE, |_| true).await;
    let [kept, old] = ["kept", "old"].map(|name| fixtures::deployment(NAMESPACE, name, 2));
    site.failover(DEMOTE).await.expect(0);

    fed.remove(&release(NAMESPACE, "old", 2));
    flux.push("old is retired").await.unwrap();
    let releases = flux.api("HelmRelease", NAMESPACE);
    eventually("one release", || async {
        let left = releases.list(&ListParams::default()).await.unwrap().items;
        if left.len() == 1 { Ok(()) } else { Err(left) }
    })
    .await;
    // The HelmRelease is gone; what it has installed stays, with its record.
    assert_passive(&settled(site, &old).await);
    site.until_in_force(NAMESPACE, "deployments/old=orphaned")
        .await;
    for report in [&["plan", "promote"][..], &["status"]] {
        let document = site.document(report).await;
        let orphaned = document["orphaned"].as_array().unwrap();
        assert_eq!(orphaned.len(), 1, "{document}");
        assert_eq!(orphaned[0]["object"], "shop/deployments/old");
    }

    site.failover(PROMOTE).await.expect(0);
    let replicas = |object: kube::api::DynamicObject| object.data["spec"]["replicas"].clone();
    assert_eq!(replicas(stored(site, &kept).await), json!(2));
    assert_passive(&stored(site, &old).await);

    let take_over = [
        "label",
        "deployments.apps/old",
        "-n",
        NAMESPACE,
        "helm.toolkit.fluxcd.io/name-",
        "helm.toolkit.fluxcd.io/namespace-",
    ];
    site.kubectl(&take_over).await.expect(0);
    site.until_in_force(NAMESPACE, "").await;
    eventually("what was taken over", || async {
        let found = replicas(stored(site, &old).await);
        if found == json!(2) {
            Ok(())
        } else {
            Err(found)
        }
    })
    .await;
}
