//! Answers to valid reviews. The rules themselves are tested in core; these tests check that they are called correctly.

use failover_core::namespace::ObjectRole;
use failover_core::rules::rule::{Field, Reach};
use failover_core::{NamespaceState, Role, Roles, RuleSet};
use rstest::rstest;
use serde_json::{Value, json};

use crate::bed::{UID, ask, counted, create, deployment, enrolled, ready, site, update};

const RECORD: &str = "failover.dev/restore";

#[tokio::test]
async fn on_a_secondary_an_apply_is_forced_passive_with_one_warning() {
    let app = site(Role::Secondary);
    let answer = ask(&app, &create("deployments.apps", &deployment(3))).await;
    assert_eq!(answer.0["uid"], UID);
    let mut stored = deployment(0);
    stored["metadata"]["annotations"] = json!({ RECORD: r#"{"/spec/replicas":3}"# });
    assert_eq!(answer.applied_to(&deployment(3)), stored);
    assert_eq!(
        answer.0["warnings"],
        json!([
            "site east is secondary: deployments/web replicas 3 -> 0 (kubectl failover status)"
        ])
    );
    assert_eq!(counted(&app, "deployments", "CREATE", "changed"), 1);
}

#[tokio::test]
async fn on_a_primary_and_without_a_known_role_nothing_is_changed() {
    let unknown = ready();
    unknown.store.put_namespace(
        "shop".into(),
        NamespaceState {
            roles: Roles::default(),
            ..enrolled(Role::Secondary)
        },
    );
    for app in [site(Role::Primary), unknown] {
        let answer = ask(&app, &create("deployments.apps", &deployment(3))).await;
        answer.expect_unchanged();
        assert_eq!(counted(&app, "deployments", "CREATE", "unchanged"), 1);
    }
}

#[tokio::test]
async fn each_layer_follows_its_own_label() {
    let app = ready();
    let roles = Roles {
        gitops: Some(Role::Primary),
        ..Roles::all(Role::Secondary)
    };
    let state = NamespaceState {
        roles,
        ..enrolled(Role::Secondary)
    };
    app.store.put_namespace("shop".into(), state);
    let release = json!({ "kind": "HelmRelease", "metadata": { "name": "db" }, "spec": {} });
    let answer = ask(
        &app,
        &create("helmreleases.helm.toolkit.fluxcd.io", &release),
    )
    .await;
    answer.expect_unchanged();
    let answer = ask(&app, &create("deployments.apps", &deployment(3))).await;
    assert_eq!(answer.applied_to(&deployment(3))["spec"]["replicas"], 0);
}

#[tokio::test]
async fn a_dry_run_and_a_second_call_get_the_same_answer() {
    let app = site(Role::Secondary);
    let mut review = create("deployments.apps", &deployment(3));
    let real = ask(&app, &review).await;
    let again = ask(&app, &review).await;
    review["request"]["dryRun"] = json!(true);
    let dry = ask(&app, &review).await;
    assert_eq!(real.0, again.0);
    assert_eq!(real.0, dry.0);
    // Called again because another webhook changed something: our own output needs no change.
    let stored = real.applied_to(&deployment(3));
    ask(&app, &create("deployments.apps", &stored))
        .await
        .expect_unchanged();
}

/// An object of a built-in kind with all ruled fields active.
fn active(kind: &str, fields: &[Field]) -> Value {
    let mut object = json!({
        "kind": kind,
        "metadata": { "name": "web", "namespace": "shop", "annotations": { "team": "shop" } },
        "spec": {},
    });
    for field in fields {
        let value = match &field.passive {
            Value::Number(_) => json!(3),
            Value::Bool(passive) => json!(!passive),
            _ => json!("primary"),
        };
        let mut place = &mut object;
        for segment in field.pointer.segments() {
            place = &mut place[segment];
        }
        *place = value;
    }
    object
}

#[tokio::test]
async fn every_built_in_kind_is_forced_on_a_secondary_and_restored_on_promotion() {
    let (secondary, primary) = (site(Role::Secondary), site(Role::Primary));
    for (app, role) in [(&secondary, Role::Secondary), (&primary, Role::Primary)] {
        let mut state = enrolled(role);
        for rule in RuleSet::built_in()
            .iter()
            .filter(|r| r.reach == Reach::Named)
        {
            state.objects.set(&rule.resource, "web", ObjectRole::Site);
        }
        app.store.put_namespace("shop".into(), state);
    }
    for rule in RuleSet::built_in().iter() {
        let resource = rule.group_resource();
        let wanted = active(&rule.kind, &rule.fields);
        let answer = ask(&secondary, &update(&resource, &wanted, &wanted)).await;
        let stored = answer.applied_to(&wanted);
        for field in &rule.fields {
            let pointer = field.pointer.to_string();
            assert_eq!(stored.pointer(&pointer), Some(&field.passive), "{resource}");
        }
        // Flux applies the same again and gets the same answer: nothing changes.
        let answer = ask(&secondary, &update(&resource, &stored, &wanted)).await;
        assert_eq!(answer.applied_to(&wanted), stored, "{resource}");

        let answer = ask(&primary, &update(&resource, &stored, &stored)).await;
        assert_eq!(answer.applied_to(&stored), wanted, "{resource}");
    }
}

#[rstest]
#[case::delete(json!({ "operation": "DELETE", "object": null }), "deployments", "DELETE")]
#[case::connect(json!({ "operation": "CONNECT" }), "deployments", "CONNECT")]
#[case::unknown_operation(json!({ "operation": "TELEPORT" }), "deployments", "other")]
#[case::unknown_resource(json!({ "resource": { "group": "apps", "version": "v1", "resource": "daemonsets" } }), "other", "CREATE")]
#[case::same_name_in_another_group(json!({ "resource": { "group": "example.com", "version": "v1", "resource": "deployments" } }), "other", "CREATE")]
#[case::cluster_scoped(json!({ "namespace": "" }), "deployments", "CREATE")]
#[case::never_enrolled(json!({ "namespace": "kube-system" }), "deployments", "CREATE")]
#[tokio::test]
async fn a_request_that_stores_nothing_or_has_no_rule_is_allowed_unchanged_and_counted(
    #[case] members: Value,
    #[case] resource: &str,
    #[case] operation: &str,
) {
    let app = site(Role::Secondary);
    let mut review = create("deployments.apps", &deployment(3));
    json_patch::merge(&mut review["request"], &members);
    ask(&app, &review).await.expect_unchanged();
    assert_eq!(counted(&app, resource, operation, "unchanged"), 1);
}

#[tokio::test]
async fn an_object_with_a_generated_name_is_forced_as_well() {
    let app = site(Role::Secondary);
    let job = json!({ "kind": "Job", "metadata": { "generateName": "import-" }, "spec": {} });
    let mut review = create("jobs.batch", &job);
    let request = review["request"].as_object_mut().unwrap();
    request.remove("name");
    let answer = ask(&app, &review).await;
    assert_eq!(answer.applied_to(&job)["spec"]["suspend"], true);
    assert_eq!(
        answer.0["warnings"],
        json!(["site east is secondary: jobs suspend unset -> true (kubectl failover status)"])
    );
}

/// A Deployment at 0 whose manifest says 0, stored with a record of 3.
fn forced_to_zero() -> (Value, Value) {
    let mut old = deployment(0);
    old["metadata"]["annotations"] = json!({ RECORD: r#"{"/spec/replicas":3}"# });
    let mut new = old.clone();
    new["metadata"]["managedFields"] = json!([{
        "manager": "kustomize-controller", "operation": "Apply", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": { "f:replicas": {} } },
    }]);
    (old, new)
}

#[rstest]
#[case::the_one_that_owns_the_field("kustomize-controller", r#"{"/spec/replicas":0}"#)]
#[case::somebody_else("kubectl-edit", r#"{"/spec/replicas":3}"#)]
#[tokio::test]
async fn the_writer_and_the_stored_record_decide_what_is_recorded(
    #[case] manager: &str,
    #[case] record: &str,
) {
    let app = site(Role::Secondary);
    let (old, new) = forced_to_zero();
    let mut review = update("deployments.apps", &old, &new);
    review["request"]["options"]["fieldManager"] = json!(manager);
    let answer = ask(&app, &review).await;
    let stored = match answer.0.get("patch") {
        Some(_) => answer.applied_to(&new),
        None => new,
    };
    assert_eq!(stored["metadata"]["annotations"][RECORD], record);
}

#[tokio::test]
async fn a_role_rule_adds_a_kind() {
    let app = site(Role::Secondary);
    let widget = json!({ "kind": "Widget", "metadata": { "name": "w" }, "spec": { "on": true } });
    let review = create("widgets.example.com", &widget);
    ask(&app, &review).await.expect_unchanged();
    let rule = serde_json::from_value(json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "RoleRule", "metadata": { "name": "widgets" },
        "spec": {
            "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads",
            "fields": [{ "pointer": "/spec/on", "type": "boolean", "passive": false }],
        },
    }))
    .unwrap();
    let (rules, errors) = RuleSet::with_role_rules([&rule]);
    assert_eq!(errors, []);
    app.store.set_rules(rules);
    let answer = ask(&app, &review).await;
    assert_eq!(answer.applied_to(&widget)["spec"]["on"], false);
    assert_eq!(counted(&app, "widgets", "CREATE", "changed"), 1);
}

fn till_namespace(labels: &Value) -> Value {
    json!({ "kind": "Namespace", "metadata": { "name": "till", "labels": labels } })
}

#[tokio::test]
async fn a_namespace_created_before_roles_are_settled_gets_no_role_not_even_its_own() {
    let labels = json!({ "failover.dev/enforce": "enabled", "failover.dev/workloads": "primary" });
    let answer = ask(&ready(), &create("namespaces", &till_namespace(&labels))).await;
    assert_eq!(
        answer.applied_to(&till_namespace(&labels))["metadata"]["labels"],
        json!({ "failover.dev/enforce": "enabled" })
    );
}

#[tokio::test]
async fn the_labels_of_an_existing_namespace_belong_to_the_controller() {
    let labels = json!({ "failover.dev/enforce": "enabled", "failover.dev/workloads": "primary" });
    let namespace = till_namespace(&labels);
    let answer = ask(&ready(), &update("namespaces", &namespace, &namespace)).await;
    answer.expect_unchanged();
}
