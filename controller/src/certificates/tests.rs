use std::io::Write;
use std::sync::{Arc, Mutex};

use failover_certs::Bundle;
use http::{Request, Response};
use k8s_openapi::ByteString;
use kube::client::Body;
use rstest::rstest;
use serde_json::json;
use tokio::sync::Notify;
use tower::{BoxError, service_fn};
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::testing::fake_api::{FakeApi, Fault, status};

const SECRET: &str = "/api/v1/namespaces/failover-system/secrets/failover-webhook-tls";
const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/failover.dev";

fn cluster() -> FakeApi {
    let api = FakeApi::new();
    api.put(
        SECRET,
        json!({ "metadata": { "labels": { "kept": "yes" } } }),
    );
    let webhook = |name: &str| {
        json!({
            "name": name,
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": { "service": { "name": "failover-webhook", "namespace": "failover-system" } },
        })
    };
    let webhooks = [webhook("other"), webhook("mutate.failover.dev")];
    api.put(
        CONFIGURATION,
        json!({ "metadata": {}, "webhooks": webhooks }),
    );
    api
}

/// Watches that show an empty list, and then one change for each time `changed` is notified.
fn watches(changed: &Arc<Notify>) -> Client {
    let changed = Arc::clone(changed);
    let service = service_fn(move |request: Request<Body>| {
        let changed = Arc::clone(&changed);
        async move {
            let query = request.uri().query().unwrap_or_default();
            let answer = if query.contains("watch=true") {
                assert!(
                    query.contains("metadata.name"),
                    "RBAC allows it by name only: {query}"
                );
                changed.notified().await;
                json!({ "type": "MODIFIED", "object": {
                    "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                    "metadata": { "name": "a", "resourceVersion": "2" },
                } })
            } else {
                json!({
                    "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                    "metadata": { "resourceVersion": "1" }, "items": [],
                })
            };
            Ok::<_, BoxError>(Response::new(Body::from(
                format!("{answer}\n").into_bytes(),
            )))
        }
    });
    Client::new(service, "default")
}

