//! How RoleRules are reconciled, with the keeper running.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::testing::fake_api::status as answer;
use crate::testing::harness::{Bed, SITE, wall};

fn path(name: &str) -> String {
    format!("/apis/failover.dev/v1alpha1/rolerules/{name}")
}

fn gadget(on: bool) -> Value {
    json!({ "metadata": { "namespace": "shop" }, "spec": { "on": on } })
}

const GADGET: &str = "/apis/example.com/v1/namespaces/shop/gadgets/a";

/// A site with the kinds `gadgets` and `widgets` and a running keeper, without the site's loop.
async fn bed(role: &str) -> (Bed, AbortOnDropHandle<()>) {
    let (bed, keeper) = idle_bed(role).await;
    let task = tokio::spawn(async move { match keeper.run().await {} });
    (bed, AbortOnDropHandle::new(task))
}

/// As [`bed`], with a keeper that does not run by itself.
async fn idle_bed(role: &str) -> (Bed, Keeper) {
    let bed = Bed::new(role).await;
    bed.api.serve("example.com", "v1", "gadgets");
    bed.api.serve("example.org", "v1", "widgets");
    let roles = ["volumes", "workloads", "gitops", "traffic"];
    let mut shop = bed.api.get("/api/v1/namespaces/shop");
    for layer in roles {
        shop["metadata"]["labels"][format!("failover.dev/{layer}")] = json!(role);
    }
    bed.api.put("/api/v1/namespaces/shop", shop);
    let client = bed.api.client();
    let keeper = Keeper::new(
        client.clone(),
        bed.caches.shared.clone(),
        Arc::clone(&bed.rules_changed),
        Sweeper::new(client.clone(), 4),
        RoleLock::default(),
        Events::new(client, "controller-0"),
        wall,
    );
    (bed, keeper)
}

fn put_rule(bed: &Bed, name: &str, group: &str, uid: &str) {
    let kind = match name {
        "gadgets" => "Gadget",
        _ => "Widget",
    };
    let rule = json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "RoleRule",
        "metadata": { "uid": uid, "generation": 1 },
        "spec": {
            "group": group, "version": "v1", "kind": kind, "resource": name, "layer": "workloads",
            "fields": [{ "pointer": "/spec/on", "type": "boolean", "passive": false }]
        }
    });
    bed.api.put(&path(name), rule);
}

async fn until(what: &str, is_met: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_met() {
        assert!(Instant::now() < deadline, "never {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_adopted(bed: &Bed, name: &str) -> bool {
    let rule = bed.api.get(&path(name));
    !rule["status"]["enforced"].is_null() && !rule["metadata"]["finalizers"].is_null()
}

#[tokio::test(start_paused = true)]
async fn an_adopted_rule_is_swept_at_once_and_gets_an_event() {
    let (bed, _keeper) = bed("secondary").await;
    bed.api.put(GADGET, gadget(true));
    put_rule(&bed, "gadgets", "example.com", "1");
    until("adopted", || is_adopted(&bed, "gadgets")).await;
    until("swept", || bed.api.get(GADGET)["spec"]["on"] == false).await;
    let reported = || {
        let asked = bed.api.asked();
        asked.iter().any(|asked| {
            asked.path == "/apis/events.k8s.io/v1/namespaces/default/events"
                && asked.body["regarding"]["kind"] == "RoleRule"
                && asked.body["regarding"]["name"] == "gadgets"
        })
    };
    until("reported", reported).await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_rule_does_not_block_the_others() {
    let (bed, _keeper) = bed("secondary").await;
    bed.api.set_fault(|asked, _| {
        let fails = asked.path.starts_with(&path("gadgets")) && asked.method != http::Method::GET;
        fails.then(|| answer(500, "no"))
    });
    put_rule(&bed, "gadgets", "example.com", "1");
    put_rule(&bed, "widgets", "example.org", "2");
    until("adopted", || is_adopted(&bed, "widgets")).await;
    assert!(!is_adopted(&bed, "gadgets"));
    bed.api.clear_fault();
    until("adopted too", || is_adopted(&bed, "gadgets")).await;
}

#[tokio::test(start_paused = true)]
async fn a_recreated_rule_is_swept_again() {
    let (bed, _keeper) = bed("secondary").await;
    put_rule(&bed, "gadgets", "example.com", "1");
    until("adopted", || is_adopted(&bed, "gadgets")).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    bed.api.put(GADGET, gadget(true));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        bed.api.get(GADGET)["spec"]["on"],
        true,
        "the next sweep is the loop's"
    );
    put_rule(&bed, "gadgets", "example.com", "2");
    until("swept", || bed.api.get(GADGET)["spec"]["on"] == false).await;
}

#[tokio::test(start_paused = true)]
async fn the_record_of_a_sweep_is_dropped_with_its_rule() {
    let (bed, mut keeper) = idle_bed("secondary").await;
    for uid in ["1", "2"] {
        put_rule(&bed, "gadgets", "example.com", uid);
        let cached = || {
            keeper
                .informers
                .role_rules
                .state()
                .first()
                .and_then(|rule| rule.uid())
        };
        until("cached", || cached().as_deref() == Some(uid)).await;
        keeper.reconcile().await.unwrap();
        assert_eq!(keeper.swept.keys().collect::<Vec<_>>(), [uid]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_rule_is_released_and_its_objects_restored_once_its_layer_is_primary() {
    let (bed, _keeper) = bed("secondary").await;
    bed.api.put(GADGET, gadget(true));
    put_rule(&bed, "gadgets", "example.com", "1");
    until("swept", || bed.api.get(GADGET)["spec"]["on"] == false).await;
    let mut rule = bed.api.get(&path("gadgets"));
    rule["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    bed.api.put(&path("gadgets"), rule);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(
        is_adopted(&bed, "gadgets"),
        "deleting a rule must not open a standby"
    );
    let mut site = bed.api.get(SITE);
    site["spec"]["role"] = json!("primary");
    bed.api.put(SITE, site);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(is_adopted(&bed, "gadgets"), "requested is not yet reached");
    let mut shop = bed.api.get("/api/v1/namespaces/shop");
    for layer in ["volumes", "workloads", "gitops", "traffic"] {
        shop["metadata"]["labels"][format!("failover.dev/{layer}")] = json!("primary");
    }
    bed.api.put("/api/v1/namespaces/shop", shop);
    let finalizers = || bed.api.get(&path("gadgets"))["metadata"]["finalizers"].clone();
    until("released", || finalizers() == json!([])).await;
    assert_eq!(bed.api.get(GADGET)["spec"]["on"], true);
}

#[tokio::test(start_paused = true)]
async fn no_rule_is_released_while_the_site_is_unreadable() {
    let (bed, _keeper) = bed("primary").await;
    put_rule(&bed, "gadgets", "example.com", "1");
    until("adopted", || is_adopted(&bed, "gadgets")).await;
    let mut site = bed.api.get(SITE);
    site["spec"]["role"] = json!("observer");
    bed.api.put(SITE, site);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut rule = bed.api.get(&path("gadgets"));
    rule["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    bed.api.put(&path("gadgets"), rule);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(is_adopted(&bed, "gadgets"));
}
