//! Object roles, from the label or the policy to the object, with the loop running.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use failover_core::RuleSet;
use failover_core::object::ObjectKey;
use failover_core::origin::Origin;
use serde_json::json;
use tokio::time::Instant;

use crate::testing::harness::{Bed, LAG, SHOP, WEB, is_ready};

const POLICY: &str = "/apis/failover.dev/v1alpha1/namespaces/shop/failoverpolicies/web";

/// Exactly these Deployments carry the exempt label, and the watch has reported it.
fn labelled(bed: &Bed, names: &[&str]) {
    let mut web = bed.api.get(WEB);
    let label = names.contains(&"web").then_some("disabled");
    let patch = json!({ "metadata": { "labels": { "failover.dev/enforce": label } } });
    json_patch::merge(&mut web, &patch);
    bed.api.put(WEB, web);
    let rules = RuleSet::built_in();
    let rule = rules.find("apps", "deployments").unwrap();
    let names: Vec<_> = names.iter().map(|name| ("shop", *name)).collect();
    bed.caches.exempt.found(rule, &names);
    // Any change wakes the loop.
    bed.api.put(SHOP, bed.api.get(SHOP));
}

fn in_force_in_shop(bed: &Bed) -> String {
    let objects = &bed.api.get(SHOP)["metadata"]["annotations"]["failover.dev/objects"];
    objects.as_str().unwrap_or_default().to_owned()
}

