//! `/mutate` without sockets: requests and their answers.

use std::time::Duration;

use failover_core::admission::namespace::{Registry, Settled};
use failover_core::namespace::{Enforcement, ObjectRole};
use failover_core::{NamespaceState, Role, Roles};
use http_body_util::BodyExt as _;
use json_patch::Patch;
use k8s_openapi::ByteString;
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::readiness::tests::ready;

fn app() -> App {
    let app = App {
        readiness: ready(),
        ..App::default()
    };
    app.store
        .put_namespace("shop".into(), enrolled(Role::Secondary));
    app.store
        .put_namespace("live".into(), enrolled(Role::Primary));
    app
}

fn enrolled(role: Role) -> NamespaceState {
    NamespaceState {
        enforcement: Some(Enforcement::Enabled),
        roles: Roles::all(role),
        site: Some("east".into()),
        revision: Some(3),
        ..NamespaceState::default()
    }
}

fn settle(app: &App, role: Role) {
    app.store.set_settled(Some(Settled {
        site: "east".into(),
        roles: Roles::all(role),
        revision: 3,
    }));
}

/// A review of a request in namespace `shop`, with these members merged in.
fn review(request: &Value) -> Value {
    let mut review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": { "group": "apps", "version": "v1", "kind": "Deployment" },
            "resource": { "group": "apps", "version": "v1", "resource": "deployments" },
            "name": "web", "namespace": "shop", "operation": "CREATE",
            "userInfo": { "username": "flux", "groups": ["system:authenticated"] },
            "object": deployment(3), "oldObject": null, "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "flux" },
        },
    });
    json_patch::merge(&mut review["request"], request);
    review
}

fn deployment(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "replicas": replicas, "template": {} },
    })
}

async fn send(app: &App, content_type: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let request = Request::post("/mutate")
        .header(header::CONTENT_TYPE, content_type)
        .body(body.into())
        .unwrap();
    let response = router(app.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// The `response` of an answer.
async fn ask(app: &App, review: &Value) -> Value {
    let (status, mut answer) = send(app, "application/json", review.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    answer["response"].take()
}

/// The object after the answer's patch, decoded from base64 as the API server does.
fn patched(response: &Value, mut object: Value) -> Value {
    assert_eq!(response["patchType"], "JSONPatch", "{response}");
    let bytes: ByteString = serde_json::from_value(response["patch"].clone()).unwrap();
    let patch: Patch = serde_json::from_slice(&bytes.0).unwrap();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}

fn counted(app: &App, labels: &str) -> bool {
    let text = app.metrics.encode().unwrap();
    text.contains(&format!("failover_webhook_requests_total{{{labels}}} 1"))
}

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
    assert!(counted(
        &app,
        "resource=\"deployments\",operation=\"CREATE\",outcome=\"changed\""
    ));
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
    assert_eq!(response["allowed"], false, "{response}");
    assert_eq!(response["status"]["code"], 403);
    assert_eq!(response["status"]["reason"], "Forbidden");
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
    assert!(counted(
        &app,
        "resource=\"deployments/scale\",operation=\"UPDATE\",outcome=\"changed\""
    ));
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
    assert_eq!(response, json!({ "uid": "u-1", "allowed": true }));
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
        assert_eq!(response, json!({ "uid": "u-1", "allowed": true }));
    }
    // Another object of that name, without the label.
    let object = patched(&ask(&app, &review(&json!({}))).await, deployment(3));
    assert_eq!(object["spec"]["replicas"], 0);
}

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
    assert_eq!(response, json!({ "uid": "u-1", "allowed": true }));
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
#[case::replicas_of_a_wrong_type(json!({ "object": { "spec": { "replicas": "three" } } }), "cannot be made passive")]
#[case::spec_that_is_no_object(json!({ "object": { "spec": ["replicas"] } }), "cannot be made passive")]
#[case::no_object(json!({ "object": null }), "without an object")]
#[case::no_resource(json!({ "resource": null }), "cannot read the admission request")]
#[case::operation_of_a_wrong_type(json!({ "operation": 7 }), "cannot read the admission request")]
#[tokio::test]
async fn a_request_that_cannot_be_made_passive_is_refused_as_forbidden(
    #[case] request: Value,
    #[case] message: &str,
) {
    let app = app();
    let response = ask(&app, &review(&request)).await;
    assert_eq!(response["uid"], "u-1");
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 403);
    assert_eq!(response["status"]["reason"], "Forbidden");
    let text = response["status"]["message"].as_str().unwrap();
    assert!(text.contains(message), "{text}");
    assert!(
        app.metrics
            .encode()
            .unwrap()
            .contains("outcome=\"denied\"} 1")
    );
}

