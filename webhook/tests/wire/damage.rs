//! Damaged reviews: an object that should be rewritten is never allowed unchanged.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::StatusCode;
use failover_core::Role;
use failover_webhook::body::BODY_TIMEOUT;
use futures::{StreamExt as _, stream};
use rstest::rstest;
use serde_json::{Value, json};

use crate::bed::{Answer, UID, ask, counted, create, deployment, post, site, update};

const JSON: &str = "application/json";

#[tokio::test]
async fn a_truncated_review_is_never_allowed() {
    let app = site(Role::Secondary);
    let whole = update("deployments.apps", &deployment(0), &deployment(3)).to_string();
    for end in 0..whole.len() {
        let (status, _, body) = post(&app, JSON, whole[..end].to_owned()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{}", &whole[..end]);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(body["error"].is_string(), "{body}");
    }
    assert_eq!(
        counted(&app, "other", "other", "bad_request"),
        whole.len() as u64
    );
}

/// The fields that decide whether a review is about an active Deployment in `shop`.
fn gist(review: &str) -> Option<[Option<Value>; 5]> {
    let review: Value = serde_json::from_str(review).ok()?;
    let request = &review["request"];
    Some(
        [
            "/operation",
            "/resource/group",
            "/resource/resource",
            "/namespace",
            "/object/spec/replicas",
        ]
        .map(|place| request.pointer(place).cloned()),
    )
}

#[tokio::test]
async fn no_lost_byte_lets_an_active_object_through() {
    let app = site(Role::Secondary);
    let whole = create("deployments.apps", &deployment(3)).to_string();
    let mut still_forced = 0;
    for at in 0..whole.len() {
        let damaged = format!("{}{}", &whole[..at], &whole[at + 1..]);
        if gist(&damaged) != gist(&whole) {
            continue; // about something else now, or not JSON
        }
        let (status, _, body) = post(&app, JSON, damaged.clone()).await;
        if status == StatusCode::BAD_REQUEST {
            continue;
        }
        let Answer(response) = Answer::of(&body);
        let forced = response["patch"].is_string();
        assert!(forced || response["allowed"] == false, "{damaged}");
        still_forced += u32::from(forced);
    }
    assert!(still_forced > 100, "{still_forced}");
}

#[rstest]
#[case::before_the_rest(r#"{"uid":"UID","resource":7,"operation":"CREATE"}"#)]
#[case::after_the_rest(r#"{"resource":{"group":"apps"},"operation":"CREATE","uid":"UID"}"#)]
#[case::written_with_escapes(
    r#"{"operation":[],"uid":"\u003705ab4f5-6393-11e8-b7cc-42010a800002"}"#
)]
#[case::a_member_twice(
    r#"{"uid":"UID","operation":"CREATE","operation":"DELETE","resource":{"resource":"pods"}}"#
)]
#[tokio::test]
async fn an_unreadable_request_is_refused_under_its_uid(#[case] request: &str) {
    let app = site(Role::Secondary);
    let request = request.replace("UID", UID);
    let body = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{request}}}"#
    );
    let (status, _, body) = post(&app, JSON, body).await;
    assert_eq!(status, StatusCode::OK);
    let answer = Answer::of(&body);
    assert!(
        answer
            .expect_denied()
            .contains("cannot read the admission request"),
        "{answer:?}"
    );
    assert_eq!(counted(&app, "other", "other", "denied"), 1);
}

/// An object that the API server would refuse anyway must not be refused by the webhook on a primary.
#[rstest]
#[case(json!("three"))]
#[case(json!([[[]]]))]
#[tokio::test]
async fn an_object_of_a_wrong_form_is_refused_only_where_it_would_be_forced(
    #[case] replicas: Value,
) {
    let mut object = deployment(3);
    object["spec"]["replicas"] = replicas;
    let review = create("deployments.apps", &object);
    let answer = ask(&site(Role::Secondary), &review).await;
    let message = answer.expect_denied();
    assert!(
        message.starts_with("site east: deployments/web cannot be made passive: /spec/replicas is"),
        "{message}"
    );
    ask(&site(Role::Primary), &review).await.expect_unchanged();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_times_out() {
    let app = site(Role::Secondary);
    let beginning = stream::iter([Ok::<_, Infallible>("{")]).chain(stream::pending());
    let asked = tokio::time::Instant::now();
    let (status, _, _) = post(&app, JSON, Body::from_stream(beginning)).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(asked.elapsed().as_secs(), BODY_TIMEOUT.as_secs());
    assert_eq!(counted(&app, "other", "other", "bad_request"), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_bad_request() {
    let app = site(Role::Secondary);
    let whole = create("deployments.apps", &deployment(3)).to_string();
    let pieces = [Ok(whole), Err(std::io::Error::other("reset"))];
    let (status, _, _) = post(&app, JSON, Body::from_stream(stream::iter(pieces))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn unknown_fields_may_be_nested_to_any_depth_anywhere() {
    let app = site(Role::Secondary);
    let deep = format!("{}1{}", "{\"a\":[".repeat(20_000), "]}".repeat(20_000));
    let mut review = update("deployments.apps", &deployment(3), &deployment(3));
    for place in [
        "/request/userInfo/extra",
        "/request/options/extra",
        "/request/object/spec/template",
        "/request/oldObject/status",
        "/request/object/metadata/managedFields",
        "/more",
    ] {
        let (parent, member) = place.rsplit_once('/').unwrap();
        review.pointer_mut(parent).unwrap()[member] = json!("DEEP");
    }
    let body = review.to_string().replace("\"DEEP\"", &deep);
    let (status, _, body) = post(&app, JSON, body).await;
    assert_eq!(status, StatusCode::OK);
    let response = Answer::of(&body);
    assert!(response.0["patch"].is_string(), "{response:?}");
}
