//! The main job: demote, let Flux reconcile, promote, and find exactly what Git says.

use std::time::{Duration, Instant};

use failover_core::RuleSet;
use failover_core::names::{HELD_ANNOTATION, RESTORE_ANNOTATION};
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
pub(crate) use testbed::site::{DEMOTE, PROMOTE, PROMOTE_VOLUMES};
use testbed::site::{Options, Site, assert_role_change};
use testbed::{eventually, fixtures};

/// What demotion and promotion must restore: everything but what the API server maintains.
pub(crate) fn essence(object: &DynamicObject) -> Value {
    let mut value = serde_json::to_value(object).unwrap();
    value.as_object_mut().unwrap().remove("status");
    let metadata = value["metadata"].as_object_mut().unwrap();
    for counted in ["resourceVersion", "generation", "managedFields"] {
        metadata.remove(counted);
    }
    // The Deployment controller counts rollouts here.
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove("deployment.kubernetes.io/revision");
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    value
}

pub(crate) fn version(object: &DynamicObject) -> &str {
    object.metadata.resource_version.as_deref().unwrap()
}

pub(crate) async fn stored(site: &Site, object: &Value) -> DynamicObject {
    let api = site.api_of(object).await.unwrap();
    api.get(object["metadata"]["name"].as_str().unwrap())
        .await
        .unwrap()
}

/// The object, once Kubernetes' own controllers no longer write its status.
pub(crate) async fn settled(site: &Site, manifest: &Value) -> DynamicObject {
    let last = std::sync::Mutex::new((String::new(), Instant::now()));
    eventually("an object that nobody writes", || async {
        let object = stored(site, manifest).await;
        let mut last = last.lock().unwrap();
        if last.0 != version(&object) {
            *last = (version(&object).to_owned(), Instant::now());
        }
        if last.1.elapsed() > Duration::from_millis(400) {
            Ok(object)
        } else {
            Err(last.0.clone())
        }
    })
    .await
}

