//! The sweep against a fake API server: who writes what, and when the sweep gives up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use failover_core::transition::SweepProgress;
use failover_core::{NamespaceState, Role};
use http::Method;
use http::header::RETRY_AFTER;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::testing::fake_api::{FakeApi, Fault, ok, status};

const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
const RECORD: &str = "failover.dev/restore";

fn enrolled_as(role: Role) -> BTreeMap<String, String> {
    ["volumes", "workloads", "gitops", "traffic"]
        .map(|layer| (format!("failover.dev/{layer}"), role.as_str().to_owned()))
        .into_iter()
        .chain([("failover.dev/enforce".to_owned(), "enabled".to_owned())])
        .collect()
}

/// A namespace `shop` in which every layer has this role.
fn cluster(role: Role) -> (FakeApi, Vec<EnrolledNamespace>) {
    let api = FakeApi::new();
    let labels = enrolled_as(role);
    api.put(
        "/api/v1/namespaces/shop",
        json!({ "metadata": { "labels": labels } }),
    );
    let (state, problems) = NamespaceState::parse(Some(&labels), None);
    assert!(problems.is_empty());
    (
        api,
        vec![EnrolledNamespace {
            name: "shop".into(),
            state,
        }],
    )
}

fn deployment(replicas: i64) -> Value {
    json!({ "metadata": {}, "spec": { "replicas": replicas, "template": { "x-unknown": [1, { "a": null }] } } })
}

async fn sweep(api: &FakeApi, namespaces: &[EnrolledNamespace]) -> Result<Swept, SweepError> {
    Sweeper::new(api.client(), 4)
        .sweep(namespaces, &RuleSet::built_in(), &Progress::default())
        .await
}

fn blocked(swept: &Swept) -> (&str, &str) {
    let [blocked] = &swept.blocked[..] else {
        panic!("one is blocked: {swept:?}")
    };
    assert_eq!(blocked.guard, "not-conforming");
    (blocked.object.as_deref().unwrap(), &blocked.message)
}

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
    assert_eq!(web["spec"]["replicas"], 0);
    assert_eq!(
        web["metadata"]["annotations"][RECORD],
        "{\"/spec/replicas\":3}"
    );
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
async fn a_cluster_that_conforms_is_only_read() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(0));
    api.put(
        "/apis/batch/v1/namespaces/shop/cronjobs/tick",
        json!({ "metadata": {}, "spec": { "suspend": true } }),
    );
    api.put(
        "/apis/apps/v1/namespaces/other/deployments/web",
        deployment(3),
    );
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!(
        swept,
        Swept {
            total: 2,
            forced: 2,
            ..Swept::default()
        }
    );
    assert_eq!(api.take_writes(), [""; 0]);
}

#[tokio::test]
async fn every_page_is_read_and_every_object_on_it_swept() {
    let (api, namespaces) = cluster(Role::Secondary);
    for i in 0..600 {
        api.put(&format!("{WEB}-{i:03}"), deployment(2));
    }
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!(
        (swept.total, swept.readmitted, swept.left, swept.names.len()),
        (600, 600, 0, 10)
    );
    let pages = api
        .take_asked()
        .into_iter()
        .filter(|a| a.path.ends_with("/deployments") && a.query.contains("limit=250"));
    assert_eq!(pages.count(), 6, "three pages, before and after");
}

