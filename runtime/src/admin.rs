//! The plain HTTP port: `/metrics`, `/livez`, `/readyz`.

use std::fmt;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

/// What the port reports about its process.
pub trait Process: Clone + Send + Sync + 'static {
    /// All metrics as OpenMetrics text.
    ///
    /// # Errors
    ///
    /// A metric cannot be written as text.
    fn metrics(&self) -> Result<String, fmt::Error>;

    /// # Errors
    ///
    /// Why the process should get no work now.
    fn ready(&self) -> Result<(), String>;
}

/// The routes, separate from the server, so that tests need no socket.
pub fn router<P: Process>(process: P) -> Router {
    Router::new()
        .route("/metrics", get(metrics::<P>))
        // The process ends when one of its parts fails, so any answer means that it is alive. The API server is not
        // asked: if it is unavailable, that must not restart us.
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready::<P>))
        .with_state(process)
}

async fn metrics<P: Process>(State(process): State<P>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match process.metrics() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready<P: Process>(State(process): State<P>) -> Response {
    match process.ready() {
        Ok(()) => "ok".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use rstest::rstest;
    use tower::ServiceExt as _;

    use super::*;

    #[derive(Clone)]
    struct Stub {
        ready: Result<(), String>,
    }

    impl Process for Stub {
        fn metrics(&self) -> Result<String, fmt::Error> {
            Ok("# EOF\n".to_owned())
        }

        fn ready(&self) -> Result<(), String> {
            self.ready.clone()
        }
    }

    #[rstest]
    #[case::alive_though_not_ready("/livez", StatusCode::OK, "ok")]
    #[case::not_ready(
        "/readyz",
        StatusCode::SERVICE_UNAVAILABLE,
        "the watches have not synced yet"
    )]
    #[case::metrics("/metrics", StatusCode::OK, "# EOF\n")]
    #[tokio::test]
    async fn a_process_that_is_not_ready_yet_says_why(
        #[case] path: &str,
        #[case] status: StatusCode,
        #[case] text: &str,
    ) {
        let router = router(Stub {
            ready: Err("the watches have not synced yet".to_owned()),
        });
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), status);
        let body = to_bytes(response.into_body(), 1024).await.unwrap();
        assert_eq!(body, text);
    }

    #[tokio::test]
    async fn a_process_that_is_ready_says_so() {
        let request = Request::get("/readyz").body(Body::empty()).unwrap();
        let response = router(Stub { ready: Ok(()) }).oneshot(request).await;
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
}