/// Asserts that every field of the object's rule is passive.
#[track_caller]
pub(crate) fn assert_passive(object: &DynamicObject) {
    let value = serde_json::to_value(object).unwrap();
    let kind = value["kind"].as_str().unwrap();
    let rules = RuleSet::built_in();
    let rule = rules.iter().find(|rule| rule.kind == kind).unwrap();
    for field in &rule.fields {
        assert!(
            field.is_passive(field.pointer.lookup(&value)),
            "{kind} {}: {value:#}",
            field.pointer
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flux_cannot_undo_a_demotion_and_promotion_brings_back_what_git_says() {
    let site = Site::shared(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    let manifests = fixtures::every_kind("shop");
    let mut live = Vec::new();
    for manifest in &manifests {
        live.push(essence(&site.apply_as_flux(manifest).await.unwrap()));
    }

    assert_role_change(&site.document(DEMOTE).await, "secondary", "Done");
    for manifest in &manifests {
        assert_passive(&settled(&site, manifest).await);
        // Flux's first apply may still store a change; from the second on nothing changes, and a dry run gives the same.
        site.apply_as_flux(manifest).await.unwrap();
        let first = settled(&site, manifest).await;
        for _ in 0..10 {
            let dry = site.dry_run_as_flux(manifest).await.unwrap();
            assert_eq!(
                essence(&dry),
                essence(&first),
                "{}",
                fixtures::label(manifest)
            );
            let again = site.apply_as_flux(manifest).await.unwrap();
            assert_eq!(
                version(&again),
                version(&first),
                "{}",
                fixtures::label(manifest)
            );
        }
        assert_passive(&first);
    }

    assert_role_change(&site.document(PROMOTE_VOLUMES).await, "primary", "Done");
    for (manifest, before) in manifests.iter().zip(&live) {
        let object = stored(&site, manifest).await;
        assert_eq!(&essence(&object), before, "{}", fixtures::label(manifest));
        assert!(
            !object
                .metadata
                .annotations
                .unwrap_or_default()
                .contains_key(RESTORE_ANNOTATION)
        );
        let again = site.apply_as_flux(manifest).await.unwrap();
        assert_eq!(
            &essence(&again),
            before,
            "Flux has nothing to correct on {}",
            fixtures::label(manifest)
        );
    }

    assert_role_change(&site.document(PROMOTE).await, "primary", "Already");
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_from_git_during_the_outage_come_up_passive_and_are_active_after_promotion() {
    let site = Site::shared(Options::default()).await.unwrap();
    site.failover(DEMOTE).await.expect(0);
    // The namespace comes from Git, too, with the label: it must be created with the site's roles.
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"failover.dev/enforce": "enabled", "failover.dev/workloads": "primary"}},
    });
    let born = site.apply_as_flux(&namespace).await.unwrap();
    assert_eq!(
        born.metadata.labels.unwrap()["failover.dev/workloads"],
        "secondary"
    );
    let manifests = fixtures::every_kind("shop");
    for manifest in &manifests {
        let dry = site.dry_run_as_flux(manifest).await.unwrap();
        assert_passive(&dry);
        let created = site.apply_as_flux(manifest).await.unwrap();
        assert_passive(&created);
        assert_eq!(dry.metadata.annotations, created.metadata.annotations);
        let again = site.apply_as_flux(manifest).await.unwrap();
        assert_eq!(essence(&again), essence(&created));
        assert_eq!(again.metadata.generation, created.metadata.generation);
    }
    site.until_ready().await;
    // Raised in Git while the site is on standby.
    site.apply_as_flux(&fixtures::deployment("shop", "web", 5))
        .await
        .unwrap();

    site.failover(PROMOTE_VOLUMES).await.expect(0);
    for manifest in &manifests {
        let object = stored(&site, manifest).await;
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        assert!(!annotations.contains_key(RESTORE_ANNOTATION));
        match manifest["kind"].as_str().unwrap() {
            "Deployment" => assert_eq!(object.data["spec"]["replicas"], json!(5)),
            // It has never run, so it runs only with consent.
            "Job" => {
                assert_eq!(object.data["spec"]["suspend"], json!(true));
                assert!(annotations.contains_key(HELD_ANNOTATION));
            }
            "StatefulSet" => assert_eq!(object.data["spec"]["replicas"], json!(2)),
            "CronJob" => assert_eq!(object.data["spec"]["suspend"], json!(false)),
            "HelmRelease" => assert_eq!(object.data["spec"].get("suspend"), None),
            "VolumeReplication" | "VolumeGroupReplication" => {
                assert_eq!(object.data["spec"]["replicationState"], json!("primary"));
            }
            "VirtualService" => assert_eq!(
                annotations.keys().collect::<Vec<_>>(),
                ["external-dns.alpha.kubernetes.io/target"]
            ),
            _ => assert_ne!(object.data["spec"]["replicas"], json!(0)),
        }
    }
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_raise_replicas_is_closed_on_a_secondary_and_records_cannot_be_forged() {
    let site = Site::shared(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    let manifest = fixtures::deployment("shop", "web", 3);
    site.apply_as_flux(&manifest).await.unwrap();
    site.failover(DEMOTE).await.expect(0);

    let scaled = site
        .kubectl(&["scale", "-n", "shop", "deployment/web", "--replicas=7"])
        .await
        .expect(0);
    for part in ["site east", "deployments/web replicas 7 -> 0"] {
        assert!(scaled.stderr.contains(part), "{part}: {scaled:?}");
    }
    let forged =
        r#"{"metadata":{"annotations":{"failover.dev/restore":"{\"/spec/replicas\":99}"}}}"#;
    site.kubectl(&[
        "patch",
        "-n",
        "shop",
        "deployment/web",
        "--type=merge",
        "-p",
        forged,
    ])
    .await
    .expect(0);
    site.kubectl(&[
        "annotate",
        "-n",
        "shop",
        "deployment/web",
        "--overwrite",
        "failover.dev/restore={\"/spec/replicas\":98}",
    ])
    .await
    .expect(0);
    site.kubectl(&[
        "annotate",
        "-n",
        "shop",
        "deployment/web",
        "failover.dev/restore-",
    ])
    .await
    .expect(0);
    let object = stored(&site, &manifest).await;
    assert_passive(&object);
    assert_eq!(
        object.metadata.annotations.unwrap()[RESTORE_ANNOTATION],
        r#"{"/spec/replicas":3}"#
    );

    // A value from Git stays: 0 was applied, not forced.
    site.apply_as_flux(&fixtures::deployment("shop", "web", 0))
        .await
        .unwrap();
    // ... while a patch to 0 by the same manager does not count as the manifest.
    let other = fixtures::deployment("shop", "api", 4);
    site.apply_as_flux(&other).await.unwrap();
    let params = PatchParams {
        field_manager: Some(testbed::site::FLUX.into()),
        ..PatchParams::default()
    };
    let api = site.api_of(&other).await.unwrap();
    api.patch(
        "api",
        &params,
        &Patch::Merge(json!({"spec": {"replicas": 0, "paused": true}})),
    )
    .await
    .unwrap();

    site.failover(PROMOTE).await.expect(0);
    assert_eq!(
        stored(&site, &manifest).await.data["spec"]["replicas"],
        json!(0)
    );
    assert_eq!(
        stored(&site, &other).await.data["spec"]["replicas"],
        json!(4)
    );
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_gone_after_a_demotion_and_back_after_a_promotion() {
    let site = Site::shared(Options {
        nodes: 1,
        ..Options::default()
    })
    .await
    .unwrap();
    site.enrolled_namespace("shop").await;
    for manifest in [
        fixtures::deployment("shop", "web", 3),
        fixtures::stateful_set("shop", "db", 2),
    ] {
        site.apply_as_flux(&manifest).await.unwrap();
    }
    let running = |count: usize| {
        let site = &site;
        eventually("the right number of pods", move || async move {
            let pods = site
                .kubectl(&["get", "pods", "-n", "shop", "-o", "name"])
                .await
                .expect(0);
            let found = pods.stdout.lines().count();
            if found == count {
                Ok(())
            } else {
                Err(pods.stdout)
            }
        })
    };
    running(5).await;
    site.failover(DEMOTE).await.expect(0);
    running(0).await;
    site.failover(PROMOTE).await.expect(0);
    running(5).await;
    site.clear(&["shop"]).await;
}