#[rstest]
#[case::no_json("{", StatusCode::BAD_REQUEST, "not an AdmissionReview")]
#[case::no_text("\"\u{fffd}\"", StatusCode::BAD_REQUEST, "not an AdmissionReview")]
#[case::empty("", StatusCode::BAD_REQUEST, "not an AdmissionReview")]
#[case::another_type(
    r#"{"apiVersion":"v1","kind":"Pod"}"#,
    StatusCode::BAD_REQUEST,
    "\"Pod\""
)]
#[case::another_version(
    r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#,
    StatusCode::BAD_REQUEST,
    "v1beta1"
)]
#[case::no_request(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
    StatusCode::BAD_REQUEST,
    "no request"
)]
#[case::no_uid(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"resource":{"resource":"pods"},"operation":"CREATE"}}"#,
    StatusCode::BAD_REQUEST,
    "no uid"
)]
#[case::nothing_readable_and_an_empty_uid(
    r#"{"request":{"uid":"","resource":7}}"#,
    StatusCode::BAD_REQUEST,
    "not an AdmissionReview"
)]
#[tokio::test]
async fn a_body_that_is_no_review_is_a_bad_request(
    #[case] body: &'static str,
    #[case] status: StatusCode,
    #[case] message: &str,
) {
    let app = app();
    let (answered, body) = send(&app, "application/json", body).await;
    assert_eq!(answered, status, "{body}");
    let text = body["error"].as_str().unwrap();
    assert!(text.contains(message), "{text}");
    assert!(counted(
        &app,
        "resource=\"other\",operation=\"other\",outcome=\"bad_request\""
    ));
}

#[tokio::test]
async fn bytes_that_are_not_utf_8_are_a_bad_request() {
    let (status, body) = send(&app(), "application/json", b"{\"a\":\"\xff\"}".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"].as_str().unwrap().contains("UTF-8"), "{body}");
}

#[rstest]
#[case("application/json; charset=utf-8", StatusCode::OK)]
#[case("Application/JSON", StatusCode::OK)]
#[case("application/yaml", StatusCode::UNSUPPORTED_MEDIA_TYPE)]
#[case("", StatusCode::UNSUPPORTED_MEDIA_TYPE)]
#[tokio::test]
async fn only_json_is_read(#[case] content_type: &str, #[case] expected: StatusCode) {
    let (status, _) = send(&app(), content_type, review(&json!({})).to_string()).await;
    assert_eq!(status, expected);
}

#[tokio::test]
async fn the_largest_storable_objects_are_decided_and_larger_ones_are_not_read() {
    let app = app();
    let large = |bytes: usize| {
        let mut review = review(&json!({ "operation": "UPDATE" }));
        let mut object = deployment(3);
        object["metadata"]["annotations"] = json!({ "large": "x".repeat(bytes) });
        review["request"]["object"] = object.clone();
        review["request"]["oldObject"] = object;
        review.to_string()
    };
    let (status, answer) = send(&app, "application/json", large(3 << 20)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        answer["response"]["patchType"], "JSONPatch",
        "it was judged"
    );

    let (status, _) = send(&app, "application/json", large(4 << 20)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    // The same without a declared length.
    let pieces =
        futures::stream::iter((0..8).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])));
    let (status, _) = send(&app, "application/json", Body::from_stream(pieces)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn objects_nested_deeper_than_the_parser_limit_are_decided_too() {
    let app = app();
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let body = review(&json!({})).to_string();
    let body = body.replace(r#""template":{}"#, &format!(r#""template":{deep}"#));
    let (status, answer) = send(&app, "application/json", body.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["response"]["patchType"], "JSONPatch", "{answer}");

    // If the depth prevents the decision itself, the write is refused.
    let body = body.replace(r#""replicas":3"#, &format!(r#""replicas":{deep}"#));
    let (_, answer) = send(&app, "application/json", body).await;
    assert_eq!(answer["response"]["allowed"], false, "{answer}");
    assert_eq!(answer["response"]["uid"], "u-1");
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
    assert!(counted(
        &app,
        "resource=\"deployments\",operation=\"CREATE\",outcome=\"unknown_namespace\""
    ));
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

#[tokio::test]
async fn nothing_is_answered_while_not_ready() {
    let app = App::default();
    let (status, body) = send(&app, "application/json", review(&json!({})).to_string()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        body["error"].as_str().unwrap().contains("certificate"),
        "{body}"
    );
    assert!(counted(
        &app,
        "resource=\"other\",operation=\"other\",outcome=\"unavailable\""
    ));
}

#[tokio::test]
async fn while_draining_every_answer_closes_its_connection() {
    let app = app();
    let post = |path: &'static str| {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(review(&json!({})).to_string()))
            .unwrap();
        router(app.clone()).oneshot(request)
    };
    let kept = post("/mutate").await.unwrap();
    assert_eq!(kept.headers().get(header::CONNECTION), None);
    app.readiness.drain();
    for (path, status) in [("/mutate", StatusCode::OK), ("/", StatusCode::NOT_FOUND)] {
        let response = post(path).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[header::CONNECTION], "close");
    }
}
