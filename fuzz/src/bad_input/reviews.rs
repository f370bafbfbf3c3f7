//! Reviews damaged at random: the review parser, and the decision behind it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bolero::{TypeGenerator, produce};
use failover_core::namespace::Enforcement;
use failover_core::{NamespaceState, Role, Roles};
use failover_webhook::decide::decide;
use failover_webhook::outcome::ReviewOutcome;
use failover_webhook::store::Store;
use json_patch::Patch;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

/// The damage to a valid review. Places are taken modulo its length.
#[derive(Clone, Debug, TypeGenerator)]
enum Damage {
    Drop { at: u16, bytes: u8 },
    Repeat { from: u16, bytes: u8, at: u16 },
    Overwrite { at: u16, byte: u8 },
    Value { at: u16, value: u8 },
    Member { at: u16, member: u8 },
    Nest { at: u16, depth: u16 },
}

/// Values that a parser or a decision may fail on.
const VALUES: [&str; 13] = [
    "null",
    "{}",
    "[]",
    "0",
    "-1",
    "1e400",
    "3.0",
    "9223372036854775808",
    r#""""#,
    r#""\ud800""#,
    r#""\u0000""#,
    r#""DELETE""#,
    r#""elsewhere""#,
];

/// Members, which may so occur twice.
const MEMBERS: [&str; 10] = [
    r#""uid":"other""#,
    r#""operation":"UPDATE""#,
    r#""subResource":"scale""#,
    r#""namespace":"shop""#,
    r#""oldObject":null"#,
    r#""spec":{"replicas":3}"#,
    r#""replicas":7"#,
    r#""annotations":{"failover.dev/restore":"{\"/spec/replicas\":\"x\"}"}"#,
    r#""managedFields":[{"operation":"Apply","fieldsV1":{"f:spec":{"f:replicas":[]}}}]"#,
    r#""options":{"fieldManager":"kustomize-controller"}"#,
];

fn seeds() -> Vec<String> {
    let mut forced = deployment(0);
    forced["metadata"]["annotations"] = json!({"failover.dev/restore": "{\"/spec/replicas\":3}"});
    forced["metadata"]["managedFields"] = json!([{
        "manager": "kustomize-controller", "operation": "Apply", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}},
    }]);
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "fresh", "labels": {"failover.dev/enforce": "enabled"}},
    });
    let cron_job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "report", "namespace": "shop"},
        "spec": {"schedule": "0 0 1 1 *"},
    });
    let none = Value::Null;
    vec![
        review("apps/deployments", &none, &deployment(3)),
        review("apps/deployments", &forced, &deployment(3)),
        review("apps/deployments", &deployment(3), &forced),
        review("batch/cronjobs", &none, &cron_job),
        review("/namespaces", &none, &namespace),
    ]
}

fn deployment(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}},
    })
}

/// A review as the API server sends it for a write of Flux.
fn review(resource: &str, old: &Value, new: &Value) -> String {
    let (group, resource) = resource.split_once('/').expect("has a group");
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "operation": if old.is_null() { "CREATE" } else { "UPDATE" },
            "resource": {"group": group, "version": "v1", "resource": resource},
            "namespace": "shop", "name": new["metadata"]["name"],
            "object": new, "oldObject": old, "dryRun": false,
            "options": {"fieldManager": "kustomize-controller"},
        },
    });
    review.to_string()
}

/// A store in which `shop` is secondary.
fn secondary() -> Store {
    let store = Store::default();
    let state = NamespaceState {
        enforcement: Some(Enforcement::Enabled),
        roles: Roles::all(Role::Secondary),
        ..NamespaceState::default()
    };
    store.put_namespace("shop".into(), state);
    store
}

