//! `replicas: 0` with `whenScaled: Delete` destroys data: whoever makes a StatefulSet passive, its claims stay.

use failover_core::{Layer, names};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use testbed::site::{DEMOTE, Options, PROMOTE, Site};
use testbed::{eventually, fixtures};

const NAMESPACE: &str = "shop";
/// Enrolled while the site is secondary.
const ARCHIVE: &str = "archive";
const REPLICAS: usize = 2;

/// A StatefulSet whose claims are deleted when it is scaled down, and their volumes.
fn database(namespace: &str) -> Vec<Value> {
    let mut set = fixtures::stateful_set(namespace, "db", 2);
    set["spec"]["persistentVolumeClaimRetentionPolicy"] =
        json!({"whenDeleted": "Retain", "whenScaled": "Delete"});
    set["spec"]["volumeClaimTemplates"] = json!([{
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }]);
    let volume = |i| {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("{namespace}-{i}")},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
                "claimRef": {"namespace": namespace, "name": format!("data-db-{i}")},
                "hostPath": {"path": "/data"},
            },
        })
    };
    (0..REPLICAS).map(volume).chain([set]).collect()
}

/// Applies the database and waits until it is ready; returns the uids of its claims.
async fn running_database(site: &Site, namespace: &str) -> Vec<String> {
    let manifests = database(namespace);
    for manifest in &manifests {
        site.apply_as_flux(manifest).await.unwrap();
    }
    let api = site.api_of(manifests.last().unwrap()).await.unwrap();
    eventually("a database that runs", || async {
        let set = api.get("db").await.unwrap();
        let ready = &set.data["status"]["readyReplicas"];
        if *ready == json!(REPLICAS) {
            Ok(())
        } else {
            Err(set.data["status"].clone())
        }
    })
    .await;
    let claims = claims(site, namespace).await;
    assert_eq!(claims.len(), REPLICAS);
    claims.iter().map(uid).collect()
}

async fn claims(site: &Site, namespace: &str) -> Vec<PersistentVolumeClaim> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(site.client(), namespace);
    api.list(&ListParams::default()).await.unwrap().items
}

fn uid(claim: &PersistentVolumeClaim) -> String {
    claim.uid().unwrap()
}

fn when_scaled(set: &DynamicObject) -> &Value {
    &set.data["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"]
}

