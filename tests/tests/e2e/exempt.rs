//! Exemptions: requested by a label, put in force on a primary or by an operator.

use std::time::Duration;

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

/// With the label that requests an exemption, as in a commit.
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
    eventually("the deferral to be reported", || async {
        let events = site
            .kubectl(&[
                "get",
                "events",
                "-o",
                r#"jsonpath={.items[?(@.reason=="Deferred")].message}"#,
            ])
            .await
            .expect(0);
        if events.stdout.contains("deployments/web") {
            Ok(())
        } else {
            Err(events.stdout)
        }
    })
    .await;
    assert_eq!(site.objects_in_force("shop").await, "");
    for command in [&["status"][..], &["plan", "promote"]] {
        let report = site.document(command).await;
        let deferred = &report["deferred"];
        assert_eq!(deferred[0]["object"], "shop/deployments/web", "{report}");
        assert_eq!(deferred[1], json!(null), "{report}");
    }

    site.failover(PROMOTE).await.expect(0);
    site.until_in_force("shop", "deployments/web=exempt").await;
    assert_eq!(replicas(&site).await, json!(3));
    // From now on the role does not affect it.
    site.failover(DEMOTE).await.expect(0);
    assert_eq!(replicas(&site).await, json!(3));
    site.kubectl(&["scale", "-n", "shop", "deployment/web", "--replicas=4"])
        .await
        .expect(0);
    assert_eq!(replicas(&site).await, json!(4));
    // Removing the label ends that at once, since it tightens enforcement.
    site.apply_as_flux(&web(3)).await.unwrap();
    until_replicas(&site, 0).await;
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_exemption_takes_effect_at_once_and_outlives_flux() {
    let site = secondary().await;
    site.apply_as_flux(&web(3)).await.unwrap();
    // Only the record has the count: an exemption restores it from there.
    let api = site.api_of(&web(1)).await.unwrap();
    assert_eq!(
        api.get("web").await.unwrap().metadata.annotations.unwrap()[RESTORE_ANNOTATION],
        r#"{"/spec/replicas":3}"#
    );
    let dry = site
        .document(&[EXEMPT, &["--dry-run=server"]].concat())
        .await;
    assert_eq!(dry["dryRun"], true, "{dry:#}");
    let opened = json!(["shop/deployments/web replicas 0 -> 3"]);
    assert_eq!(dry["changes"], opened, "{dry:#}");
    assert_eq!(replicas(&site).await, json!(0));

    let exempt = site
        .document(&[EXEMPT, &["--reason", "serves the error page"]].concat())
        .await;
    assert_eq!(exempt["role"], "secondary", "{exempt:#}");
    assert_eq!(exempt["exempt"], true, "{exempt:#}");
    assert_eq!(exempt["changes"], opened, "{exempt:#}");
    assert_eq!(exempt["verified"], true, "{exempt:#}");
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

    let undone = site.document(&[EXEMPT, &["--undo"]].concat()).await;
    assert_eq!(undone["exempt"], false, "{undone:#}");
    assert_eq!(undone["objects"], json!(["shop/deployments/web"]));
    assert_eq!(undone["verified"], true, "{undone:#}");
    assert_eq!(replicas(&site).await, json!(0));
    site.clear(&["shop"]).await;
}

/// By default Helm deletes a hook Job before it creates it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_object_stays_exempt_if_it_comes_back_with_its_label() {
    let site = Site::shared(Options::default()).await.unwrap();
    site.failover(DEMOTE).await.expect(0);
    site.enrolled_namespace("shop").await;
    let (web, hook) = (web(3), fixtures::job("shop", "hook"));
    let exempt = [labelled(web.clone()), labelled(hook.clone())];
    for manifest in &exempt {
        assert!(!is_active(&site.apply_as_flux(manifest).await.unwrap()));
    }
    let command = ["exempt", "deployment/web", "job/hook", "-n=shop", "--yes"];
    site.failover(&command).await.expect(0);
    let in_force = "deployments/web=exempt jobs/hook=exempt";
    site.until_in_force("shop", in_force).await;

    let gone = "deployments/web=exempt-if-labelled jobs/hook=exempt-if-labelled";
    for is_noticed in [false, true] {
        println!("with its label; the controller noticed that it was gone: {is_noticed}");
        delete(&site).await;
        if is_noticed {
            until_noticed(&site, gone).await;
        }
        for manifest in &exempt {
            assert!(is_active(&site.apply_as_flux(manifest).await.unwrap()));
        }
        until_noticed(&site, in_force).await;
    }

    println!("with the webhook dead");
    site.webhook.terminate(Duration::from_secs(30)).unwrap();
    for is_noticed in [false, true] {
        delete(&site).await;
        if is_noticed {
            until_noticed(&site, gone).await;
        }
        for manifest in [&web, &hook] {
            match site.apply_as_flux(manifest).await {
                Err(kube::Error::Api(status)) => assert_eq!(status.code, 403, "{status:?}"),
                other => panic!("{other:?}"),
            }
        }
        for manifest in &exempt {
            assert!(is_active(&site.apply_as_flux(manifest).await.unwrap()));
        }
        until_noticed(&site, in_force).await;
    }
    site.webhook.restart().unwrap();
    site.until_ready().await;

    println!("without its label");
    delete(&site).await;
    until_noticed(&site, gone).await;
    for manifest in [&web, &hook] {
        assert!(!is_active(&site.apply_as_flux(manifest).await.unwrap()));
    }
    let scale = ["scale", "-n=shop", "deployment/web", "--replicas=3"];
    site.kubectl(&scale).await.expect(0);
    assert_eq!(replicas(&site).await, json!(0));
    site.clear(&["shop"]).await;
}

/// Waits for these entries of the annotation, whether the webhook runs or not.
async fn until_noticed(site: &Site, in_force: &str) {
    eventually(&format!("{in_force:?} in force"), || async {
        let found = site.objects_in_force("shop").await;
        if found == in_force {
            Ok(())
        } else {
            Err((found, site.controller.log_tail()))
        }
    })
    .await;
}

async fn delete(site: &Site) {
    let delete = ["delete", "-n=shop", "deployment/web", "job/hook"];
    site.kubectl(&delete).await.expect(0);
}

fn is_active(object: &DynamicObject) -> bool {
    let spec = &object.data["spec"];
    spec["replicas"] == json!(3) || (spec["replicas"].is_null() && spec["suspend"] != json!(true))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_can_be_exempt_and_is_restored_but_only_by_those_who_may_enforce() {
    let site = secondary().await;
    for manifest in fixtures::every_kind("shop") {
        site.apply_as_flux(&manifest).await.unwrap();
    }
    // Every kind but Job, which has never run here, is restored to what Git says.
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