fn damaged(review: &str, damages: &[Damage]) -> Vec<u8> {
    let mut body = review.as_bytes().to_vec();
    for damage in damages {
        let length = body.len();
        let place = |at: u16| usize::from(at) % (length + 1);
        let range = |at: u16, bytes: u8| place(at)..(place(at) + usize::from(bytes)).min(length);
        match *damage {
            Damage::Drop { at, bytes } => drop(body.drain(range(at, bytes))),
            Damage::Repeat { from, bytes, at } => {
                let copy = body[range(from, bytes)].to_vec();
                body.splice(place(at)..place(at), copy);
            }
            Damage::Overwrite { at, byte } => {
                if let Some(old) = body.get_mut(place(at)) {
                    *old = byte;
                }
            }
            Damage::Value { at, value } => {
                let value = VALUES[usize::from(value) % VALUES.len()];
                if let Some(start) = after(&body, place(at), b":") {
                    let end = after(&body, start, b",}").map_or(length, |end| end - 1);
                    body.splice(start..end, value.bytes());
                }
            }
            Damage::Member { at, member } => {
                let member = MEMBERS[usize::from(member) % MEMBERS.len()];
                if let Some(start) = after(&body, place(at), b"{") {
                    body.splice(start..start, format!("{member},").bytes());
                }
            }
            Damage::Nest { at, depth } => {
                let depth = usize::from(depth) % 12_000;
                let nested = [vec![b'['; depth], vec![b']'; depth]].concat();
                body.splice(place(at)..place(at), nested);
            }
        }
    }
    body
}

/// The place behind the next of some bytes.
fn after(body: &[u8], from: usize, any: &[u8]) -> Option<usize> {
    let found = body[from..].iter().position(|byte| any.contains(byte))?;
    Some(from + found + 1)
}

#[test]
fn review_and_decision() {
    let seeds = seeds();
    let store = AssertUnwindSafe(secondary());
    // Waiting for an unknown namespace takes no time.
    let runtime = AssertUnwindSafe(
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap(),
    );
    bolero::check!()
        .with_generator((
            produce::<u8>(),
            produce::<Vec<Damage>>().with().len(0..5usize),
        ))
        .with_test_time(super::unless_long(Duration::from_secs(5)))
        .for_each(|(seed, damages)| {
            let seed = &seeds[usize::from(*seed) % seeds.len()];
            runtime.block_on(holds(&store, &damaged(seed, damages)));
        });
}

/// For every input: no panic, an answer to the caller, and never an active Deployment that is allowed.
async fn holds(store: &Store, body: &[u8]) {
    let Ok(decision) = decide(body, store).await else {
        return;
    };
    assert_ne!(decision.outcome, ReviewOutcome::Fault);
    assert!(!decision.uid.is_empty());
    let answer = decision.verdict.to_bytes(&decision.uid);
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    let response = &answer["response"];
    assert_eq!(response["uid"], *decision.uid);
    if response["allowed"] == false {
        assert_eq!(response["status"]["code"], 403, "{response}");
        return;
    }
    // The following checks use a second parser, which stops at 128 levels and accepts no single surrogates.
    let Ok(review) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let request = &review["request"];
    let Some(stored) = stored(&request["object"], response) else {
        panic!("a patch that does not apply: {response}");
    };
    if is_about_a_deployment(request) {
        assert_eq!(stored["spec"]["replicas"], 0, "{request}\n{response}");
    }
}

fn stored(object: &Value, response: &Value) -> Option<Value> {
    let mut object = object.clone();
    if response.get("patch").is_some() {
        let ByteString(patch) = serde_json::from_value(response["patch"].clone()).ok()?;
        let patch: Patch = serde_json::from_slice(&patch).ok()?;
        json_patch::patch(&mut object, &patch).ok()?;
    }
    Some(object)
}

fn is_about_a_deployment(request: &Value) -> bool {
    let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str);
    matches!(text("/operation"), Some("CREATE" | "UPDATE"))
        && text("/resource/group") == Some("apps")
        && text("/resource/resource") == Some("deployments")
        && text("/namespace") == Some("shop")
        && text("/subResource").is_none_or(str::is_empty)
}