#[tokio::test]
async fn a_list_whose_token_expires_is_restarted_and_finally_read_without_pages() {
    let (api, namespaces) = cluster(Role::Secondary);
    for i in 0..300 {
        api.put(&format!("{WEB}-{i:03}"), deployment(0));
    }
    api.set_fault(|asked, _| {
        asked
            .query
            .contains("continue=")
            .then(|| status(410, "the token is too old"))
    });
    assert_eq!(sweep(&api, &namespaces).await.unwrap().total, 300);
    let lists = api
        .take_asked()
        .into_iter()
        .filter(|a| a.path.ends_with("/deployments"))
        .collect::<Vec<_>>();
    assert!(!lists.last().unwrap().query.contains("limit="), "{lists:?}");
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

#[tokio::test]
async fn an_object_that_keeps_changing_is_given_up_and_named() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.set_webhook_alive(false);
    api.put(WEB, deployment(3));
    api.set_fault(|asked, _| asked.body.is_array().then(|| status(409, "modified")));
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!((swept.changed(), swept.left), (0, 1));
    let (object, why) = blocked(&swept);
    assert_eq!(object, "shop/deployments/web");
    assert!(why.contains("write conflicts in 5 attempts"), "{why}");
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
    let web = api.get(WEB);
    assert_eq!(web["spec"]["replicas"], 0);
    assert_eq!(
        web["metadata"]["annotations"][RECORD],
        "{\"/spec/replicas\":3}"
    );
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
    let web = api.get(WEB);
    assert_eq!(web["spec"]["replicas"], 0);
    assert_eq!(
        web["metadata"]["annotations"][RECORD],
        "{\"/spec/replicas\":3}"
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
    let (object, why) = blocked(&swept);
    assert_eq!(object, "shop/deployments/web");
    assert!(
        why.contains(message) && why.contains(&code.to_string()) && why.contains(hint),
        "{why}"
    );
}

#[tokio::test]
async fn a_kind_that_may_not_be_listed_does_not_count_as_conforming() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(0));
    api.set_fault(|asked, _| {
        asked
            .path
            .ends_with("/cronjobs")
            .then(|| status(403, "cronjobs.batch is forbidden"))
    });
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!(swept.left, 1);
    let (object, why) = blocked(&swept);
    assert_eq!(object, "shop/cronjobs/*");
    assert!(
        why.contains("give the controller get, list and patch"),
        "{why}"
    );
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
    assert!(blocked(&swept).1.contains("changed back"), "{swept:?}");
}

#[tokio::test]
async fn an_object_that_no_rewrite_can_correct_is_named_and_never_written() {
    let (api, namespaces) = cluster(Role::Secondary);
    let mut odd = deployment(3);
    odd["spec"]["replicas"] = json!("three");
    api.put(WEB, odd);
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!(swept.left, 1);
    assert!(blocked(&swept).1.contains("/spec/replicas"), "{swept:?}");
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

#[tokio::test]
async fn an_empty_discovery_does_not_count_as_conforming() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(3));
    api.set_fault(|asked, _| {
        (asked.path == "/apis")
            .then(|| http::Response::new(kube::client::Body::from(br#"{"groups":[]}"#.to_vec())))
    });
    assert!(matches!(
        sweep(&api, &namespaces).await,
        Err(SweepError::Discovery(DiscoveryError::Incomplete(_)))
    ));
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

#[tokio::test(start_paused = true)]
async fn an_unavailable_aggregated_api_blocks_only_its_own_kind() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(3));
    api.set_fault(|asked, _| match asked.path.as_str() {
        "/apis" => Some(ok(&json!({ "items": [
            { "metadata": { "name": "apps" }, "versions": [{ "version": "v1", "resources": [
                { "resource": "deployments", "scope": "Namespaced" }] }] },
            { "metadata": { "name": "example.com" }, "versions": [{ "version": "v1", "freshness": "Stale" }] },
        ] }))),
        path if path.starts_with("/apis/example.com/") => Some(status(503, "service unavailable")),
        _ => None,
    });
    let widgets: failover_core::api::RoleRuleSpec = serde_json::from_value(json!({
        "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads",
        "fields": [{ "pointer": "/spec/on", "type": "boolean", "passive": false }]
    }))
    .unwrap();
    let rule = failover_core::api::RoleRule::new("widgets", widgets);
    let (rules, _) = RuleSet::with_role_rules([&rule]);
    let sweeper = Sweeper::new(api.client(), 4);
    let swept = sweeper
        .sweep(&namespaces, &rules, &Progress::default())
        .await
        .unwrap();
    assert_eq!(api.get(WEB)["spec"]["replicas"], 0, "the others are swept");
    assert_eq!(swept.left, 1);
    assert_eq!(swept.blocked[0].object.as_deref(), Some("shop/widgets/*"));
}
