//! Writes that are refused or fail, and when the sweep gives up.

use super::*;

#[tokio::test]
async fn an_object_that_keeps_changing_is_given_up_and_named() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.set_webhook_alive(false);
    api.put(WEB, deployment(3));
    api.set_fault(|asked, _| asked.body.is_array().then(|| status(409, "modified")));
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!((swept.changed(), swept.left), (0, 1));
    assert_blocked(
        &swept,
        "shop/deployments/web",
        &["write conflicts in 5 attempts"],
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(3));
    let busy = AtomicU32::new(0);
    api.set_fault(move |asked, _| {
        (asked.method == Method::PATCH && busy.fetch_add(1, Ordering::Relaxed) < 2).then(|| {
            let mut answer = status(429, "too many requests");
            answer
                .headers_mut()
                .insert(RETRY_AFTER, "7".parse().unwrap());
            answer
        })
    });
    let start = Instant::now();
    assert_eq!(sweep(&api, &namespaces).await.unwrap().readmitted, 1);
    assert!(start.elapsed().as_secs() >= 14, "{:?}", start.elapsed());
}

#[rstest]
#[case(403, "admission webhook \"x\" denied the request", "policy refuses")]
#[case(422, "spec.selector: field is immutable", "correct it")]
#[tokio::test]
async fn a_refusal_concerns_one_object_and_comes_with_a_hint(
    #[case] code: u16,
    #[case] message: &'static str,
    #[case] hint: &str,
) {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(3));
    api.put(
        "/apis/apps/v1/namespaces/shop/deployments/other",
        deployment(2),
    );
    api.set_fault(move |asked, _| {
        (asked.method == Method::PATCH && asked.path == WEB).then(|| status(code, message))
    });
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!(
        (swept.readmitted, swept.left),
        (1, 1),
        "the other one is swept all the same"
    );
    assert_blocked(
        &swept,
        "shop/deployments/web",
        &[message, &code.to_string(), hint],
    );
}

#[tokio::test]
async fn a_competing_writer_is_reported_and_does_not_keep_the_sweep_running() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.set_webhook_alive(false);
    api.put(WEB, deployment(3));
    // With the webhook dead, somebody scales up again before every list.
    api.set_fault(|asked, objects| {
        if asked.path.ends_with("/deployments") {
            objects.get_mut(WEB).unwrap()["spec"]["replicas"] = json!(3);
        }
        None::<Fault>
    });
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!((swept.rewritten, swept.left), (4, 1));
    assert_blocked(&swept, "shop/deployments/web", &["changed back"]);
}

#[tokio::test]
async fn an_object_that_no_rewrite_can_correct_is_named_and_never_written() {
    let (api, namespaces) = cluster(Role::Secondary);
    let mut odd = deployment(3);
    odd["spec"]["replicas"] = json!("three");
    api.put(WEB, odd);
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_blocked(&swept, "shop/deployments/web", &["/spec/replicas"]);
    assert_eq!(api.take_writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_api_server_ends_the_sweep_at_once() {
    let (api, namespaces) = cluster(Role::Secondary);
    for i in 0..40 {
        api.put(&format!("{WEB}-{i:02}"), deployment(2));
    }
    api.set_fault(|asked, _| {
        (asked.method == Method::PATCH).then(|| status(503, "no endpoints available"))
    });
    let error = sweep(&api, &namespaces).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot write shop/deployments/web-"),
        "{error}"
    );
    assert!(
        api.take_writes().len() <= 16,
        "four at once, four tries each"
    );
}
