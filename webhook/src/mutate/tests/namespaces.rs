//! Reviews of Namespaces, and of objects in an unknown namespace.

use super::*;

#[tokio::test]
async fn a_recreated_namespace_is_enrolled_and_others_are_unchanged() {
    let app = app();
    settle(&app, Role::Secondary);
    let site = json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": { "name": "cluster" },
        "spec": { "siteName": "east", "role": "secondary" }, "status": { "deleted": ["gone"] },
    });
    let registry = Registry::of(&serde_json::from_value(site).unwrap());
    app.store.set_registry(registry);
    let create = |name: &str| {
        let mut review = review(&json!({ "name": name, "namespace": name }));
        review["request"]["resource"] =
            json!({ "group": "", "version": "v1", "resource": "namespaces" });
        review["request"]["object"] = json!({ "metadata": { "name": name } });
        review
    };
    let object = json!({ "metadata": { "name": "gone" } });
    let object = patched(&ask(&app, &create("gone")).await, object);
    let labels = &object["metadata"]["labels"];
    assert_eq!(labels["failover.dev/enforce"], "enabled");
    assert_eq!(labels["failover.dev/workloads"], "secondary");
    let response = ask(&app, &create("other")).await;
    assert_unchanged(&response);
}

#[tokio::test]
async fn a_namespace_created_with_enrolment_gets_the_settled_roles() {
    let app = app();
    settle(&app, Role::Secondary);
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": "fresh", "labels": { "failover.dev/enforce": "enabled" } },
    });
    let mut review = review(&json!({ "name": "fresh", "namespace": "fresh" }));
    review["request"]["resource"] =
        json!({ "group": "", "version": "v1", "resource": "namespaces" });
    review["request"]["object"] = namespace.clone();
    let object = patched(&ask(&app, &review).await, namespace);
    assert_eq!(
        object["metadata"]["labels"]["failover.dev/workloads"],
        "secondary"
    );
    assert_eq!(
        object["metadata"]["annotations"]["failover.dev/revision"],
        "3"
    );
}

#[rstest]
#[case::secondary(Some(Role::Secondary), false)]
#[case::not_known(None, false)]
#[case::primary(Some(Role::Primary), true)]
#[tokio::test(start_paused = true)]
async fn an_unknown_namespace_is_refused_unless_the_site_is_primary(
    #[case] settled: Option<Role>,
    #[case] allowed: bool,
) {
    let app = app();
    if let Some(role) = settled {
        settle(&app, role);
    }
    let started = tokio::time::Instant::now();
    app.readiness.contact(Instant::now());
    let response = ask(&app, &review(&json!({ "namespace": "fresh" }))).await;
    assert_eq!(response["allowed"], allowed, "{response}");
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "the API server waits 1 s"
    );
    assert_counted(&app, "deployments", "CREATE", "unknown_namespace");
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_namespace_that_is_about_to_appear() {
    let app = app();
    let review = review(&json!({ "namespace": "fresh" }));
    let events = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        app.store
            .put_namespace("other".into(), enrolled(Role::Primary));
        tokio::time::sleep(Duration::from_millis(100)).await;
        app.store
            .put_namespace("fresh".into(), enrolled(Role::Secondary));
    };
    let (response, ()) = tokio::join!(ask(&app, &review), events);
    assert_eq!(patched(&response, deployment(3))["spec"]["replicas"], 0);
}
