//! The plain HTTP port: `/metrics`, `/livez`, `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::mutate::App;

pub fn router(app: App) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        // Answering at all is being alive. That an API server is away must not restart us.
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready))
        .with_state(app)
}

async fn metrics(State(app): State<App>) -> Response {
    match app.metrics.encode() {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(app): State<App>) -> Response {
    match app.readiness.check() {
        Ok(()) => "ok".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason.to_string()).into_response(),
    }
}
