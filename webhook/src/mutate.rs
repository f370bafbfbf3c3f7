//! `/mutate`: the door through which the API server asks. Apart from the sockets, so that tests need none.

use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use failover_core::names::WEBHOOK_PATH;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::decide::{About, Decision, decide};
use crate::metrics::{Metrics, Outcome};
use crate::readiness::Readiness;
use crate::review::Verdict;
use crate::store::Store;

/// The largest review that is read: an object and an old one of the API server's limit of 3 MiB each, and the rest.
pub const BODY_LIMIT: usize = 7 * 1024 * 1024;

/// How long a body may take to arrive. The API server itself gives up after 1 s; this is for those who are not it.
pub const BODY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Everything an answer depends on.
#[derive(Clone, Debug, Default)]
pub struct App {
    pub store: Store,
    pub readiness: Readiness,
    pub metrics: Metrics,
}

/// The routes.
pub fn router(app: App) -> Router {
    Router::new()
        .route(WEBHOOK_PATH, post(mutate))
        .with_state(app)
}

async fn mutate(State(app): State<App>, request: Request<Body>) -> Response {
    let mut response = answer(&app, request).await;
    if app.readiness.is_draining() {
        // The API server keeps connections alive and would send its next request to a process that is gone.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn answer(app: &App, request: Request<Body>) -> Response {
    if let Err(reason) = app.readiness.can_answer() {
        app.metrics.count(&About::default(), Outcome::Unavailable);
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &reason.to_string());
    }
    if !is_json(request.headers()) {
        app.metrics.count(&About::default(), Outcome::BadRequest);
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected Content-Type: application/json",
        );
    }
    let body = match read_body(request.into_body()).await {
        Ok(body) => body,
        Err((status, reason)) => {
            app.metrics.count(&About::default(), Outcome::BadRequest);
            return refuse(status, reason);
        }
    };
    let started = Instant::now();
    let decision = decide(&body, &app.store).await;
    app.metrics.observe(started.elapsed());
    match decision {
        Ok(decision) => {
            app.metrics.count(&decision.about, decision.outcome);
            log(&decision);
            let bytes = decision.verdict.to_bytes(&decision.uid);
            (
                StatusCode::OK,
                [(header::CONTENT_TYPE, "application/json")],
                bytes,
            )
                .into_response()
        }
        Err(error) => {
            app.metrics.count(&About::default(), Outcome::BadRequest);
            tracing::warn!(%error, "not an admission review");
            refuse(StatusCode::BAD_REQUEST, &error.to_string())
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

async fn read_body(body: Body) -> Result<Bytes, (StatusCode, &'static str)> {
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_LIMIT).collect()).await {
        Err(_) => Err((
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive within 5 s",
        )),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err((
            StatusCode::PAYLOAD_TOO_LARGE,
            "a review may have at most 7 MiB",
        )),
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body could not be read")),
    }
}

/// A refusal in JSON, for whoever is not the API server.
fn refuse(status: StatusCode, message: &str) -> Response {
    let body = serde_json::json!({"error": message}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Names and verdicts only: an object's body never gets into the log.
fn log(decision: &Decision<'_>) {
    let About {
        namespace,
        resource,
        name,
        operation,
        ..
    } = &decision.about;
    match &decision.verdict {
        Verdict::Unchanged => tracing::debug!(namespace, resource, name, operation, "unchanged"),
        Verdict::Changed { warnings, .. } => {
            let what = warnings.first().map_or("", String::as_str);
            tracing::info!(namespace, resource, name, operation, what, "changed");
        }
        Verdict::Denied { message } => {
            tracing::warn!(namespace, resource, name, operation, message, "denied")
        }
    }
}
