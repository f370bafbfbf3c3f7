//! FailoverPolicies: enrolling single objects, and moving one application on its own.

use std::sync::atomic::{AtomicU32, Ordering};

use failover_core::Role;
use failover_core::api::{FailoverPolicy, ManagedResourceReason};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testbed::site::shared::Lease;
use testbed::site::{DEMOTE, Options, PROMOTE, Site};
use testbed::{eventually, fixtures};

const WEB: &[(&str, &str)] = &[("Deployment", "web")];

/// A site with Deployments `web` and `api` of three in the namespace `shop`, whose pods run.
async fn site(role: Role, enroll: &[&str]) -> Lease {
    let site = Site::shared(Options {
        nodes: 1,
        ..Options::default()
    })
    .await
    .unwrap();
    if role == Role::Secondary {
        site.failover(DEMOTE).await.expect(0);
    }
    site.kubectl(&["create", "namespace", "shop"])
        .await
        .expect(0);
    for name in ["web", "api"] {
        let deployment = fixtures::deployment("shop", name, 3);
        site.apply_as_flux(&deployment).await.unwrap();
    }
    site.failover(&[&["enroll", "shop", "--yes"], enroll].concat())
        .await
        .expect(0);
    site
}

async fn apply(site: &Site, name: &str, state: Option<&str>) {
    let mut policy = fixtures::failover_policy("shop", name, state, WEB);
    if state == Some("primary") {
        policy["spec"]["request"] = order();
    }
    site.apply_as_person(&policy).await.unwrap();
}

/// A request that overrides the peer check, as there is no other site.
fn order() -> Value {
    static ORDERS: AtomicU32 = AtomicU32::new(0);
    let id = ORDERS.fetch_add(1, Ordering::Relaxed).to_string();
    json!({ "id": id, "reason": "drill", "overrides": ["peer-unknown"] })
}

async fn delete(site: &Site, name: &str) {
    let policies: Api<FailoverPolicy> = Api::namespaced(site.client(), "shop");
    policies
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
}

async fn replicas(site: &Site, name: &str) -> Value {
    let api = site
        .api_of(&fixtures::deployment("shop", name, 3))
        .await
        .unwrap();
    api.get(name).await.unwrap().data["spec"]["replicas"].clone()
}

async fn until_replicas(site: &Site, name: &str, wanted: i64) {
    eventually(&format!("{wanted} replicas of {name}"), || async {
        let found = replicas(site, name).await;
        if found == json!(wanted) {
            Ok(())
        } else {
            Err((found, site.controller.log_tail()))
        }
    })
    .await;
}

