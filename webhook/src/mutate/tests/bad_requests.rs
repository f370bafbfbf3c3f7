//! Requests that are invalid, large or deep.

use super::*;

#[rstest]
#[case::replicas_of_a_wrong_type(json!({ "object": { "spec": { "replicas": "three" } } }), "cannot be made passive")]
#[case::spec_that_is_no_object(json!({ "object": { "spec": ["replicas"] } }), "cannot be made passive")]
#[case::no_object(json!({ "object": null }), "without an object")]
#[case::no_resource(json!({ "resource": null }), "cannot read the admission request")]
#[case::operation_of_a_wrong_type(json!({ "operation": 7 }), "cannot read the admission request")]
#[tokio::test]
async fn a_request_that_cannot_be_made_passive_is_refused_as_forbidden(
    #[case] request: Value,
    #[case] message: &str,
) {
    let app = app();
    let response = ask(&app, &review(&request)).await;
    assert_forbidden(&response);
    let text = response["status"]["message"].as_str().unwrap();
    assert!(text.contains(message), "{text}");
    assert!(
        app.metrics
            .encode()
            .unwrap()
            .contains("outcome=\"denied\"} 1")
    );
}

#[rstest]
#[case::no_json("{", StatusCode::BAD_REQUEST, "not an AdmissionReview")]
#[case::no_text("\"\u{fffd}\"", StatusCode::BAD_REQUEST, "not an AdmissionReview")]
#[case::empty("", StatusCode::BAD_REQUEST, "not an AdmissionReview")]
#[case::another_type(
    r#"{"apiVersion":"v1","kind":"Pod"}"#,
    StatusCode::BAD_REQUEST,
    "\"Pod\""
)]
#[case::another_version(
    r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#,
    StatusCode::BAD_REQUEST,
    "v1beta1"
)]
#[case::no_request(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
    StatusCode::BAD_REQUEST,
    "no request"
)]
#[case::no_uid(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"resource":{"resource":"pods"},"operation":"CREATE"}}"#,
    StatusCode::BAD_REQUEST,
    "no uid"
)]
#[case::nothing_readable_and_an_empty_uid(
    r#"{"request":{"uid":"","resource":7}}"#,
    StatusCode::BAD_REQUEST,
    "not an AdmissionReview"
)]
#[tokio::test]
async fn a_body_that_is_no_review_is_a_bad_request(
    #[case] body: &'static str,
    #[case] status: StatusCode,
    #[case] message: &str,
) {
    let app = app();
    let (answered, body) = send(&app, "application/json", body).await;
    assert_eq!(answered, status, "{body}");
    let text = body["error"].as_str().unwrap();
    assert!(text.contains(message), "{text}");
    assert_counted(&app, "other", "other", "bad_request");
}

#[tokio::test]
async fn bytes_that_are_not_utf_8_are_a_bad_request() {
    let (status, body) = send(&app(), "application/json", b"{\"a\":\"\xff\"}".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"].as_str().unwrap().contains("UTF-8"), "{body}");
}

#[rstest]
#[case("application/json; charset=utf-8", StatusCode::OK)]
#[case("Application/JSON", StatusCode::OK)]
#[case("application/yaml", StatusCode::UNSUPPORTED_MEDIA_TYPE)]
#[case("", StatusCode::UNSUPPORTED_MEDIA_TYPE)]
#[tokio::test]
async fn only_json_is_read(#[case] content_type: &str, #[case] expected: StatusCode) {
    let (status, _) = send(&app(), content_type, review(&json!({})).to_string()).await;
    assert_eq!(status, expected);
}

#[tokio::test]
async fn the_largest_storable_objects_are_decided_and_larger_ones_are_not_read() {
    let app = app();
    let large = |bytes: usize| {
        let mut review = review(&json!({ "operation": "UPDATE" }));
        let mut object = deployment(3);
        object["metadata"]["annotations"] = json!({ "large": "x".repeat(bytes) });
        review["request"]["object"] = object.clone();
        review["request"]["oldObject"] = object;
        review.to_string()
    };
    let (status, answer) = send(&app, "application/json", large(3 << 20)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        answer["response"]["patchType"], "JSONPatch",
        "it was judged"
    );

    let (status, _) = send(&app, "application/json", large(4 << 20)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    // The same without a declared length.
    let pieces =
        futures::stream::iter((0..8).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])));
    let (status, _) = send(&app, "application/json", Body::from_stream(pieces)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn objects_nested_deeper_than_the_parser_limit_are_decided_too() {
    let app = app();
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let body = review(&json!({})).to_string();
    let body = body.replace(r#""template":{}"#, &format!(r#""template":{deep}"#));
    let (status, answer) = send(&app, "application/json", body.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["response"]["patchType"], "JSONPatch", "{answer}");

    // If the depth prevents the decision itself, the write is refused.
    let body = body.replace(r#""replicas":3"#, &format!(r#""replicas":{deep}"#));
    let (_, answer) = send(&app, "application/json", body).await;
    assert_eq!(answer["response"]["allowed"], false, "{answer}");
    assert_eq!(answer["response"]["uid"], "u-1");
}
