//! Exemptions: asked by a label, put in force on a primary or by an operator's hand.

use failover_core::names::RESTORE_ANNOTATION;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use testbed::site::shared::Lease;
use testbed::site::{DEMOTE, Options, PROMOTE, Site};
use testbed::{eventually, fixtures};

const EXEMPT: &[&str] = &["exempt", "deployment/web", "-n", "shop", "--yes"];

/// A secondary site with the enrolled namespace `shop`.
async fn secondary() -> Lease {
    let site = Site::shared(Options::default()).await.unwrap();
    site.failover(DEMOTE).await.expect(0);
    site.enrolled_namespace("shop").await;
    site
}

fn web(replicas: i64) -> Value {
    fixtures::deployment("shop", "web", replicas)
}

/// As a commit has it that asks for an exemption.
fn labelled(mut manifest: Value) -> Value {
    manifest["metadata"]["labels"]["failover.dev/enforce"] = json!("disabled");
    manifest
}

async fn stored(site: &Site, manifest: &Value) -> DynamicObject {
    let api = site.api_of(manifest).await.unwrap();
    api.get(manifest["metadata"]["name"].as_str().unwrap())
        .await
        .unwrap()
}

async fn replicas(site: &Site) -> Value {
    stored(site, &web(1)).await.data["spec"]["replicas"].clone()
}

async fn until_replicas(site: &Site, wanted: i64) {
    eventually(&format!("{wanted} replicas"), || async {
        let found = replicas(site).await;
        if found == json!(wanted) {
            Ok(())
        } else {
            Err((found, site.controller.log_tail()))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_from_git_changes_nothing_on_a_secondary_until_it_is_promoted() {
    let site = secondary().await;
    site.apply_as_flux(&web(3)).await.unwrap();
    for _ in 0..3 {
        site.apply_as_flux(&labelled(web(3))).await.unwrap();
        assert_eq!(replicas(&site).await, json!(0));
    }
    eventually("it to be told", || async {
        let events = site
            .kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"])
            .await
            .expect(0);
        let held = "exempt label of deployments/web waits for the promotion";
        if events.stdout.contains(held) {
            Ok(())
        } else {
            Err(events.stdout)
        }
    })
    .await;
    assert_eq!(site.objects_in_force("shop").await, "");
    for command in ["status", "plan promote"] {
        let words: Vec<&str> = command.split(' ').collect();
        let said = site.failover(&words).await.expect(0);
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(all.contains("waits for the promotion"), "{command}: {all}");
    }

    site.failover(PROMOTE).await.expect(0);
    site.until_in_force("shop", "deployments/web=exempt").await;
    assert_eq!(replicas(&site).await, json!(3));
    // From now on the role passes it by.
    site.failover(DEMOTE).await.expect(0);
    assert_eq!(replicas(&site).await, json!(3));
    site.kubectl(&["scale", "-n", "shop", "deployment/web", "--replicas=4"])
        .await
        .expect(0);
    assert_eq!(replicas(&site).await, json!(4));
    // Until the label goes: that is a tightening.
    site.apply_as_flux(&web(3)).await.unwrap();
    until_replicas(&site, 0).await;
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_exemption_counts_at_once_and_outlives_flux() {
    let site = secondary().await;
    site.apply_as_flux(&web(3)).await.unwrap();
    // No manifest says how many: only the record brings them back.
    let api = site.api_of(&web(1)).await.unwrap();
    assert_eq!(
        api.get("web").await.unwrap().metadata.annotations.unwrap()[RESTORE_ANNOTATION],
        r#"{"/spec/replicas":3}"#
    );
    let dry = site
        .failover(&[EXEMPT, &["--dry-run=server"]].concat())
        .await
        .expect(0);
    assert!(dry.stderr.contains("replicas 0 -> 3"), "{dry:?}");
    assert_eq!(replicas(&site).await, json!(0));

    let exempt = site
        .failover(&[EXEMPT, &["--reason", "serves the error page"]].concat())
        .await
        .expect(0);
    assert!(
        exempt.stderr.contains("this site is secondary"),
        "{exempt:?}"
    );
    let object = stored(&site, &web(1)).await;
    assert_eq!(object.data["spec"]["replicas"], json!(3));
    let annotations = object.metadata.annotations.unwrap();
    assert_eq!(
        annotations["failover.dev/exempt-reason"],
        "serves the error page"
    );
    assert!(!annotations.contains_key(RESTORE_ANNOTATION));

    for replicas_in_git in [3, 5] {
        site.apply_as_flux(&web(replicas_in_git)).await.unwrap();
        site.until_in_force("shop", "deployments/web=exempt").await;
        assert_eq!(replicas(&site).await, json!(replicas_in_git));
    }
    site.failover(PROMOTE).await.expect(0);
    site.failover(DEMOTE).await.expect(0);
    assert_eq!(replicas(&site).await, json!(5));

    let undone = site
        .failover(&[EXEMPT, &["--undo"]].concat())
        .await
        .expect(0);
    assert!(
        undone.stdout.contains("follows its namespace"),
        "{undone:?}"
    );
    assert_eq!(replicas(&site).await, json!(0));
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_deleted_takes_its_exemption_with_it() {
    let site = secondary().await;
    site.apply_as_flux(&web(3)).await.unwrap();
    site.failover(EXEMPT).await.expect(0);
    assert_eq!(replicas(&site).await, json!(3));
    site.kubectl(&["delete", "-n", "shop", "deployment/web"])
        .await
        .expect(0);
    site.until_in_force("shop", "").await;
    // Even if Git brings it back with the label.
    site.apply_as_flux(&labelled(web(3))).await.unwrap();
    assert_eq!(replicas(&site).await, json!(0));
    site.until_in_force("shop", "").await;
    assert_eq!(replicas(&site).await, json!(0));
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_can_be_exempt_and_gets_back_what_was_recorded_but_only_by_those_who_may() {
    let site = secondary().await;
    for manifest in fixtures::every_kind("shop") {
        site.apply_as_flux(&manifest).await.unwrap();
    }
    // Everything but a Job, which has never run here, gets back what Git says.
    let all = [
        "exempt",
        "deploy/web",
        "sts/db",
        "cj/report",
        "hr/cache",
        "virtualservice/shop",
        "vr/data",
        "-n",
        "shop",
        "--yes",
    ];
    let refused = site.failover_as("bob", &all).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(site.objects_in_force("shop").await, "");
    site.failover(&all).await.expect(0);
    assert_eq!(replicas(&site).await, json!(3));
    let unset = |object: &DynamicObject, pointer: &str| {
        object
            .data
            .pointer(pointer)
            .is_none_or(|value| value == &json!(false))
    };
    for manifest in fixtures::every_kind("shop") {
        let object = stored(&site, &manifest).await;
        let carries = object
            .metadata
            .annotations
            .clone()
            .unwrap_or_default()
            .contains_key(RESTORE_ANNOTATION);
        match manifest["kind"].as_str().unwrap() {
            "CronJob" | "HelmRelease" => {
                assert!(unset(&object, "/spec/suspend") && !carries, "{object:#?}");
            }
            "VolumeReplication" => {
                assert_eq!(object.data["spec"]["replicationState"], json!("primary"));
            }
            "Deployment" | "StatefulSet" | "VirtualService" => assert!(!carries, "{object:#?}"),
            _ => {}
        }
    }
    site.clear(&["shop"]).await;
}
