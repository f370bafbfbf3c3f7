//! Commits that arrive during the outage.

use kube::api::DynamicObject;
use serde_json::{Value, json};
use testbed::{eventually, fixtures, flux};

use super::{Fed, NAMESPACE, Watched, assert_no_record};
use crate::main_job::{DEMOTE, PROMOTE, assert_passive, settled, stored, version};

const ALL: &[&str] = &["apps"];

fn replicas(object: &DynamicObject) -> i64 {
    object.data["spec"]["replicas"].as_i64().unwrap()
}

/// Asserts that the replicas are as in the manifests, and that Flux finds nothing to correct.
async fn assert_as_in_git(fed: &Fed, manifests: &[Value]) {
    for manifest in manifests {
        let object = settled(&fed.site, manifest).await;
        assert_no_record(&object);
        assert_eq!(
            object.data["spec"]["replicas"],
            manifest["spec"]["replicas"],
            "{}",
            fixtures::label(manifest)
        );
    }
    let watched = Watched::new(&fed.site, manifests).await;
    let live = watched.versions().await;
    fed.flux
        .reconcile("Kustomization", flux::NAMESPACE, ALL)
        .await;
    assert_eq!(watched.versions().await, live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_during_standby_is_applied_as_passive_and_a_promotion_restores_what_git_says() {
    let fed = Fed::start().await;
    let (site, flux) = (&fed.site, &fed.flux);
    let [web, api, batch] = [("web", 3), ("api", 2), ("batch", 2)]
        .map(|(name, n)| fixtures::deployment(NAMESPACE, name, n));
    for manifest in [&web, &api, &batch] {
        fed.write(manifest);
    }
    // With `wait`, Ready requires that all applied objects are healthy, which a Deployment forced to 0 must be.
    let wait = json!({"wait": true, "force": true});
    flux.follow("apps", "./apps", &wait).await.unwrap();
    flux.push("live").await.unwrap();
    site.failover(DEMOTE).await.expect(0);

    let raised = fixtures::deployment(NAMESPACE, "web", 6);
    let added = fixtures::stateful_set(NAMESPACE, "added", 4);
    let lowered = fixtures::deployment(NAMESPACE, "batch", 0);
    let mut exempt = fixtures::deployment(NAMESPACE, "api", 5);
    exempt["metadata"]["labels"]["failover.dev/enforce"] = json!("disabled");
    let manifests = [raised, added, lowered, exempt];
    for manifest in &manifests {
        fed.write(manifest);
    }
    flux.push("raised, added, lowered, exempt").await.unwrap();
    for manifest in &manifests {
        assert_passive(&settled(site, manifest).await);
    }
    assert_eq!(site.objects_in_force(NAMESPACE).await, "");
    let watched = Watched::new(site, &manifests).await;
    let demoted = watched.versions().await;
    for round in 0..10 {
        flux.reconcile("Kustomization", flux::NAMESPACE, ALL).await;
        assert_eq!(watched.versions().await, demoted, "round {round}");
    }

    site.failover(PROMOTE).await.expect(0);
    assert_as_in_git(&fed, &manifests).await;
    // The requested exemption is in force now, as the site is primary.
    site.until_in_force(NAMESPACE, "deployments/api=exempt")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_git_omits_and_the_autoscaler_set_comes_back_from_the_record() {
    let fed = Fed::start().await;
    let (site, flux) = (&fed.site, &fed.flux);
    let mut web = fixtures::deployment(NAMESPACE, "web", 1);
    web["spec"].as_object_mut().unwrap().remove("replicas");
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": NAMESPACE, "name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 3, "maxReplicas": 10,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
        },
    });
    fed.write(&web);
    fed.write(&autoscaler);
    flux.follow("apps", "./apps", &json!({})).await.unwrap();
    flux.push("live").await.unwrap();
    let autoscaled = |count: i64| {
        eventually("what the autoscaler wants", {
            let web = &web;
            move || async move {
                let found = replicas(&stored(site, web).await);
                if found == count { Ok(()) } else { Err(found) }
            }
        })
    };
    autoscaled(3).await;
    // Without metrics the autoscaler stays at its minimum: scale up as it would under load.
    let scale = ["scale", "-n", NAMESPACE, "deployment/web", "--replicas=5"];
    site.kubectl(&scale).await.expect(0);

    site.failover(DEMOTE).await.expect(0);
    let demoted = settled(site, &web).await;
    assert_passive(&demoted);
    for _ in 0..10 {
        flux.reconcile("Kustomization", flux::NAMESPACE, ALL).await;
        assert_eq!(version(&stored(site, &web).await), version(&demoted));
    }

    site.failover(PROMOTE).await.expect(0);
    let live = settled(site, &web).await;
    assert_eq!(replicas(&live), 5);
    assert_no_record(&live);
    flux.reconcile("Kustomization", flux::NAMESPACE, ALL).await;
    assert_eq!(version(&stored(site, &web).await), version(&live));
}
