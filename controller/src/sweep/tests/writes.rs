//! Who corrects an object, and how its original values are kept.

use super::*;

#[tokio::test]
async fn the_webhook_corrects_an_object_that_is_readmitted() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(3));
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!(
        (swept.total, swept.readmitted, swept.rewritten, swept.left),
        (1, 1, 0, 0)
    );
    assert_eq!(swept.names, ["shop/deployments/web"]);
    assert_eq!(api.get(WEB)["spec"]["replicas"], 0);
    let writes: Vec<_> = api
        .take_asked()
        .into_iter()
        .filter(|a| a.method == Method::PATCH)
        .collect();
    let [write] = &writes[..] else {
        panic!("one write: {writes:?}")
    };
    assert_eq!(write.body, json!({}), "an empty patch owns no field");
    assert_eq!(write.query, "&fieldManager=failover-controller");
}

#[tokio::test]
async fn with_the_webhook_dead_the_controller_writes_the_same_rewrite_on_the_judged_version() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.set_webhook_alive(false);
    api.put(WEB, deployment(3));
    let version = api.get(WEB)["metadata"]["resourceVersion"].clone();
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!((swept.readmitted, swept.rewritten, swept.left), (0, 1, 0));
    let web = api.get(WEB);
    assert_forced(&web);
    assert_eq!(
        web["spec"]["template"],
        deployment(3)["spec"]["template"],
        "unknown fields are kept"
    );
    let asked = api.take_asked();
    let write = asked
        .iter()
        .rev()
        .find(|a| a.method == Method::PATCH)
        .unwrap();
    assert_eq!(
        write.body[0],
        json!({ "op": "add", "path": "/metadata/resourceVersion", "value": version })
    );
    assert!(write.query.contains("fieldManager=failover-controller"));
}

#[tokio::test]
async fn promotion_restores_the_record_with_the_webhook_dead_too() {
    let (api, namespaces) = cluster(Role::Primary);
    api.set_webhook_alive(false);
    let mut passive = deployment(0);
    passive["metadata"]["annotations"] = json!({ RECORD: "{\"/spec/replicas\":3}" });
    api.put(WEB, passive);
    assert_eq!(sweep(&api, &namespaces).await.unwrap().rewritten, 1);
    let web = api.get(WEB);
    assert_eq!(web["spec"]["replicas"], 3);
    assert_eq!(
        web["metadata"].pointer("/annotations/failover.dev~1restore"),
        None
    );
}

#[tokio::test]
async fn a_conflict_is_decided_again_on_the_current_object() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.set_webhook_alive(false);
    api.put(WEB, deployment(3));
    let conflicts = AtomicU32::new(0);
    api.set_fault(move |asked, objects| {
        // Somebody scales just before our first two writes.
        if asked.body.is_array() && conflicts.fetch_add(1, Ordering::Relaxed) < 2 {
            let web = objects.get_mut(WEB).unwrap();
            let replicas = web["spec"]["replicas"].as_i64().unwrap() + 1;
            web["spec"]["replicas"] = json!(replicas);
            web["metadata"]["resourceVersion"] = json!(format!("somebody-{replicas}"));
        }
        None::<Fault>
    });
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!((swept.rewritten, swept.left), (1, 0));
    assert_eq!(
        api.get(WEB)["metadata"]["annotations"][RECORD],
        "{\"/spec/replicas\":5}",
        "the last requested value"
    );
}

/// A replica that still assumes a primary site sees a passive value and a record that the stored object does not have,
/// and drops the record: the original values must not be lost that way.
#[rstest]
#[case::it_catches_up(2)]
#[case::it_takes_its_time(5)]
#[tokio::test(start_paused = true)]
async fn a_stale_webhook_cannot_make_the_sweep_lose_an_original_value(#[case] decisions: u32) {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(3));
    api.set_webhook_lagging(decisions, enrolled_as(Role::Primary));
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!(swept.left, 0);
    assert_forced(&api.get(WEB));
}

/// Worse: the backstop refuses to restore original values on a standby, for as long as no webhook makes them passive.
#[rstest]
#[case::it_lags_on(8, false)]
#[case::it_dies(2, true)]
#[tokio::test(start_paused = true)]
async fn an_original_value_that_may_not_be_restored_is_recorded_in_the_end(
    #[case] decisions: u32,
    #[case] dies: bool,
) {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(3));
    api.set_backstop();
    api.set_webhook_lagging(decisions, enrolled_as(Role::Primary));
    if dies {
        api.set_webhook_dying_after_lagging();
    }
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!(swept.left, 0);
    assert_forced(&api.get(WEB));
}

#[tokio::test]
async fn an_object_deleted_meanwhile_needs_nothing() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(3));
    api.set_fault(|asked, objects| {
        if asked.method == Method::PATCH {
            objects.remove(WEB);
        }
        None::<Fault>
    });
    assert_eq!(sweep(&api, &namespaces).await.unwrap(), Swept::default());
}

#[tokio::test]
async fn progress_counts_done_and_total_objects() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(3));
    api.put(&format!("{WEB}-2"), deployment(0));
    let progress = Progress::default();
    Sweeper::new(api.client(), 4)
        .sweep(&namespaces, &RuleSet::built_in(), &progress)
        .await
        .unwrap();
    assert_eq!(progress.read(), SweepProgress { total: 2, done: 2 });
}
