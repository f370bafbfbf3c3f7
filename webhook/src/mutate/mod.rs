//! `/mutate`: the endpoint that the API server calls. Separate from the sockets, so that tests need none.

use std::fmt;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use failover_core::names::WEBHOOK_PATH;
use failover_runtime::admin::Process;

use crate::body::{Bodies, BodyError};
use crate::decide::{Decision, decide};
use crate::metrics::Metrics;
use crate::outcome::About;
use crate::outcome::ReviewOutcome;
use crate::readiness::Readiness;
use crate::review::Verdict;
use crate::store::Store;

/// Everything an answer depends on.
#[derive(Clone, Debug, Default)]
pub struct App {
    pub store: Store,
    pub readiness: Readiness,
    pub metrics: Metrics,
    pub bodies: Bodies,
}

impl Process for App {
    fn metrics(&self) -> Result<String, fmt::Error> {
        self.metrics.encode()
    }

    fn ready(&self) -> Result<(), String> {
        self.readiness.check().map_err(|reason| reason.to_string())
    }
}

/// The routes.
pub fn router(app: App) -> Router {
    Router::new()
        .route(WEBHOOK_PATH, post(mutate))
        .layer(map_response_with_state(app.clone(), last_answer))
        .with_state(app)
}

/// While draining, every answer closes its connection: the API server keeps connections alive and would send its next
/// request to a process that is gone.
///
/// The same applies if no answer can be given. Then the API server is also asked to try again, which it does at once
/// and up to ten times: over another connection, and so perhaps at a replica that can answer. Otherwise such a write
/// would be stored without a rewrite.
async fn last_answer(State(app): State<App>, mut response: Response) -> Response {
    let cannot_answer = response.status() == StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    if cannot_answer {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("0"));
    }
    if cannot_answer || app.readiness.is_draining() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn mutate(State(app): State<App>, request: Request<Body>) -> Response {
    match answer(&app, request).await {
        Ok(bytes) => json(StatusCode::OK, bytes),
        Err(refusal) => {
            app.metrics.count(&About::default(), refusal.outcome);
            let message = serde_json::json!({ "error": refusal.message });
            json(refusal.status, message.to_string().into_bytes())
        }
    }
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Why there is no answer, for a person who asks; an API server sees a failed webhook.
#[derive(Debug)]
struct Rejection {
    status: StatusCode,
    outcome: ReviewOutcome,
    message: String,
}

impl Rejection {
    fn bad_request(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            outcome: ReviewOutcome::BadRequest,
            message: message.into(),
        }
    }
}

impl From<BodyError> for Rejection {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Late => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken(_) => StatusCode::BAD_REQUEST,
            BodyError::Busy => {
                return Self {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    outcome: ReviewOutcome::Unavailable,
                    message: error.to_string(),
                };
            }
        };
        Self::bad_request(status, error.to_string())
    }
}

async fn answer(app: &App, request: Request<Body>) -> Result<Vec<u8>, Rejection> {
    app.readiness.can_answer().map_err(|reason| Rejection {
        status: StatusCode::SERVICE_UNAVAILABLE,
        outcome: ReviewOutcome::Unavailable,
        message: reason.to_string(),
    })?;
    if !is_json(request.headers()) {
        return Err(Rejection::bad_request(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected Content-Type: application/json",
        ));
    }
    let body = app.bodies.read(request.into_body()).await?;
    let started = Instant::now();
    let decision = decide(&body.bytes, &app.store).await.map_err(|error| {
        tracing::warn!(%error, "not an admission review");
        Rejection::bad_request(StatusCode::BAD_REQUEST, error.to_string())
    })?;
    let bytes = decision.verdict.to_bytes(&decision.uid);
    app.metrics.observe(started.elapsed());
    app.metrics.count(&decision.about, decision.outcome);
    log(&decision);
    Ok(bytes)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
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
            tracing::warn!(namespace, resource, name, operation, message, "denied");
        }
    }
}

#[cfg(test)]
mod tests;