fn events(bed: &Bed, reason: &str) -> Vec<String> {
    let asked = bed.api.take_asked().into_iter();
    asked
        .filter(|a| a.path.ends_with("/events") && a.body["reason"] == reason)
        .map(|a| a.body["note"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_exempt_label_is_deferred_until_promotion_and_reported_once() {
    let bed = Bed::new("secondary").await;
    let _controller = bed.controller();
    let revision = bed.until_settled("birth-east").await.revision;
    labelled(&bed, &["web"]);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!((in_force_in_shop(&bed).as_str(), bed.replicas()), ("", 0));
    assert_eq!(bed.status().revision, revision);
    let reported = events(&bed, "Deferred");
    assert_eq!(reported.len(), 1, "{reported:?}");

    bed.order("up", "primary", &["peer-unknown"]);
    bed.until("exempt", |_| {
        in_force_in_shop(&bed) == "deployments/web=exempt"
    })
    .await;
    assert_eq!(bed.replicas(), 3, "restored first, then let go");
    bed.until("swept under it", |status| {
        status.revision > revision + 1 && is_ready(status)
    })
    .await;

    bed.order("down", "secondary", &[]);
    bed.until_settled("down").await;
    assert_eq!(bed.replicas(), 3);
    labelled(&bed, &[]);
    bed.until("forced", |_| bed.replicas() == 0).await;
    assert_eq!(in_force_in_shop(&bed), "");
}

#[tokio::test(start_paused = true)]
async fn an_object_exempted_by_hand_is_restored() {
    let bed = Bed::new("secondary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    labelled(&bed, &[]);
    assert_eq!(bed.replicas(), 0);
    // Like the CLI: the label first, and no watch has reported it when the Namespace changes.
    let mut web = bed.api.get(WEB);
    web["metadata"]["labels"]["failover.dev/enforce"] = json!("disabled");
    bed.api.put(WEB, web);
    let mut shop = bed.api.get(SHOP);
    shop["metadata"]["annotations"]["failover.dev/objects"] = json!("deployments/web=exempt");
    bed.api.put(SHOP, shop);
    let start = Instant::now();
    bed.until("restored", |_| bed.replicas() == 3).await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "not only by the periodic sweep"
    );
    assert_eq!(in_force_in_shop(&bed), "deployments/web=exempt");
    assert_eq!(
        bed.api.get(WEB)["metadata"].pointer("/annotations/failover.dev~1restore"),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn a_policy_moves_only_its_object_and_reports_it() {
    let bed = Bed::new("primary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    let policy = |state: &str, generation: i64| {
        json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "FailoverPolicy",
            "metadata": { "namespace": "shop", "generation": generation, "uid": "p" },
            "spec": { "desiredState": state, "managedResources": [{ "kind": "Deployment", "name": "web" }] }
        })
    };
    let ready = || {
        let status = bed.api.get(POLICY)["status"].clone();
        (
            status["conditions"][0]["status"].clone(),
            status["resources"][0]["state"].clone(),
            status["observedGeneration"].clone(),
        )
    };
    bed.api.put(POLICY, policy("secondary", 1));
    bed.until("reported", |_| {
        ready() == (json!("True"), json!("secondary"), json!(1))
    })
    .await;
    assert_eq!(bed.replicas(), 0);
    bed.order("down", "secondary", &[]);
    bed.until_settled("down").await;

    let mut order = policy("primary", 2);
    order["spec"]["request"] =
        json!({ "id": "up", "reason": "drill", "overrides": ["peer-unknown"] });
    order["status"] = bed.api.get(POLICY)["status"].clone();
    bed.api.put(POLICY, order);
    bed.until("reported", |_| {
        ready() == (json!("True"), json!("primary"), json!(2))
    })
    .await;
    assert_eq!(bed.replicas(), 3);
    let asked = bed.api.take_asked();
    let reported = asked.iter().find(|asked| {
        let body = &asked.body;
        body["regarding"]["kind"] == "FailoverPolicy"
            && body["note"]
                .as_str()
                .is_some_and(|note| note.starts_with("secondary to primary"))
    });
    let reported = reported.expect("an event on the policy");
    assert_eq!(
        reported.path,
        "/apis/events.k8s.io/v1/namespaces/shop/events"
    );
    let regarding = &reported.body["regarding"];
    assert_eq!(
        (
            &reported.body["reason"],
            &regarding["namespace"],
            &regarding["name"],
            &regarding["uid"]
        ),
        (
            &json!("TransitionStarted"),
            &json!("shop"),
            &json!("web"),
            &json!("p")
        )
    );
    bed.api.take_writes();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(bed.api.take_writes(), [""; 0], "nothing is reported twice");
}

/// The journal of single objects is in their policy. A leader with a stale policy and otherwise current caches would
/// revert volumes and workloads in one write.
#[tokio::test(start_paused = true)]
async fn a_leader_with_stale_policies_moves_no_object() {
    let bed = Bed::new("primary").await;
    let controller = bed.controller();
    bed.until_settled("birth-east").await;
    drop(controller);
    let policy = |state: &str, generation: i64| {
        json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "FailoverPolicy",
            "metadata": { "namespace": "shop", "generation": generation, "uid": "p" },
            "spec": { "desiredState": state, "managedResources": [{ "kind": "Deployment", "name": "web" }] }
        })
    };
    // A demotion that has reached its last wait ...
    let mut demoting = policy("secondary", 1);
    demoting["status"] = json!({
        "observedGeneration": 1, "phase": "Demoting",
        "transition": {
            "id": "r1", "from": "primary", "to": "secondary", "epoch": 0, "startedAt": "2026-01-01T00:00:00Z",
            "layers": { "volumes": "secondary", "workloads": "secondary", "gitops": "secondary", "traffic": "secondary" },
            "steps": [{ "name": "replication", "state": "Running" }]
        },
        "resources": [{ "kind": "Deployment", "name": "web", "namespace": "shop", "state": "secondary" }]
    });
    bed.api.put(POLICY, demoting);
    tokio::time::sleep(LAG * 20).await;
    // ... was reversed by a request, and another leader has carried that out. This one has not observed it.
    bed.policies_hang.store(true, Ordering::Relaxed);
    bed.api.put(POLICY, policy("primary", 2));
    let mut shop = bed.api.get(SHOP);
    shop["metadata"]["annotations"]["failover.dev/objects"] = json!("deployments/web=primary");
    bed.api.put(SHOP, shop);
    let _controller = bed.controller();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(in_force_in_shop(&bed), "deployments/web=primary");
    assert_eq!(bed.replicas(), 3);

    // Now it observes the request.
    bed.policies_hang.store(false, Ordering::Relaxed);
    bed.api.put(POLICY, policy("primary", 3));
    bed.until("settled", is_ready).await;
    assert_eq!(in_force_in_shop(&bed), "deployments/web=primary");
}

#[tokio::test(start_paused = true)]
async fn objects_are_restored_when_their_namespace_leaves_a_primary() {
    let bed = Bed::new("primary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    // A leftover, as after an override of not-conforming.
    let mut web = bed.api.get(WEB);
    web["spec"]["replicas"] = json!(0);
    web["metadata"]["annotations"] = json!({ "failover.dev/restore": r#"{"/spec/replicas":3}"# });
    let mut shop = bed.api.get(SHOP);
    shop["metadata"]["labels"]
        .as_object_mut()
        .unwrap()
        .remove("failover.dev/enforce");
    shop["metadata"]["annotations"]["failover.dev/unenrolled"] = json!("2026-01-01T00:00:00Z bob");
    bed.api.put(SHOP, shop);
    bed.api.put(WEB, web);
    bed.until("left", |_| {
        bed.shop_labels() == BTreeSet::from(["team=a".to_owned()])
    })
    .await;
    assert_eq!(bed.replicas(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_secondary_object_is_not_restored_when_its_namespace_leaves() {
    let bed = Bed::new("primary").await;
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    let mut shop = bed.api.get(SHOP);
    shop["metadata"]["annotations"]["failover.dev/objects"] = json!("deployments/web=secondary");
    bed.api.put(SHOP, shop);
    bed.until("forced", |_| bed.replicas() == 0).await;
    let mut shop = bed.api.get(SHOP);
    shop["metadata"]["labels"]
        .as_object_mut()
        .unwrap()
        .remove("failover.dev/enforce");
    shop["metadata"]["annotations"]["failover.dev/unenrolled"] = json!("2026-01-01T00:00:00Z bob");
    bed.api.put(SHOP, shop);
    bed.until("left", |_| {
        bed.shop_labels() == BTreeSet::from(["team=a".to_owned()])
    })
    .await;
    assert_eq!(bed.replicas(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_release_is_gone_stays_passive_until_the_release_is_back() {
    let bed = Bed::new("secondary").await;
    bed.api
        .serve("helm.toolkit.fluxcd.io", "v2", "helmreleases");
    let _controller = bed.controller();
    bed.until_settled("birth-east").await;
    let key = |resource: &str| ObjectKey {
        namespace: "shop".into(),
        resource: resource.into(),
        name: "web".into(),
    };
    let (web, release) = (key("deployments"), key("helmreleases"));
    let labels = [("name", "web"), ("namespace", "shop")]
        .map(|(label, value)| (format!("helm.toolkit.fluxcd.io/{label}"), value.to_owned()));
    let origin = Origin::of(&labels.into(), &BTreeMap::new()).unwrap();
    let found = |existing: &[ObjectKey]| {
        let installed = [(&web, origin.clone())];
        bed.caches
            .origins
            .found(&RuleSet::built_in(), &installed, existing);
        bed.api.put(SHOP, bed.api.get(SHOP));
    };
    found(&[]);
    bed.until("orphaned", |_| {
        in_force_in_shop(&bed) == "deployments/web=orphaned"
    })
    .await;
    bed.order("up", "primary", &["peer-unknown"]);
    bed.until_settled("up").await;
    assert_eq!(bed.replicas(), 0);
    found(&[release]);
    bed.until("restored", |_| bed.replicas() == 3).await;
    assert_eq!(in_force_in_shop(&bed), "");
}
