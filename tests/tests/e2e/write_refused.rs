//! Writes that another policy, or the size of an object, would refuse are found before anything changes.

use failover_core::admission::annotations;
use failover_core::api::{Blocked, StepName, StepState};
use failover_core::guards::GuardId;
use failover_core::{Layer, Role};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use testbed::site::{DEMOTE, Options, PROMOTE, Site};
use testbed::{ControlPlane, eventually, fixtures};

const WEB: &str = "shop/deployments/web";

/// Creates a foreign ValidatingAdmissionPolicy for Deployments of one name, and waits until it is in force.
async fn create_policy(site: &Site, policy: &str, name: &str, unless: &str) {
    let policy_object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": policy},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["apps"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"],
            }]},
            // The default reason gives 422.
            "validations": [{"expression": format!("object.metadata.name != '{name}' || {unless}"), "message": "not here"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": policy},
        "spec": {"policyName": policy, "validationActions": ["Deny"]},
    });
    for object in [policy_object, binding] {
        site.apply_as_person(&object).await.unwrap();
    }
    // A policy takes effect a moment after it is stored.
    eventually("the policy to be in force", || async {
        if refuses(site, policy, name).await {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
}

/// Whether this policy refuses this Deployment with any of the replica counts of these tests. Other errors do not count.
async fn refuses(site: &Site, policy: &str, name: &str) -> bool {
    for replicas in [0, 9] {
        let probe = fixtures::deployment("default", name, replicas);
        if let Err(error) = site.dry_run_as_flux(&probe).await
            && error.to_string().contains(policy)
        {
            return true;
        }
    }
    false
}

async fn delete_policy(site: &Site, policy: &str, name: &str) {
    for kind in [
        "validatingadmissionpolicybinding",
        "validatingadmissionpolicy",
    ] {
        site.kubectl(&["delete", kind, policy]).await.expect(0);
    }
    // It ends a moment after it is deleted.
    eventually("the policy to be no longer in force", || async {
        if refuses(site, policy, name).await {
            Err("still in force")
        } else {
            Ok(())
        }
    })
    .await;
}

/// The guard's entries in a plan: object and message.
async fn plan(site: &Site, direction: &str) -> Vec<(String, String)> {
    let plan = site.document(&["plan", direction]).await;
    refused(&plan["guards"])
}

fn refused(guards: &Value) -> Vec<(String, String)> {
    blocked_by(GuardId::WriteRefused, guards)
}

fn blocked_by(guard: GuardId, guards: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    guards
        .as_array()
        .unwrap()
        .iter()
        .filter(|blocked| blocked["guard"] == guard.as_str())
        .map(|blocked| (text(&blocked["object"]), text(&blocked["message"])))
        .collect()
}

/// Waits until exactly these guards block the running transition at its first step. On a busy cluster a failed check may
/// block it for a while, too.
async fn blocked_at_the_guards(site: &Site, expected: &[(GuardId, &str)]) -> Vec<Blocked> {
    eventually("a transition blocked at its guards", || async {
        let transition = site.status().await.transition;
        let transition = transition.ok_or("no transition".to_owned())?;
        let guards = &transition.steps[0];
        let blocked = guards.blocked.iter();
        let blocked: Vec<_> = blocked
            .map(|b| (b.guard.as_str(), b.object.as_deref().unwrap_or_default()))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(g, o)| (g.as_str(), *o)).collect();
        let at_guards = guards.name == StepName::Guards && guards.state == StepState::Blocked;
        if at_guards && blocked == expected {
            Ok(guards.blocked.clone())
        } else {
            Err(format!("{transition:?}"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_another_policy_refuses_blocks_either_transition_before_anything_changes() {
    let site = Site::shared(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    for name in ["web", "api"] {
        site.apply_as_flux(&fixtures::deployment("shop", name, 2))
            .await
            .unwrap();
    }
    assert_eq!(plan(&site, "demote").await, []);
    create_policy(&site, "min-replicas", "web", "object.spec.replicas > 0").await;

    let planned = plan(&site, "demote").await;
    assert_eq!(planned.len(), 1, "{planned:?}");
    assert_eq!(planned[0].0, WEB);
    assert!(planned[0].1.contains("min-replicas"), "{planned:?}");
    site.failover(DEMOTE).await.expect(3);

    // Without the CLI: the controller checks, too, and changes nothing.
    let order = json!({"spec": {"role": "secondary", "request": {"id": "by-hand", "requestedBy": "admin", "reason": "drill"}}});
    let order = order.to_string();
    site.kubectl(&["patch", "site", "cluster", "--type=merge", "-p", &order])
        .await
        .expect(0);
    let blocked = blocked_at_the_guards(&site, &[(GuardId::WriteRefused, WEB)]).await;
    assert!(blocked[0].message.contains("min-replicas"), "{blocked:?}");
    let layers = site.status().await.layers;
    assert_eq!(layers.uniform(), Some(Role::Primary), "{layers:?}");

    // Once the policy is gone, it continues by itself.
    delete_policy(&site, "min-replicas", "web").await;
    eventually("a site that is demoted", || async {
        let layers = site.status().await.layers;
        if layers.of(Layer::Volumes) == Some(Role::Secondary) {
            Ok(())
        } else {
            Err(layers)
        }
    })
    .await;
    site.until_ready().await;

    // At a promotion the check passes webhook and backstop, which still enforce the secondary.
    assert_eq!(plan(&site, "promote").await, []);
    create_policy(&site, "max-replicas", "web", "object.spec.replicas < 1").await;
    let planned = plan(&site, "promote").await;
    assert_eq!(planned.len(), 1, "{planned:?}");
    assert_eq!(planned[0].0, WEB);
    assert!(planned[0].1.contains("max-replicas"), "{planned:?}");
    site.failover(PROMOTE).await.expect(3);
    delete_policy(&site, "max-replicas", "web").await;
    site.failover(PROMOTE).await.expect(0);
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_fit_blocks_a_demotion_and_never_causes_a_422() {
    let site = Site::shared(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    let full = |name: &str, room: usize| {
        let mut full = fixtures::deployment("shop", name, 2);
        full["metadata"]["annotations"] =
            json!({"x": "y".repeat(annotations::LIMIT - "x".len() - room)});
        full
    };
    site.apply_as_flux(&full("web", 0)).await.unwrap();
    let plan = site.document(&["plan", "demote"]).await;
    let blocked = blocked_by(GuardId::NotConforming, &plan["guards"]);
    assert_eq!(blocked.len(), 1, "{plan:#}");
    assert_eq!(blocked[0].0, WEB);
    site.failover(DEMOTE).await.expect(3);
    site.kubectl(&["-n", "shop", "delete", "deployment", "web"])
        .await
        .expect(0);
    site.failover(DEMOTE).await.expect(0);

    // kustomize-controller takes a 422 for "immutable", and with force deletes the object.
    match site.apply_as_flux(&full("web", 0)).await {
        Err(kube::Error::Api(status)) => {
            assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
        }
        other => panic!("{other:?}"),
    }
    let mut negative = fixtures::deployment("shop", "web", 2);
    negative["spec"]["replicas"] = json!(-3);
    match site.apply_as_flux(&negative).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 403, "{status:?}"),
        other => panic!("{other:?}"),
    }
    site.apply_as_flux(&full("web", 100)).await.unwrap();
    site.clear(&["shop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_annotations_is_that_of_the_api_server() {
    let plane = ControlPlane::shared().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(plane.client());
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    for (size, taken) in [(annotations::LIMIT, true), (annotations::LIMIT + 1, false)] {
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "full", "annotations": {"x": "y".repeat(size - "x".len())}},
        }))
        .unwrap();
        let answer = maps.create(&dry_run, &map).await;
        assert_eq!(answer.is_ok(), taken, "{size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_write_rights_sees_what_could_not_be_checked() {
    let site = Site::shared(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    site.apply_as_flux(&fixtures::deployment("shop", "web", 2))
        .await
        .unwrap();
    for role in ["failover-viewer", "failover-rules-viewer"] {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
        });
        site.apply_as_person(&binding).await.unwrap();
    }
    let output = site
        .failover_as("alice", &["plan", "demote", "-o", "json"])
        .await
        .expect(0);
    let plan = output.document();
    let unasked = plan["unasked"].as_array().unwrap();
    assert_eq!(unasked.len(), 1, "{plan:#}");
    assert_eq!(
        unasked[0]["what"],
        "changes of deployments.apps in namespace shop"
    );
    assert_eq!(refused(&plan["guards"]), []);
    let delete = [
        "delete",
        "clusterrolebinding",
        "failover-viewer",
        "failover-rules-viewer",
    ];
    site.kubectl(&delete).await.expect(0);
    site.clear(&["shop"]).await;
}

/// `FAILOVER_TEST_LONG=1 cargo test -p failover-tests --test e2e -- --nocapture write_refused::checking` prints the figures
/// for 1,000.
#[tokio::test(flavor = "multi_thread")]
async fn checking_every_write_takes_seconds() {
    let objects = match std::env::var_os("FAILOVER_TEST_LONG") {
        Some(long) if !long.is_empty() => 1000,
        _ => 50,
    };
    let site = Site::shared(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    let deployments: Vec<Value> = (0..objects)
        .map(|i| fixtures::deployment("shop", &format!("web-{i}"), 1))
        .collect();
    site.create_all(&deployments).await.unwrap();
    for (direction, order) in [("demote", DEMOTE), ("promote", PROMOTE)] {
        let started = std::time::Instant::now();
        let plan = site.document(&["plan", direction]).await;
        let planned = started.elapsed();
        assert_eq!(plan["items"].as_array().unwrap().len(), objects);
        assert_eq!(refused(&plan["guards"]), []);
        site.failover(order).await.expect(0);
        let done = &site.status().await.history[0];
        let guards = done.steps.iter().find(|s| s.name == StepName::Guards);
        eprintln!(
            "{direction} of {objects} objects: plan in {planned:.1?}, {guards:?} by the controller"
        );
    }
    site.clear(&["shop"]).await;
}
