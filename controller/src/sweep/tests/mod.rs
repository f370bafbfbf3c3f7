//! The sweep against a fake API server.

mod failures;
mod lists;
mod writes;

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

/// Asserts that just this object is blocked, and that the message contains all of these parts.
#[track_caller]
fn assert_blocked(swept: &Swept, object: &str, parts: &[&str]) {
    assert_eq!(swept.left, 1);
    let [blocked] = &swept.blocked[..] else {
        panic!("one is blocked: {swept:?}")
    };
    assert_eq!(blocked.guard, "not-conforming");
    assert_eq!(blocked.object.as_deref(), Some(object));
    for part in parts {
        assert!(
            blocked.message.contains(part),
            "{part} is missing in {}",
            blocked.message
        );
    }
}

/// Asserts that the Deployment of three replicas is forced to 0, with a record of them.
#[track_caller]
fn assert_forced(web: &Value) {
    assert_eq!(web["spec"]["replicas"], 0);
    assert_eq!(
        web["metadata"]["annotations"][RECORD],
        "{\"/spec/replicas\":3}"
    );
}
