//! A standby that Flux reconciles again and again: a thousand times in the long form.

use serde_json::json;
use testbed::{fixtures, flux};

use super::{Fed, NAMESPACE, Watched, assert_no_record, folder, release};
use crate::main_job::{DEMOTE, PROMOTE_VOLUMES, assert_passive, essence, settled};

/// One Kustomization for each kind makes ten.
const AT_A_TIME: usize = 10;

/// A thousand reconciles and more, or a hundred.
fn rounds() -> usize {
    if testbed::long() { 101 } else { 11 }
}

#[tokio::test(flavor = "multi_thread")]
async fn reconciles_of_a_standby_write_nothing_and_flux_stays_ready() {
    let fed = Fed::start().await;
    let (site, flux) = (&fed.site, &fed.flux);
    fed.write_chart();
    let mut manifests = fixtures::every_kind(NAMESPACE);
    for manifest in &mut manifests {
        if manifest["kind"] == "HelmRelease" {
            *manifest = release(NAMESPACE, "cache", 2);
        }
        fed.write(manifest);
    }
    let kustomizations: Vec<String> = manifests.iter().map(folder).collect();
    let kustomizations: Vec<&str> = kustomizations.iter().map(String::as_str).collect();
    for name in &kustomizations {
        // With `force`, objects that cannot be applied are deleted and recreated. The uids below prove that none was.
        let force = json!({"force": true});
        let path = format!("./apps/{name}");
        flux.follow(name, &path, &force).await.unwrap();
    }
    flux.push("everything").await.unwrap();
    flux.settled("HelmRelease", NAMESPACE, |_| true).await;
    // The object of the release is ruled as well, and restored by the sweep: Helm writes it only on an upgrade.
    let charted = fixtures::deployment(NAMESPACE, "cache", 2);
    let ruled: Vec<_> = manifests.iter().cloned().chain([charted]).collect();
    let mut live = Vec::new();
    for manifest in &ruled {
        live.push(essence(&settled(site, manifest).await));
    }

    site.failover(DEMOTE).await.expect(0);
    flux.reconcile("Kustomization", flux::NAMESPACE, &kustomizations)
        .await;
    for manifest in &ruled {
        assert_passive(&settled(site, manifest).await);
    }
    let watched = Watched::new(site, &ruled).await;
    let demoted = watched.versions().await;
    let reconciles = || {
        let log = flux.kustomize.log();
        log.matches("Reconciliation finished in").count()
    };
    let (before, started) = (reconciles(), std::time::Instant::now());
    let rounds = rounds();
    for round in 0..rounds {
        flux.reconcile("Kustomization", flux::NAMESPACE, &kustomizations)
            .await;
        assert_eq!(watched.versions().await, demoted, "round {round}");
    }
    let done = reconciles() - before;
    eprintln!("{done} reconciles in {:?}", started.elapsed());
    assert!(
        done >= (rounds - 1) * AT_A_TIME,
        "Flux has reconciled {done} times only"
    );

    site.failover(PROMOTE_VOLUMES).await.expect(0);
    flux.reconcile("Kustomization", flux::NAMESPACE, &kustomizations)
        .await;
    for (manifest, before) in ruled.iter().zip(&live) {
        let object = settled(site, manifest).await;
        // The uid is compared, too: nothing was deleted.
        assert_eq!(&essence(&object), before, "{}", fixtures::label(manifest));
        assert_no_record(&object);
    }
}
