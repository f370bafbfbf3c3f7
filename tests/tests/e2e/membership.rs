//! A tool that owns a Namespace's labels can drop ours: Terraform's provider replaces the whole map.

use std::time::Duration;

use failover_core::api::SiteStatus;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::eventually;
use testbed::site::{DEMOTE, Options, Site, guards};

fn namespaces(site: &Site) -> Api<Namespace> {
    Api::all(site.client())
}

/// Replaces all labels, as a provider with the rights of a cluster-admin does.
async fn replace_labels(site: &Site, labels: Value) -> kube::Result<Namespace> {
    let patch: json_patch::Patch = serde_json::from_value(json!([
        {"op": "replace", "path": "/metadata/labels", "value": labels}
    ]))
    .unwrap();
    let params = PatchParams {
        field_manager: Some("Terraform".to_owned()),
        ..PatchParams::default()
    };
    namespaces(site)
        .patch("shop", &params, &Patch::<()>::Json(patch))
        .await
}

fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    match result {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{error:?}"),
    }
}

async fn left(site: &Site) -> Vec<String> {
    site.status().await.left
}

/// A commit removes the label, and its revert adds it again. The roles stay on the Namespace meanwhile.
async fn remove_and_restore_label_by_git(site: &Site) {
    site.kubectl(&["label", "namespace", "shop", "failover.dev/enforce-"])
        .await
        .expect(0);
    eventually("the namespace to have left", || async {
        let left = left(site).await;
        if left == ["shop"] { Ok(()) } else { Err(left) }
    })
    .await;
    site.apply_as_flux(&json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"failover.dev/enforce": "enabled"}},
    }))
    .await
    .unwrap();
    eventually("the namespace to be enrolled again", || async {
        let status = site.status().await;
        if status.left.is_empty() && status.namespaces == ["shop"] {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_label_activates_no_standby_and_is_reported_on_a_primary() {
    let site = Site::shared(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    let live = namespaces(&site).get("shop").await.unwrap().metadata.labels;

    remove_and_restore_label_by_git(&site).await;

    println!("on a primary it is accepted and reported");
    replace_labels(&site, json!({"team": "a"})).await.unwrap();
    eventually("the namespace to have left", || async {
        let left = left(&site).await;
        if left == ["shop"] { Ok(()) } else { Err(left) }
    })
    .await;
    let status = site.document(&["status"]).await;
    assert_eq!(status["left"], json!(["shop"]), "{status:#}");
    let ready = status["conditions"].as_array().unwrap().iter();
    let ready = ready.clone().find(|c| c["type"] == "Ready").unwrap();
    assert_eq!(ready["reason"], "NamespaceLeft", "{ready}");
    let refused = site.failure(DEMOTE, 3).await;
    let left_behind = ("namespace-left", "shop/namespaces/shop");
    assert!(guards(&refused).contains(&left_behind), "{refused:#}");
    let plan = site.document(&["plan", "demote"]).await;
    assert!(guards(&plan).contains(&left_behind), "{plan:#}");
    let created = namespaces(&site)
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap(),
        )
        .await;
    assert_eq!(code(created), 409, "as Helm's --create-namespace wants it");

    println!("it is enrolled again, and demoted with the site");
    site.failover(&["enroll", "shop", "--yes"]).await.expect(0);
    assert_eq!(left(&site).await, [""; 0]);
    site.failover(DEMOTE).await.expect(0);

    for webhook in ["up", "dead"] {
        println!("on a standby it is refused to everybody, with the webhook {webhook}");
        let other = [
            json!({"team": "a"}),
            json!({"team": "a", "failover.dev/enforce": "policy"}),
            // The labels that the provider read last.
            json!(live),
            json!({"team": "a", "failover.dev/enforce": "enabled"}),
        ];
        for labels in other {
            let replaced = replace_labels(&site, labels.clone()).await;
            assert_eq!(code(replaced), 403, "{labels}");
        }
        let still = namespaces(&site)
            .get("shop")
            .await
            .unwrap()
            .metadata
            .labels
            .unwrap();
        assert_eq!(still["failover.dev/workloads"], "secondary");
        if webhook == "up" {
            site.controller.terminate(Duration::from_secs(30)).unwrap();
            site.webhook.terminate(Duration::from_secs(30)).unwrap();
        }
    }

    println!("an old mark allows nothing");
    let mark = json!({"metadata": {"annotations": {"failover.dev/unenrolled": "2026-01-01T00:00:00Z admin"}}});
    namespaces(&site)
        .patch("shop", &PatchParams::default(), &Patch::Merge(mark))
        .await
        .unwrap();
    assert_eq!(code(replace_labels(&site, json!({"team": "a"})).await), 403);

    println!("only the command unenrols it");
    let unenroll = [
        "unenroll",
        "shop",
        "--yes",
        "--override=site-secondary",
        "--reason=drill",
    ];
    site.failover(&unenroll).await.expect(0);
    let released = namespaces(&site).get("shop").await.unwrap().metadata;
    assert!(
        !released
            .labels
            .unwrap()
            .contains_key("failover.dev/enforce")
    );
    let mark = &released.annotations.unwrap()["failover.dev/unenrolled"];
    assert!(mark.ends_with(" admin"), "{mark}");
    site.controller.restart().unwrap();
    site.webhook.restart().unwrap();
    site.until_ready().await;
    site.clear(&["shop"]).await;
}

/// `kubectl create ns` and Helm's `--create-namespace` depend on AlreadyExists.
#[tokio::test(flavor = "multi_thread")]
async fn creating_an_enrolled_namespace_again_fails_as_without_us() {
    let site = Site::shared(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    for role in ["primary", "secondary"] {
        if role == "secondary" {
            site.failover(DEMOTE).await.expect(0);
        }
        println!("existing, on a {role}");
        assert_eq!(code(create(&site, json!({"name": "shop"})).await), 409);
        assert_eq!(code(create(&site, json!({"name": role})).await), 200);
        let other = namespaces(&site).get(role).await.unwrap().metadata.labels;
        let ours = |labels: &std::collections::BTreeMap<String, String>| {
            labels.keys().any(|key| key.starts_with("failover.dev/"))
        };
        assert!(!other.as_ref().is_some_and(ours), "{other:?}");

        println!("deleted and created again, on a {role}");
        site.kubectl(&["delete", "namespace", "shop"])
            .await
            .expect(0);
        let status = |of: fn(&SiteStatus) -> Vec<String>| {
            let site = &site;
            async move {
                eventually("the site to remember it", || async {
                    let status = site.status().await;
                    if of(&status) == ["shop"] {
                        Ok(())
                    } else {
                        Err(status)
                    }
                })
                .await;
            }
        };
        status(|status| status.deleted.clone()).await;
        // A replica sees the Site a moment later than the API server stores it.
        eventually("the webhook to know the name", || async {
            let created = create_dry(&site).await.map_err(|e| e.to_string())?;
            let labels = created.metadata.labels.unwrap_or_default();
            if labels.contains_key("failover.dev/enforce") {
                Ok(())
            } else {
                Err(format!("{labels:?}"))
            }
        })
        .await;
        let created = create(&site, json!({"name": "shop"})).await.unwrap();
        let labels = created.metadata.labels.unwrap();
        assert_eq!(labels["failover.dev/enforce"], "enabled");
        assert_eq!(labels["failover.dev/workloads"], role);
        status(|status| status.namespaces.clone()).await;
        assert_eq!(left(&site).await, [""; 0]);
        let web = testbed::fixtures::deployment("shop", "web", 3);
        let web = site.apply_as_flux(&web).await.unwrap();
        let replicas = if role == "primary" { 3 } else { 0 };
        assert_eq!(web.data["spec"]["replicas"], json!(replicas));
    }

    println!("with the webhook dead, on a secondary");
    site.webhook.terminate(Duration::from_secs(30)).unwrap();
    assert_eq!(code(create(&site, json!({"name": "shop"})).await), 403);
    assert_eq!(code(create(&site, json!({"name": "free"})).await), 200);
    site.webhook.restart().unwrap();
    site.until_ready().await;
    site.clear(&["shop", "primary", "secondary", "free"]).await;
}

async fn create(site: &Site, metadata: Value) -> kube::Result<Namespace> {
    let namespace = serde_json::from_value(json!({"metadata": metadata})).unwrap();
    namespaces(site)
        .create(&PostParams::default(), &namespace)
        .await
}

async fn create_dry(site: &Site) -> kube::Result<Namespace> {
    let namespace = serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap();
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    namespaces(site).create(&params, &namespace).await
}
