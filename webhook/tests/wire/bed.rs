//! A webhook after a successful start, reviews as the API server writes them, and helpers that read the answers.

use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use failover_core::namespace::Enforcement;
use failover_core::{NamespaceState, Role, Roles};
use failover_webhook::mutate::{App, router};
use failover_webhook::readiness::Watched;
use http_body_util::BodyExt as _;
use json_patch::Patch;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// Ready, and knows no namespace.
pub(crate) fn ready() -> App {
    let app = App::default();
    app.readiness.certificate_valid_until(i64::MAX);
    for watched in [Watched::Namespaces, Watched::RoleRules, Watched::Site] {
        app.readiness.synced(watched);
    }
    app.readiness.contact(Instant::now());
    app
}

/// As [`ready`], with the namespace `shop` enrolled and all its layers in this role.
pub(crate) fn site(role: Role) -> App {
    let app = ready();
    app.store.put_namespace("shop".into(), enrolled(role));
    app
}

pub(crate) fn enrolled(role: Role) -> NamespaceState {
    NamespaceState {
        enforcement: Some(Enforcement::Enabled),
        roles: Roles::all(role),
        site: Some("east".into()),
        revision: Some(7),
        ..NamespaceState::default()
    }
}

pub(crate) fn deployment(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "shop", "labels": { "app": "web" } },
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } } },
    })
}

/// The creation of an object in `shop`; `resource` as in `deployments.apps`.
pub(crate) fn create(resource: &str, object: &Value) -> Value {
    review("CREATE", resource, object, &Value::Null)
}

/// The update of an object in `shop`.
pub(crate) fn update(resource: &str, old: &Value, new: &Value) -> Value {
    review("UPDATE", resource, new, old)
}

fn review(operation: &str, resource: &str, object: &Value, old: &Value) -> Value {
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": UID,
            "kind": { "group": group, "version": "v1", "kind": object["kind"] },
            "resource": { "group": group, "version": "v1", "resource": resource },
            "name": object["metadata"]["name"],
            "namespace": "shop",
            "operation": operation,
            "userInfo": { "username": "system:serviceaccount:flux-system:kustomize-controller", "groups": [] },
            "object": object,
            "oldObject": old,
            "dryRun": false,
            "options": { "apiVersion": "meta.k8s.io/v1", "kind": "PatchOptions", "fieldManager": "kustomize-controller" },
        },
    })
}

/// The `response` of an answer.
#[derive(Debug)]
pub(crate) struct Answer(pub(crate) Value);

impl Answer {
    pub(crate) fn of(body: &[u8]) -> Self {
        let review: Value = serde_json::from_slice(body).expect("an answer is JSON");
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(review["kind"], "AdmissionReview");
        Self(review["response"].clone())
    }

    /// Asserts that the object is allowed unchanged, without warnings.
    #[track_caller]
    pub(crate) fn expect_unchanged(&self) {
        assert_eq!(self.0, json!({ "uid": UID, "allowed": true }));
    }

    /// The object as it is stored after the answer's patch.
    #[track_caller]
    pub(crate) fn applied_to(&self, object: &Value) -> Value {
        assert_eq!(self.0["allowed"], true, "{self:?}");
        assert_eq!(self.0["patchType"], "JSONPatch", "{self:?}");
        // Base64, as the API requires: kube's own type would write numbers.
        let text: ByteString =
            serde_json::from_value(self.0["patch"].clone()).expect("a patch is base64");
        let patch: Patch = serde_json::from_slice(&text.0).expect("a patch is a JSON patch");
        let mut object = object.clone();
        json_patch::patch(&mut object, &patch).expect("a patch applies to what was asked for");
        object
    }

    /// Asserts a refusal in the one form that is safe with Flux; returns the message.
    #[track_caller]
    pub(crate) fn expect_denied(&self) -> &str {
        assert_eq!(self.0["uid"], UID);
        assert_eq!(self.0["allowed"], false, "{self:?}");
        assert_eq!(self.0["status"]["code"], 403, "{self:?}");
        assert_eq!(self.0["status"]["reason"], "Forbidden", "{self:?}");
        assert_eq!(self.0["patch"], Value::Null, "{self:?}");
        self.0["status"]["message"]
            .as_str()
            .expect("a refusal says why")
    }
}

/// Asks as the API server does. Every request must be answered.
pub(crate) async fn ask(app: &App, review: &Value) -> Answer {
    let (status, headers, body) = post(app, "application/json", review.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{body:?}");
    assert_eq!(headers["content-type"], "application/json");
    Answer::of(&body)
}

pub(crate) async fn post(
    app: &App,
    content_type: &str,
    body: impl Into<Body>,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let request = Request::post("/mutate")
        .header("content-type", content_type)
        .body(body.into())
        .expect("a sound request");
    send(router(app.clone()), request).await
}

pub(crate) async fn send(
    router: axum::Router,
    request: Request<Body>,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let Ok(response) = router.oneshot(request).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body in memory").to_bytes();
    (parts.status, parts.headers, body.to_vec())
}

/// How often a request was counted under these labels.
pub(crate) fn counted(app: &App, resource: &str, operation: &str, outcome: &str) -> u64 {
    let text = app.metrics.encode().expect("metrics are text");
    let labels =
        format!("{{resource=\"{resource}\",operation=\"{operation}\",outcome=\"{outcome}\"}} ");
    text.lines()
        .find_map(|line| {
            let line = line.strip_prefix("failover_webhook_requests_total")?;
            line.strip_prefix(&labels)?.parse().ok()
        })
        .unwrap_or(0)
}