/// Waits until the policy reports this condition Ready and this role of `web`; returns the error of `web`.
async fn until_reported(
    site: &Site,
    name: &str,
    ready: (&str, &str),
    state: Option<&str>,
) -> String {
    let policies: Api<FailoverPolicy> = Api::namespaced(site.client(), "shop");
    eventually(&format!("policy {name} to report {ready:?}"), || async {
        let policy = policies.get(name).await.unwrap();
        let status = policy.status.clone().unwrap_or_default();
        let condition = status.conditions.iter().find(|c| c.type_ == "Ready");
        let found = condition.map(|c| (c.status.as_str(), c.reason.as_str()));
        let web = status.resources.first();
        let role = web.and_then(|web| web.state.map(failover_core::Role::as_str));
        let current = status.observed_generation == policy.metadata.generation;
        if found == Some(ready) && role == state && current {
            assert_eq!(web.unwrap().since.is_some(), state.is_some());
            Ok(web.unwrap().error.clone().unwrap_or_default())
        } else {
            Err((status, site.controller.log_tail()))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_without_a_state_enrols_only_the_objects_that_it_names() {
    let site = site(Role::Primary, &["--policy-only"]).await;
    let kustomization = fixtures::kustomization("shop", "apps");
    site.apply_as_flux(&kustomization).await.unwrap();
    let named = [("Deployment", "web"), ("Kustomization", "apps")];
    let policy = fixtures::failover_policy("shop", "p", None, &named);
    // A policy without a state may come from Git.
    site.apply_as_flux(&policy).await.unwrap();
    until_reported(&site, "p", ("True", "Enforced"), Some("primary")).await;

    site.failover(DEMOTE).await.expect(0);
    assert_eq!(replicas(&site, "web").await, json!(0));
    assert_eq!(replicas(&site, "api").await, json!(3), "nobody named it");
    until_reported(&site, "p", ("True", "Enforced"), Some("secondary")).await;
    let api = site.api_of(&kustomization).await.unwrap();
    let suspended = api.get("apps").await.unwrap().data["spec"]["suspend"].clone();
    assert_eq!(suspended, json!(true));

    // Deleted, as by a commit: what it enrolled stays passive until the promotion of the site.
    delete(&site, "p").await;
    site.apply_as_flux(&fixtures::deployment("shop", "web", 5))
        .await
        .unwrap();
    assert_eq!(
        site.deferred().await,
        ["shop/deployments/web", "shop/kustomizations/apps"]
    );
    assert_eq!(
        site.objects_in_force("shop").await,
        "deployments/web=site kustomizations/apps=site"
    );
    assert_eq!(replicas(&site, "web").await, json!(0));
    site.failover(PROMOTE).await.expect(0);
    assert_eq!(replicas(&site, "web").await, json!(5));
    site.until_in_force("shop", "").await;
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_with_a_state_moves_one_application_alone_in_both_directions() {
    let site = site(Role::Primary, &[]).await;
    apply(&site, "p", Some("secondary")).await;
    until_replicas(&site, "web", 0).await;
    until_reported(&site, "p", ("True", "Enforced"), Some("secondary")).await;
    assert_eq!(replicas(&site, "api").await, json!(3));
    // The site's own transitions do not override it ...
    site.failover(DEMOTE).await.expect(0);
    site.failover(PROMOTE).await.expect(0);
    assert_eq!(replicas(&site, "web").await, json!(0));
    assert_eq!(replicas(&site, "api").await, json!(3));

    // ... in neither direction.
    site.failover(DEMOTE).await.expect(0);
    let unasked = fixtures::failover_policy("shop", "p", Some("primary"), WEB);
    site.apply_as_person(&unasked).await.unwrap();
    eventually("the guard peer-unknown", || async {
        let status = site.document(&["status"]).await;
        let mut policies = status["policies"].as_array().unwrap().iter();
        let policy = policies.find(|policy| policy["name"] == "shop/p").unwrap();
        let message = policy["message"].as_str().unwrap();
        if policy["reason"] == "Stalled" && message.contains("peer-unknown") {
            Ok(())
        } else {
            Err(policy.clone())
        }
    })
    .await;
    assert_eq!(replicas(&site, "web").await, json!(0));
    apply(&site, "p", Some("primary")).await;
    until_replicas(&site, "web", 3).await;
    until_reported(&site, "p", ("True", "Enforced"), Some("primary")).await;
    assert_eq!(replicas(&site, "api").await, json!(0));
    let raised = fixtures::deployment("shop", "web", 4);
    site.apply_as_flux(&raised).await.unwrap();
    assert_eq!(replicas(&site, "web").await, json!(4));

    // Without the policy the role of the site applies.
    delete(&site, "p").await;
    until_replicas(&site, "web", 0).await;
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_policy_activates_nothing_that_it_kept_passive() {
    let site = site(Role::Primary, &[]).await;
    apply(&site, "p", Some("secondary")).await;
    until_replicas(&site, "web", 0).await;
    until_reported(&site, "p", ("True", "Enforced"), Some("secondary")).await;
    delete(&site, "p").await;
    eventually("the deletion to be reported as deferred", || async {
        let deferred = site.deferred().await;
        if deferred == ["shop/deployments/web"] {
            Ok(())
        } else {
            Err(deferred)
        }
    })
    .await;
    site.apply_as_flux(&fixtures::deployment("shop", "web", 5))
        .await
        .unwrap();
    assert_eq!(replicas(&site, "web").await, json!(0));
    apply(&site, "p", Some("primary")).await;
    until_replicas(&site, "web", 5).await;
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicting_policies_name_each_other_and_the_end_of_the_conflict_starts_nothing() {
    let site = site(Role::Secondary, &[]).await;
    apply(&site, "east", Some("secondary")).await;
    until_reported(&site, "east", ("True", "Enforced"), Some("secondary")).await;
    apply(&site, "west", Some("primary")).await;
    for (name, other) in [("east", "shop/west"), ("west", "shop/east")] {
        let error = until_reported(&site, name, ("False", "Conflict"), Some("secondary")).await;
        assert!(error.contains(other), "{error}");
    }
    delete(&site, "east").await;
    until_reported(&site, "west", ("False", "Waiting"), Some("secondary")).await;
    assert_eq!(replicas(&site, "web").await, json!(0));

    // Setting the state again requests a transition.
    apply(&site, "west", Some("secondary")).await;
    apply(&site, "west", Some("primary")).await;
    until_replicas(&site, "web", 3).await;
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_cannot_be_set_from_git_and_a_namespace_that_is_not_enrolled_is_reported() {
    let site = site(Role::Secondary, &[]).await;
    let order = fixtures::failover_policy("shop", "p", Some("primary"), WEB);
    let refused = site.apply_as_flux(&order).await.unwrap_err();
    assert!(refused.to_string().contains("desiredState"), "{refused}");
    // Neither can the resources of a policy with a state.
    let none = fixtures::failover_policy("shop", "p", Some("primary"), &[("Deployment", "none")]);
    site.apply_as_person(&none).await.unwrap();
    let refused = site.apply_as_flux(&order).await.unwrap_err();
    assert!(
        refused.to_string().contains("managedResources"),
        "{refused}"
    );

    let mut elsewhere = fixtures::failover_policy("shop", "q", None, WEB);
    elsewhere["spec"]["managedResources"][0]["namespace"] = json!("default");
    site.apply_as_person(&elsewhere).await.unwrap();
    let reason = ManagedResourceReason::NotEnrolled.as_str();
    let error = until_reported(&site, "q", ("False", reason), None).await;
    assert!(error.contains("default"), "{error}");
    assert_eq!(replicas(&site, "web").await, json!(0));
    site.clear(&["shop"]).await;
}
