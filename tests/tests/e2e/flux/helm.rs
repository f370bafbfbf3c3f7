//! Helm charts from Git: releases that are still reconciled on a standby, and releases that are suspended themselves.

use serde_json::{Value, json};
use testbed::{fixtures, flux};

use super::{Fed, NAMESPACE, Watched, assert_no_record, release};
use crate::main_job::{DEMOTE, PROMOTE, assert_passive, settled};

/// Releases outside the enrolled namespace, of charts whose objects are in it: no rule applies to the HelmRelease.
const OUTSIDE: [(&str, &str); 2] = [("quiet", "disabled"), ("strict", "enabled")];

/// A release whose HelmRelease is enrolled, too.
const INSIDE: &str = "inside";

fn releases(replicas: i64) -> Vec<Value> {
    let outside = OUTSIDE.map(|(name, mode)| (flux::NAMESPACE, name, mode));
    let all = outside.into_iter().chain([(NAMESPACE, INSIDE, "enabled")]);
    all.map(|(namespace, name, mode)| {
        let mut release = release(namespace, name, replicas);
        release["spec"]["driftDetection"] = json!({"mode": mode});
        release
    })
    .collect()
}

/// The Deployments of the releases.
fn deployments(replicas: i64) -> Vec<Value> {
    let names = OUTSIDE.map(|(name, _)| name).into_iter().chain([INSIDE]);
    names
        .map(|name| fixtures::deployment(NAMESPACE, name, replicas))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_finds_no_drift_on_a_standby_and_what_it_upgrades_there_comes_back_as_git_says() {
    let fed = Fed::start().await;
    let (site, flux) = (&fed.site, &fed.flux);
    fed.write_chart();
    for release in releases(3) {
        fed.write(&release);
    }
    flux.follow("apps", "./apps", &json!({})).await.unwrap();
    flux.push("live").await.unwrap();
    let of_version = async |namespace: &str, version: i64| {
        flux.settled("HelmRelease", namespace, |release| {
            release.data["status"]["history"][0]["version"] == version
        })
        .await;
    };
    for namespace in [flux::NAMESPACE, NAMESPACE] {
        of_version(namespace, 1).await;
    }

    site.failover(DEMOTE).await.expect(0);
    for manifest in &deployments(3) {
        assert_passive(&settled(site, manifest).await);
    }
    let outside = OUTSIDE.map(|(name, _)| name);
    let watched = Watched::new(site, &deployments(3)).await;
    let demoted = watched.versions().await;
    for round in 0..20 {
        flux.reconcile("HelmRelease", flux::NAMESPACE, &outside)
            .await;
        assert_eq!(watched.versions().await, demoted, "round {round}");
    }
    of_version(flux::NAMESPACE, 1).await;

    for release in releases(5) {
        fed.write(&release);
    }
    flux.push("raised").await.unwrap();
    of_version(flux::NAMESPACE, 2).await;
    for manifest in &deployments(5) {
        assert_passive(&settled(site, manifest).await);
    }
    let upgraded = watched.versions().await;
    // The suspended release is not upgraded, since its hooks would run.
    let inside = fixtures::label(&fixtures::deployment(NAMESPACE, INSIDE, 5));
    assert_eq!(upgraded[&inside], demoted[&inside]);

    site.failover(PROMOTE).await.expect(0);
    of_version(NAMESPACE, 2).await;
    of_version(flux::NAMESPACE, 2).await;
    for manifest in &deployments(5) {
        let object = settled(site, manifest).await;
        assert_no_record(&object);
        assert_eq!(object.data["spec"]["replicas"], json!(5), "{object:?}");
    }
    let live = watched.versions().await;
    flux.reconcile("HelmRelease", flux::NAMESPACE, &outside)
        .await;
    flux.reconcile("HelmRelease", NAMESPACE, &[INSIDE]).await;
    assert_eq!(watched.versions().await, live);
}
