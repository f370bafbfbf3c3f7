//! `/mutate` without sockets: requests and their answers.

mod bad_requests;
mod namespaces;
mod objects;
mod readiness;

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

/// Asserts that one request was counted under these labels.
#[track_caller]
fn assert_counted(app: &App, resource: &str, operation: &str, outcome: &str) {
    let text = app.metrics.encode().unwrap();
    let line = format!(
        "failover_webhook_requests_total{{resource=\"{resource}\",operation=\"{operation}\",outcome=\"{outcome}\"}} 1"
    );
    assert!(text.contains(&line), "{line} is missing in\n{text}");
}

/// Asserts that a request is allowed without a change or a warning.
#[track_caller]
fn assert_unchanged(response: &Value) {
    assert_eq!(*response, json!({ "uid": "u-1", "allowed": true }));
}

/// Asserts that a request is refused in the one form that is safe with Flux.
#[track_caller]
fn assert_forbidden(response: &Value) {
    assert_eq!(response["uid"], "u-1");
    assert_eq!(response["allowed"], false, "{response}");
    assert_eq!(response["status"]["code"], 403);
    assert_eq!(response["status"]["reason"], "Forbidden");
}
