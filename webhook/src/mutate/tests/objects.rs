//! Reviews of objects.

use super::*;

#[tokio::test]
async fn a_deployment_in_a_secondary_namespace_is_forced_to_0_with_a_record_and_a_warning() {
    let app = app();
    let response = ask(&app, &review(&json!({}))).await;
    assert_eq!(response["uid"], "u-1");
    assert_eq!(response["allowed"], true);
    let object = patched(&response, deployment(3));
    assert_eq!(object["spec"]["replicas"], 0);
    let record = &object["metadata"]["annotations"]["failover.dev/restore"];
    assert!(record.as_str().unwrap().contains('3'), "{record}");
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("site east is secondary: deployments/web replicas 3 -> 0"),
        "{warning}"
    );
    assert!(warning.chars().count() <= 120);
    assert_counted(&app, "deployments", "CREATE", "changed");
}

#[rstest]
#[case::asked(true, "failover-preview", true)]
#[case::written(false, "failover-preview", false)]
#[case::another_dry_run(true, "kustomize-controller", false)]
#[tokio::test]
async fn only_a_dry_run_of_the_preview_manager_is_left_unchanged(
    #[case] dry_run: bool,
    #[case] manager: &str,
    #[case] unchanged: bool,
) {
    let app = app();
    let request = json!({ "dryRun": dry_run, "options": { "fieldManager": manager } });
    let response = ask(&app, &review(&request)).await;
    assert_eq!(response["allowed"], true);
    assert_eq!(response["patch"].is_null(), unchanged, "{response}");
}

#[tokio::test]
async fn an_object_without_room_for_a_record_is_refused() {
    let app = app();
    let mut object = deployment(3);
    object["metadata"]["annotations"] =
        json!({ "x": "y".repeat(failover_core::admission::annotations::LIMIT - 1) });
    let response = ask(&app, &review(&json!({ "object": object }))).await;
    assert_forbidden(&response);
}

#[tokio::test]
async fn the_scale_subresource_is_forced_too() {
    let app = app();
    let scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": { "name": "web", "namespace": "shop" }, "spec": { "replicas": 5 },
    });
    let mut passive = scale.clone();
    passive["spec"] = json!({});
    let request = json!({ "subResource": "scale", "operation": "UPDATE", "object": scale, "oldObject": passive });
    let mut review = review(&json!({}));
    for (key, value) in request.as_object().unwrap() {
        review["request"][key] = value.clone();
    }
    let response = ask(&app, &review).await;
    assert_eq!(
        patched(&response, scale)["spec"].get("replicas"),
        Some(&json!(0))
    );
    assert_counted(&app, "deployments/scale", "UPDATE", "changed");
}

#[rstest]
#[case::primary(json!({ "namespace": "live" }))]
#[case::passive_already(json!({ "object": { "spec": { "replicas": 0 } } }))]
#[case::another_kind(json!({ "resource": { "group": "", "resource": "configmaps" } }))]
#[case::deletion(json!({ "operation": "DELETE", "object": null }))]
#[case::another_subresource(json!({ "subResource": "status" }))]
#[case::our_own_pods(json!({ "namespace": "failover-system" }))]
#[case::the_cluster_itself(json!({ "namespace": "kube-system" }))]
#[tokio::test]
async fn an_object_that_no_rule_reaches_is_allowed_unchanged(#[case] request: Value) {
    let response = ask(&app(), &review(&request)).await;
    assert_unchanged(&response);
}

#[tokio::test]
async fn an_exempt_object_is_left_unchanged_through_scale_too() {
    let app = app();
    let mut state = enrolled(Role::Secondary);
    state.objects.set("deployments", "web", ObjectRole::Exempt);
    app.store.put_namespace("shop".into(), state);
    let mut labelled = deployment(3);
    labelled["metadata"]["labels"]["failover.dev/enforce"] = json!("disabled");
    for request in [
        json!({ "object": labelled }),
        json!({ "subResource": "scale", "operation": "UPDATE" }),
    ] {
        let response = ask(&app, &review(&request)).await;
        assert_unchanged(&response);
    }
    // Another object of that name, without the label.
    let object = patched(&ask(&app, &review(&json!({}))).await, deployment(3));
    assert_eq!(object["spec"]["replicas"], 0);
}
