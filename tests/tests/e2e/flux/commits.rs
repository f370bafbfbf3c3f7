//! Commits that arrive during the outage.

use kube::api::DynamicObject;
use serde_json::{Value, json};
use testbed::{eventually, fixtures, flux};

use super::{Fed, NAMESPACE, Watched, assert_no_record};
use crate::main_job::{DEMOTE, PROMOTE, assert_passive, at_rest, stored, version};

const ALL: &[&str] = &["apps"];

fn replicas(object: &DynamicObject) -> i64 {
    object.data["spec"]["replicas"].as_i64().unwrap()
}

/// Asserts that everything the manifest says is so, and that Flux finds nothing to correct.
async fn assert_as_in_git(fed: &Fed, manifests: &[Value]) {
    for manifest in manifests {
        let object = at_rest(&fed.site, manifest).await;
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
async fn what_a_commit_brings_to_a_standby_comes_up_passive_and_a_promotion_brings_what_git_says() {
    let fed = Fed::start().await;
    let (site, flux) = (&fed.site, &fed.flux);
    let [web, api, batch] = [("web", 3), ("api", 2), ("batch", 2)]
        .map(|(name, n)| fixtures::deployment(NAMESPACE, name, n));
    for manifest in [&web, &api, &batch] {
        fed.write(manifest);
    }
    // `wait`: Ready says that all that was applied is healthy, which a Deployment held at 0 must be.
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
        assert_passive(&at_rest(site, manifest).await);
    }
    assert_eq!(site.objects_in_force(NAMESPACE).await, "");
    let watched = Watched::new(site, &manifests).await;
    let held = watched.versions().await;
    for round in 0..10 {
        flux.reconcile("Kustomization", flux::NAMESPACE, ALL).await;
        assert_eq!(watched.versions().await, held, "round {round}");
    }

    site.failover(PROMOTE).await.expect(0);
    assert_as_in_git(&fed, &manifests).await;
    // What the label asks counts from here on: the site is live.
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
    // Without metrics it goes no further than its minimum by itself: as if it had seen load.
    let scale = ["scale", "-n", NAMESPACE, "deployment/web", "--replicas=5"];
    site.kubectl(&scale).await.expect(0);

    site.failover(DEMOTE).await.expect(0);
    let held = at_rest(site, &web).await;
    assert_passive(&held);
    for _ in 0..10 {
        flux.reconcile("Kustomization", flux::NAMESPACE, ALL).await;
        assert_eq!(version(&stored(site, &web).await), version(&held));
    }

    site.failover(PROMOTE).await.expect(0);
    let live = at_rest(site, &web).await;
    assert_eq!(replicas(&live), 5);
    assert_no_record(&live);
    flux.reconcile("Kustomization", flux::NAMESPACE, ALL).await;
    assert_eq!(version(&stored(site, &web).await), version(&live));
}
