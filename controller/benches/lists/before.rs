//! How the step `guards` used to check.

use failover_core::RuleSet;
use http_body_util::BodyExt as _;
use kube::Client;
use kube::api::ListParams;
use kube::client::Body;
use kube::core::Request;
use serde_json::Value;

use crate::cluster::{Cluster, NAMESPACE};

const PAGE: u32 = 250;

pub(crate) async fn check(cluster: Cluster) {
    let client = cluster.client();
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let sets = format!("/apis/apps/v1/namespaces/{NAMESPACE}/replicasets");
    let (pods, sets) = futures::join!(all(&client, &pods), all(&client, &sets));
    assert_eq!(uncovered(&pods, &sets), 0);
}

/// Reads all pages of one namespace and strips the objects at the end.
async fn all(client: &Client, path: &str) -> Vec<Value> {
    let request = Request::new(path);
    let mut all = Vec::new();
    let mut token = None;
    loop {
        let params = ListParams {
            limit: Some(PAGE),
            continue_token: token.take(),
            ..ListParams::default()
        };
        let request = request.list(&params).expect("it is sound");
        let answer = client
            .send(request.map(Body::from))
            .await
            .expect("it answers");
        let body = answer
            .into_body()
            .collect()
            .await
            .expect("all of it")
            .to_bytes();
        let mut page: Value = serde_json::from_slice(&body).expect("JSON");
        let Value::Array(items) = page["items"].take() else {
            panic!("no list");
        };
        all.extend(items);
        match page["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => token = Some(next.to_owned()),
            _ => break,
        }
    }
    for object in &mut all {
        for (parent, part) in [
            ("/metadata", "managedFields"),
            ("/spec", "template"),
            ("/spec", "containers"),
            ("/status", "containerStatuses"),
        ] {
            let parent = object.pointer_mut(parent).and_then(Value::as_object_mut);
            parent.map(|parent| parent.remove(part));
        }
    }
    all
}

/// Searches all sets for every pod, on the task itself.
fn uncovered(pods: &[Value], sets: &[Value]) -> usize {
    let rules = RuleSet::built_in();
    let controller = |object: &Value| object["metadata"]["ownerReferences"][0].clone();
    pods.iter()
        .filter(|pod| {
            let owner = controller(pod);
            let set = sets.iter().find(|set| {
                set["metadata"]["name"] == owner["name"]
                    && set["metadata"]["namespace"] == pod["metadata"]["namespace"]
            });
            let top = set.map_or(owner, controller);
            !rules.iter().any(|rule| *rule.kind == top["kind"])
        })
        .count()
}
