//! A replica that has nothing to answer from.

use axum::http::StatusCode;
use failover_webhook::mutate::App;

use crate::bed::{create, deployment, post};

#[tokio::test]
async fn sends_the_api_server_away_to_try_again_elsewhere() {
    let review = create("deployments.apps", &deployment(3)).to_string();
    let (status, headers, _) = post(&App::default(), "application/json", review).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    // client-go tries again when it is told how many seconds to wait, and not on the connection that is closed.
    assert_eq!(headers["retry-after"], "0");
    assert_eq!(headers["connection"], "close");
}
