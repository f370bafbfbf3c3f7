//! An API server that does not answer.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_loop_continues_when_the_api_server_comes_back() {
    let (bed, _controller) = settled("primary").await;
    bed.api
        .set_fault(|_, _| Some(answer(503, "connection refused")));
    bed.order("down", "secondary", &[]);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(bed.status().transition.is_none());
    assert!(
        bed.api.take_asked().len() < 100,
        "it must not hammer a server that is coming up"
    );
    bed.api.clear_fault();
    let back = Instant::now();
    bed.until_settled("down").await;
    assert_within(back, 15);
    assert_eq!(bed.replicas(), 0);
}
