//! A replica that cannot answer.

use axum::http::StatusCode;
use failover_webhook::mutate::App;

use crate::bed::{create, deployment, post};

#[tokio::test]
async fn asks_the_api_server_to_try_again_elsewhere() {
    let review = create("deployments.apps", &deployment(3)).to_string();
    let (status, headers, _) = post(&App::default(), "application/json", review).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    // client-go tries again if the answer says after how many seconds, and over another connection because this one is
    // closed.
    assert_eq!(headers["retry-after"], "0");
    assert_eq!(headers["connection"], "close");
}
