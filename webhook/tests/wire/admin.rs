//! The plain HTTP port, and the metrics.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use failover_core::Role;
use failover_runtime::admin;
use failover_webhook::mutate::App;
use failover_webhook::readiness::CONTACT_LIMIT;
use rstest::rstest;
use serde_json::json;

use crate::bed::{ask, counted, create, deployment, post, ready, send, site};

async fn get(app: &App, path: &str) -> (StatusCode, String) {
    let request = Request::get(path)
        .body(Body::empty())
        .expect("a sound request");
    let (status, _, body) = send(admin::router(app.clone()), request).await;
    (status, String::from_utf8(body).expect("text"))
}

fn fresh() -> App {
    App::default()
}

fn cut_off() -> App {
    let app = ready();
    let long_ago = Instant::now().checked_sub(CONTACT_LIMIT + Duration::from_millis(1));
    app.readiness
        .contact(long_ago.expect("the machine runs for longer than that"));
    app
}

fn expired() -> App {
    let app = ready();
    app.readiness
        .certificate_valid_until(jiff::Timestamp::now().as_second());
    app
}

#[rstest]
#[case::just_started(fresh(), "certificate")]
#[case::with_an_expired_certificate(expired(), "certificate")]
#[case::cut_off_from_the_api_server(cut_off(), "API server has not been reached")]
#[tokio::test]
async fn an_unreliable_replica_is_not_ready_and_answers_no_review(
    #[case] app: App,
    #[case] why: &str,
) {
    let (status, body) = get(&app, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains(why), "{body}");
    // Not a fault of the process: a restart would not help.
    assert_eq!(get(&app, "/livez").await.0, StatusCode::OK);

    let review = create("deployments.apps", &deployment(3)).to_string();
    let (status, _, _) = post(&app, "application/json", review).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(counted(&app, "other", "other", "unavailable"), 1);
}

#[tokio::test]
async fn a_draining_replica_is_not_ready_but_still_answers() {
    let app = site(Role::Secondary);
    assert_eq!(get(&app, "/readyz").await, (StatusCode::OK, "ok".into()));
    app.readiness.drain();
    let (status, body) = get(&app, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("shutting down"), "{body}");
    let answer = ask(&app, &create("deployments.apps", &deployment(3))).await;
    assert_eq!(answer.applied_to(&deployment(3))["spec"]["replicas"], 0);
}

#[tokio::test]
async fn the_metrics_are_named_by_prometheus_conventions() {
    let app = site(Role::Secondary);
    app.metrics.certificate_expires(1_800_000_000);
    let _open = app.metrics.connection();
    ask(&app, &create("deployments.apps", &deployment(3))).await;
    let (status, text) = get(&app, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        r#"failover_webhook_requests_total{resource="deployments",operation="CREATE",outcome="changed"} 1"#,
        "failover_webhook_request_duration_seconds_count 1",
        "failover_webhook_connections 1",
        "failover_webhook_certificate_expiry_timestamp_seconds 1800000000",
        &format!(r#"failover_webhook_build_info{{version="{version}"}} 1"#),
        "# EOF",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

/// Anybody who can reach the port can make up names; each would be a time series for ever.
#[tokio::test]
async fn made_up_names_do_not_become_labels() {
    let app = site(Role::Secondary);
    for i in 0..50 {
        let mut review = create(&format!("kind{i}.example.com"), &deployment(3));
        review["request"]["operation"] = json!(format!("OPERATION{i}"));
        ask(&app, &review).await.expect_unchanged();
        let mut review = create("deployments.apps", &deployment(3));
        review["request"]["subResource"] = json!(format!("door{i}"));
        ask(&app, &review).await.expect_unchanged();
    }
    assert_eq!(counted(&app, "other", "other", "unchanged"), 50);
    assert_eq!(counted(&app, "other", "CREATE", "unchanged"), 50);
}