/// Waits until the StatefulSet controller has deleted all pods; asserts that nothing deletes the claims.
async fn scales_down_and_keeps_its_claims(site: &Site, namespace: &str, before: &[String]) {
    let manifest = database(namespace).pop().unwrap();
    let api = site.api_of(&manifest).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(site.client(), namespace);
    let set = eventually("a database that is scaled down", || async {
        let set = api.get("db").await.unwrap();
        let observed = set.data["status"]["observedGeneration"].as_i64() == set.metadata.generation;
        let left = pods.list(&ListParams::default()).await.unwrap().items.len();
        if observed && left == 0 {
            Ok(set)
        } else {
            Err(format!("{left} pods: {}", set.data["status"]))
        }
    })
    .await;
    assert_eq!(
        (&set.data["spec"]["replicas"], when_scaled(&set)),
        (&json!(0), &json!("Retain"))
    );
    let claims = claims(site, namespace).await;
    assert_eq!(claims.iter().map(uid).collect::<Vec<_>>(), before);
    for claim in claims {
        // An owner would be a deleted pod, and the garbage collector would delete the claim.
        let owners = claim.owner_references();
        assert!(
            owners.is_empty() && claim.metadata.deletion_timestamp.is_none(),
            "{claim:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_that_deletes_claims_when_scaled_keeps_them_on_a_standby() {
    let mut site = Site::start(Options {
        nodes: 1,
        ..Options::default()
    })
    .await
    .unwrap();
    site.enrolled_namespace(NAMESPACE).await;
    let before = running_database(&site, NAMESPACE).await;
    let set = database(NAMESPACE).pop().unwrap();
    let api = site.api_of(&set).await.unwrap();

    every_scale_down_is_blocked_before_the_sweep(&mut site, &api).await;
    site.until_ready().await;

    let plan = site.document(&["plan", "demote"]).await;
    let items = plan["items"].as_array().unwrap();
    let item = items
        .iter()
        .find(|item| item["resource"] == "statefulsets")
        .unwrap();
    let change = |pointer: &str, before: Value, after: Value| json!({"pointer": pointer, "before": before, "after": after});
    assert_eq!(
        item["changes"],
        json!([
            change("/spec/replicas", json!(REPLICAS), json!(0)),
            change(
                "/spec/persistentVolumeClaimRetentionPolicy/whenScaled",
                json!("Delete"),
                json!("Retain")
            ),
        ])
    );

    site.failover(DEMOTE).await.expect(0);
    scales_down_and_keeps_its_claims(&site, NAMESPACE, &before).await;
    // Flux sees no drift.
    let first = site.apply_as_flux(&set).await.unwrap();
    let again = site.apply_as_flux(&set).await.unwrap();
    assert_eq!(first.resource_version(), again.resource_version());
    assert_eq!(when_scaled(&again), &json!("Retain"));

    // A namespace that is enrolled on a standby is demoted then.
    site.kubectl(&["create", "namespace", ARCHIVE])
        .await
        .expect(0);
    let archived = running_database(&site, ARCHIVE).await;
    site.failover(&["enroll", ARCHIVE, "--yes"]).await.expect(0);
    scales_down_and_keeps_its_claims(&site, ARCHIVE, &archived).await;

    site.failover(PROMOTE).await.expect(0);
    for (namespace, before) in [(NAMESPACE, before), (ARCHIVE, archived)] {
        let api = site
            .api_of(&database(namespace).pop().unwrap())
            .await
            .unwrap();
        let live = api.get("db").await.unwrap();
        assert_eq!(live.data["spec"]["replicas"], json!(REPLICAS));
        assert_eq!(when_scaled(&live), &json!("Delete"));
        assert!(!live.annotations().contains_key(names::RESTORE_ANNOTATION));
        let claims = claims(&site, namespace).await;
        assert_eq!(claims.iter().map(uid).collect::<Vec<_>>(), before);
    }
}

/// The labels say secondary, the sweep has not begun, and a writer (KEDA paused at 0, an autoscaler, a person) scales to 0:
/// with the webhook, and with the backstop alone.
async fn every_scale_down_is_blocked_before_the_sweep(site: &mut Site, api: &Api<DynamicObject>) {
    site.controller.kill();
    let secondary = Layer::ALL.map(|layer| format!("{}=secondary", layer.label()));
    let mut label = vec!["label", "namespace", NAMESPACE, "--overwrite"];
    label.extend(secondary.iter().map(String::as_str));
    site.kubectl(&label).await.expect(0);
    let scaled = async |replicas: usize, dry_run: bool| {
        let params = PatchParams {
            dry_run,
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let scale = api.patch_scale("db", &params, &patch).await?;
        Ok::<_, kube::Error>(scale.spec.and_then(|spec| spec.replicas))
    };
    let kept = i32::try_from(REPLICAS).ok();
    eventually("the webhook to know the role", || async {
        match scaled(REPLICAS + 1, true).await {
            Ok(count) if count == kept => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    for asked in [0, REPLICAS - 1] {
        assert_eq!(scaled(asked, false).await.unwrap(), kept);
    }

    site.webhook.kill();
    let is_forbidden =
        |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 403);
    for asked in [0, REPLICAS - 1] {
        let refused = scaled(asked, false).await.unwrap_err();
        assert!(is_forbidden(&refused), "{refused:?}");
    }
    let dry = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let alone = json!({"spec": {"replicas": 0}});
    let refused = api
        .patch("db", &dry, &Patch::Merge(&alone))
        .await
        .unwrap_err();
    assert!(is_forbidden(&refused), "{refused:?}");
    let both = json!({"spec": {"replicas": 0, "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Retain"}}});
    api.patch("db", &dry, &Patch::Merge(&both)).await.unwrap();
    let touched = json!({"metadata": {"labels": {"touched": "yes"}}});
    api.patch("db", &PatchParams::default(), &Patch::Merge(&touched))
        .await
        .unwrap();
    // Without the mark of the webhook this Job could not be distinguished from one that has run.
    let mut queued = fixtures::job(NAMESPACE, "queued");
    queued["spec"]["suspend"] = json!(true);
    let jobs = site.api_of(&queued).await.unwrap();
    let queued: DynamicObject = serde_json::from_value(queued).unwrap();
    let refused = jobs
        .create(&PostParams::default(), &queued)
        .await
        .unwrap_err();
    assert!(is_forbidden(&refused), "{refused:?}");

    site.webhook.restart().unwrap();
    site.controller.restart().unwrap();
}
