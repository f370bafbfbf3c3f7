//! The cost of one review, from request bytes to response bytes, compared with a typed round trip of the same bytes.
//!
//! * `ours` reads the review, decides and writes the answer.
//! * `typed` is what a webhook does that is written with kube's types: `AdmissionReview<DynamicObject>` is read, the object
//!   is changed and written back, and the difference is the patch. It forces one field and decides nothing.
//! * `unpatched` is its part without the difference: the review is read, and answered with a patch made beforehand.
//!
//! All run in the same process on the same reviews, and `cargo bench` fails when ours is not [`WANTED`] times faster than
//! the round trip on each.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use failover_core::names::RESTORE_ANNOTATION;
use failover_core::{NamespaceState, Role, Roles};
use failover_webhook::decide::decide;
use failover_webhook::store::Store;
use futures::FutureExt as _;
use json_patch::Patch;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use serde_json::{Value, json};

/// By how much a review must be faster than a typed round trip.
const WANTED: f64 = 4.0;

/// A small Deployment, a usual one, and one with a long environment: bytes of the whole review.
const SIZES: [usize; 3] = [4_000, 15_000, 170_000];

fn main() {
    let store = secondary();
    let reviews = SIZES.map(review);
    for body in &reviews {
        check(&store, body);
    }

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("review");
    for body in &reviews {
        let size = format!("{}KB", body.len() / 1000);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("ours", &size), body, |bencher, body| {
            bencher.iter(|| ours(&store, black_box(body)));
        });
        group.bench_with_input(BenchmarkId::new("typed", &size), body, |bencher, body| {
            bencher.iter(|| typed(black_box(body)));
        });
        let unpatched_id = BenchmarkId::new("unpatched", &size);
        group.bench_with_input(unpatched_id, body, |bencher, body| {
            bencher.iter(|| unpatched(black_box(body)));
        });
    }
    group.finish();
    criterion.final_summary();

    // `cargo test --benches` only checks that it runs.
    if !std::env::args().any(|argument| argument == "--test") {
        compare(&store, &reviews);
    }
}

/// Alternates between the variants, so that other load on the machine affects all alike.
#[expect(
    clippy::print_stdout,
    reason = "a benchmark reports on its standard output"
)]
fn compare(store: &Store, reviews: &[Vec<u8>]) {
    println!("\nmedian        ours        typed           unpatched");
    let mut slow = false;
    for body in reviews {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..20_000_000 / body.len() {
            times[0].push(time(|| ours(store, black_box(body))));
            times[1].push(time(|| typed(black_box(body))));
            times[2].push(time(|| unpatched(black_box(body))));
        }
        let [ours, typed, unpatched] = times.map(|times| median(times).as_secs_f64());
        slow |= typed / ours < WANTED;
        let micros = |seconds: f64| format!("{:.1} µs", seconds * 1e6);
        println!(
            "{:>4} KB {:>12} {:>12} {:>4.1}x {:>12} {:>4.1}x",
            body.len() / 1000,
            micros(ours),
            micros(typed),
            typed / ours,
            micros(unpatched),
            unpatched / ours,
        );
    }
    assert!(
        !slow,
        "a review must be {WANTED} times faster than a typed round trip"
    );
}