fn owner(api: &FakeApi, changed: &Arc<Notify>) -> Owner {
    Owner {
        client: api.client(),
        watches: watches(changed),
        namespace: "failover-system".into(),
        metrics: Metrics::new(),
        now: || "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}

/// Runs an owner for this long, and drops it.
async fn run_for(api: &FakeApi, duration: Duration) {
    let owner = owner(api, &Arc::new(Notify::new()));
    assert!(timeout(duration, owner.run()).await.is_err());
}

fn read_secret(api: &FakeApi) -> Stored {
    secret::stored(&serde_json::from_value(api.get(SECRET)).unwrap())
}

fn bundle(api: &FakeApi) -> String {
    let configuration = serde_json::from_value(api.get(CONFIGURATION)).unwrap();
    Webhook::of(&configuration).unwrap().bundle
}

/// Whether `decide` finds nothing to do for two weeks.
fn is_in_order(api: &FakeApi) -> bool {
    let configuration = serde_json::from_value(api.get(CONFIGURATION)).unwrap();
    let webhook = Webhook::of(&configuration).unwrap();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let act = decide(&Situation {
        stored: &read_secret(api),
        names: &webhook.names,
        published: &webhook.bundle,
        published_for: SignedDuration::ZERO,
        now,
    });
    matches!(act, Act::Wait { until } if until > now + SignedDuration::from_hours(24 * 14))
}

#[tokio::test(start_paused = true)]
async fn an_empty_secret_is_filled_published_and_then_not_written_again() {
    let api = cluster();
    run_for(&api, Duration::from_secs(5)).await;
    assert_eq!(
        api.take_writes(),
        [SECRET, CONFIGURATION, SECRET].map(|path| format!("PATCH {path}"))
    );
    assert!(is_in_order(&api));
    let secret = api.get(SECRET);
    let keys: Vec<_> = secret["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ca.crt", "ca.key", "tls.crt", "tls.key"]);
    assert_eq!(secret["metadata"]["labels"]["kept"], "yes");
    let other = &api.get(CONFIGURATION)["webhooks"][0];
    assert!(other["clientConfig"]["caBundle"].is_null());

    run_for(&api, Duration::from_secs(3600)).await;
    assert_eq!(api.take_writes(), [""; 0]);
}

#[rstest]
#[case::wiped(json!({ "ca.crt": null, "ca.key": null, "tls.crt": null, "tls.key": null }))]
#[case::key_lost(json!({ "ca.key": null }))]
#[case::garbage(json!({ "ca.crt": "AAAA", "tls.key": "/////w==" }))]
#[tokio::test(start_paused = true)]
async fn a_damaged_secret_is_repaired_and_the_old_bundle_stays_trusted(#[case] damage: Value) {
    let api = cluster();
    run_for(&api, Duration::from_secs(5)).await;
    let (old_bundle, mut secret) = (bundle(&api), api.get(SECRET));
    json_patch::merge(&mut secret["data"], &damage);
    api.put(SECRET, secret);
    run_for(&api, Duration::from_secs(30)).await;
    assert!(bundle(&api).contains(old_bundle.trim()));
    assert_eq!(Bundle::parse(&bundle(&api)).len(), 2);
    assert!(read_secret(&api).leaf.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_write_conflict_leads_to_a_new_decision() {
    let api = cluster();
    let mut conflicts = 3;
    api.set_fault(move |asked, _| {
        let refuses = asked.method == "PATCH" && conflicts > 0;
        conflicts -= i32::from(refuses);
        refuses.then(|| status(409, "the object has been modified"))
    });
    run_for(&api, Duration::from_secs(5)).await;
    assert!(is_in_order(&api));
}

#[tokio::test(start_paused = true)]
async fn a_decision_on_a_stale_version_is_never_written() {
    let api = cluster();
    let mut meddled = false;
    api.set_fault(move |asked, objects| {
        if asked.method == "PATCH" && asked.path == CONFIGURATION && !meddled {
            meddled = true;
            // Another webhook is inserted before ours: the index has changed.
            let configuration = objects.get_mut(CONFIGURATION).unwrap();
            let other = configuration["webhooks"][0].clone();
            configuration["webhooks"]
                .as_array_mut()
                .unwrap()
                .insert(0, other);
            configuration["metadata"]["resourceVersion"] = json!("meddled");
        }
        None::<Fault>
    });
    run_for(&api, Duration::from_secs(5)).await;
    assert!(is_in_order(&api));
    for other in [0, 1] {
        let other = &api.get(CONFIGURATION)["webhooks"][other];
        assert!(other["clientConfig"]["caBundle"].is_null(), "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_controller_finishes_whatever_write_the_last_one_died_after() {
    for survived in 0..3 {
        let api = cluster();
        let mut writes = 0;
        api.set_fault(move |asked, _| {
            let dead = asked.method == "PATCH" && writes >= survived;
            writes += i32::from(asked.method == "PATCH");
            dead.then(|| status(503, "gone"))
        });
        run_for(&api, Duration::from_secs(5)).await;
        assert!(!is_in_order(&api));
        api.clear_fault();
        run_for(&api, Duration::from_secs(5)).await;
        assert!(is_in_order(&api), "after {survived} writes");
    }
}

#[tokio::test(start_paused = true)]
async fn changed_names_get_a_new_certificate_as_soon_as_the_watch_reports_them() {
    let api = cluster();
    let changed = Arc::new(Notify::new());
    let owner = owner(&api, &changed);
    let renamed = async {
        sleep(Duration::from_secs(20)).await;
        let before = read_secret(&api);
        let mut configuration = api.get(CONFIGURATION);
        configuration["webhooks"][1]["clientConfig"]["service"] = Value::Null;
        configuration["webhooks"][1]["clientConfig"]["url"] = json!("https://127.0.0.1:9/mutate");
        api.put(CONFIGURATION, configuration);
        changed.notify_waiters();
        sleep(Duration::from_secs(5)).await;
        (before, read_secret(&api))
    };
    let (before, after) = tokio::select! {
        never = owner.run() => match never {},
        secrets = renamed => secrets,
    };
    assert_ne!(before.leaf, after.leaf);
    assert_eq!(before.authority, after.authority);
    assert!(is_in_order(&api));
}

#[rstest]
#[case(SECRET, "Secret failover-system/failover-webhook-tls")]
#[case(CONFIGURATION, "MutatingWebhookConfiguration failover.dev")]
#[tokio::test(start_paused = true)]
async fn a_missing_object_is_named_with_a_hint(#[case] path: &str, #[case] name: &str) {
    let api = cluster();
    let path = path.to_owned();
    api.set_fault(move |asked, _| (asked.path == path).then(|| status(404, "not found")));
    let owner = owner(&api, &Arc::new(Notify::new()));
    let error = owner
        .reconcile(&mut Published::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{name} is missing: run `kubectl failover install`")
    );
    assert_eq!(api.take_writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn expiry_metrics_exist_only_while_leading() {
    let api = cluster();
    let owner = owner(&api, &Arc::new(Notify::new()));
    let shown = {
        let mut run = pin!(owner.run());
        assert!(timeout(Duration::from_secs(5), run.as_mut()).await.is_err());
        owner.metrics.encode().unwrap()
    };
    for certificate in ["ca", "leaf"] {
        let line = format!(
            "failover_certificate_expiry_timestamp_seconds{{certificate=\"{certificate}\"}}"
        );
        assert!(shown.contains(&line), "{shown}");
        assert!(!owner.metrics.encode().unwrap().contains(&line));
    }
}

#[tokio::test(start_paused = true)]
async fn the_bundle_counts_as_published_from_when_it_was_first_seen() {
    let mut published = Published::default();
    assert_eq!(published.since("a"), SignedDuration::ZERO);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(published.since("a"), SignedDuration::from_secs(5));
    assert_eq!(published.since("b"), SignedDuration::ZERO);
}

/// Everything that is logged, at any level, by anyone.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn no_key_is_ever_logged_at_any_level() {
    let log = Log::default();
    let subscriber = || {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .finish()
    };
    // With a single subscriber, tracing caches the interest of whichever thread reaches a log statement first, and
    // another test's thread has no subscriber. With two it asks both.
    let _second = tracing::Dispatch::new(subscriber());
    let guard = tracing::subscriber::set_default(subscriber());
    let api = cluster();
    run_for(&api, Duration::from_secs(5)).await;
    let stored = read_secret(&api);
    api.set_fault(|asked, _| (asked.method == "PATCH").then(|| status(403, "forbidden")));
    let mut secret = api.get(SECRET);
    secret["data"]["ca.crt"] = Value::Null;
    api.put(SECRET, secret);
    run_for(&api, Duration::from_secs(5)).await;
    drop(guard);

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("issuing a certificate") && log.contains("forbidden"),
        "{log}"
    );
    assert!(!log.contains("PRIVATE KEY"));
    for pair in [stored.authority.unwrap(), stored.leaf.unwrap()] {
        let in_json = serde_json::to_string(&ByteString(pair.key.clone().into_bytes())).unwrap();
        let secrets = [pair.key.lines().nth(1).unwrap(), &in_json[1..60]];
        assert!(secrets.iter().all(|secret| !log.contains(secret)));
    }
}
