//! A replica that is not ready, or is draining.

use super::*;

#[tokio::test]
async fn nothing_is_answered_while_not_ready() {
    let app = App::default();
    let (status, body) = send(&app, "application/json", review(&json!({})).to_string()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        body["error"].as_str().unwrap().contains("certificate"),
        "{body}"
    );
    assert_counted(&app, "other", "other", "unavailable");
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