fn time(run: impl Fn() -> Vec<u8>) -> Duration {
    let started = Instant::now();
    black_box(run());
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ours(store: &Store, body: &[u8]) -> Vec<u8> {
    let decision = decide(body, store)
        .now_or_never()
        .expect("a namespace that is known is not waited for")
        .expect("the review is sound");
    decision.verdict.to_bytes(&decision.uid)
}

fn typed(body: &[u8]) -> Vec<u8> {
    answer(body, |object| {
        let mut changed = object.clone();
        changed.data["spec"]["replicas"] = json!(0);
        let annotations = changed.metadata.annotations.get_or_insert_default();
        annotations.insert(RESTORE_ANNOTATION.into(), r#"{"/spec/replicas":3}"#.into());
        let value = |object| serde_json::to_value(object).expect("an object is JSON");
        json_patch::diff(&value(object), &value(&changed))
    })
}

fn unpatched(body: &[u8]) -> Vec<u8> {
    answer(body, |_| {
        let patch = json!([
            { "op": "add", "path": "/spec/replicas", "value": 0 },
            { "op": "add", "path": "/metadata/annotations/failover.dev~1restore", "value": "{\"/spec/replicas\":3}" },
        ]);
        serde_json::from_value(patch).expect("a patch")
    })
}

fn answer(body: &[u8], patch: impl Fn(&DynamicObject) -> Patch) -> Vec<u8> {
    let review: AdmissionReview<DynamicObject> =
        serde_json::from_slice(body).expect("the review is sound");
    let request: AdmissionRequest<DynamicObject> =
        review.try_into().expect("the review has a request");
    let object = request.object.as_ref().expect("an update has an object");
    let answer = AdmissionResponse::from(&request)
        .with_patch(patch(object))
        .expect("a patch is JSON");
    serde_json::to_vec(&answer.into_review()).expect("an answer is JSON")
}

/// Checks that the real thing is measured: an answer that forces the Deployment to 0.
fn check(store: &Store, body: &[u8]) {
    let answer: Value = serde_json::from_slice(&ours(store, body)).expect("an answer is JSON");
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    assert!(answer["response"]["patch"].is_string(), "{answer}");
}

fn secondary() -> Store {
    let store = Store::default();
    let state = NamespaceState {
        enforcement: Some(failover_core::namespace::Enforcement::Enabled),
        roles: Roles::all(Role::Secondary),
        site: Some("east".into()),
        revision: Some(7),
        ..NamespaceState::default()
    };
    store.put_namespace("shop".into(), state);
    store
}

/// An update of a Deployment, of about this many bytes.
fn review(bytes: usize) -> Vec<u8> {
    let body = |variables| {
        serde_json::to_vec(&json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": { "group": "apps", "version": "v1", "kind": "Deployment" },
                "resource": { "group": "apps", "version": "v1", "resource": "deployments" },
                "requestKind": { "group": "apps", "version": "v1", "kind": "Deployment" },
                "requestResource": { "group": "apps", "version": "v1", "resource": "deployments" },
                "name": "web",
                "namespace": "shop",
                "operation": "UPDATE",
                "userInfo": {
                    "username": "system:serviceaccount:flux-system:kustomize-controller",
                    "uid": "3ad1e31a-6b4a-4b9a-9c9d-8f2b9ea3b3a1",
                    "groups": ["system:serviceaccounts", "system:serviceaccounts:flux-system", "system:authenticated"],
                },
                "object": deployment(3, variables),
                "oldObject": deployment(2, variables),
                "dryRun": false,
                "options": {
                    "kind": "PatchOptions", "apiVersion": "meta.k8s.io/v1",
                    "force": true, "fieldManager": "kustomize-controller",
                },
            },
        }))
        .expect("a review is JSON")
    };
    (0..bytes)
        .map(body)
        .find(|body| body.len() >= bytes)
        .expect("every variable makes it larger")
}

/// As stored: with managedFields and, beyond the smallest, an environment of `variables`.
fn deployment(replicas: i64, variables: usize) -> Value {
    let name = |i: usize| format!("SERVICE_{i:03}_ENDPOINT");
    let environment: Vec<Value> = (0..variables)
        .map(|i| json!({ "name": name(i), "value": format!("https://service-{i}.shop.svc:8443/v1") }))
        .collect();
    let owned: serde_json::Map<String, Value> = (0..variables)
        .map(|i| {
            let key = format!("k:{{\"name\":\"{}\"}}", name(i));
            (key, json!({ ".": {}, "f:name": {}, "f:value": {} }))
        })
        .collect();
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "5f1a6a53-3c2c-4f79-8f5e-0c7a3a6a7a11",
            "resourceVersion": "48213", "generation": 12, "creationTimestamp": "2026-01-10T09:30:00Z",
            "labels": {
                "app.kubernetes.io/name": "web",
                "kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
            },
            "annotations": { "deployment.kubernetes.io/revision": "12" },
            "managedFields": [{
                "manager": "kustomize-controller", "operation": "Apply", "apiVersion": "apps/v1",
                "time": "2026-01-10T09:30:00Z", "fieldsType": "FieldsV1",
                "fieldsV1": {
                    "f:metadata": { "f:labels": { "f:app.kubernetes.io/name": {} } },
                    "f:spec": {
                        "f:replicas": {}, "f:selector": {},
                        "f:template": { "f:spec": { "f:containers": { "k:{\"name\":\"web\"}": {
                            ".": {}, "f:name": {}, "f:image": {}, "f:resources": {}, "f:env": owned,
                        }}}},
                    },
                },
            }],
        },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app.kubernetes.io/name": "web" } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } },
            "template": {
                "metadata": { "labels": { "app.kubernetes.io/name": "web" } },
                "spec": {
                    "containers": [{
                        "name": "web", "image": "registry.shop.example/web:1.24.3", "imagePullPolicy": "IfNotPresent",
                        "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
                        "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
                        "env": environment,
                    }],
                    "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                },
            },
        },
        "status": { "observedGeneration": 12, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2 },
    })
}
