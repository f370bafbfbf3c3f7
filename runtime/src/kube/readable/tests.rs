//! Objects of a newer version, for every watched kind.

use failover_core::api::{FailoverPolicy, RoleRule, Site, adopted};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::reflector;
use rstest::rstest;
use serde_json::json;

use super::*;

/// A cache that is filled through a reader.
struct Watched<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static> {
    reader: Reader<K>,
    writer: reflector::store::Writer<K>,
    store: Store<K>,
    unreadable: UnreadableObjects,
    changed: Arc<Notify>,
}

impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static> Watched<K> {
    fn new(adopted: fn(&Value) -> Option<K>) -> Self {
        let (store, writer) = reflector::store();
        let (unreadable, changed) = (UnreadableObjects::default(), Arc::<Notify>::default());
        let notify = vec![Arc::clone(&changed)];
        Self {
            reader: Reader::new(store.clone(), unreadable.clone(), notify, adopted),
            writer,
            store,
            unreadable,
            changed,
        }
    }

    fn see(&mut self, event: Event<DynamicObject>) {
        if let Some(event) = self.reader.take(event) {
            self.writer.apply_watcher_event(&event);
        }
    }

    fn list(&mut self, objects: impl IntoIterator<Item = Value>) {
        self.see(Event::Init);
        for object in objects {
            self.see(Event::InitApply(raw(object)));
        }
        self.see(Event::InitDone);
    }

    fn known(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .store
            .state()
            .iter()
            .map(|o| o.meta().name.clone().unwrap())
            .collect();
        names.sort();
        names
    }

    fn unreadable(&self) -> Vec<String> {
        self.unreadable
            .all()
            .into_iter()
            .map(|u| u.object)
            .collect()
    }
}

fn raw(object: Value) -> DynamicObject {
    serde_json::from_value(object).unwrap()
}

fn named(name: &str, mut object: Value) -> Value {
    object["metadata"] = json!({ "name": name, "uid": name });
    object
}

fn site(role: &str) -> Value {
    named(
        "cluster",
        json!({ "spec": { "siteName": "east", "role": role, "epoch": 1 } }),
    )
}

fn policy(name: &str, kind: &str) -> Value {
    let mut policy = named(
        name,
        json!({ "spec": { "managedResources": [{ "kind": kind, "name": "a" }] } }),
    );
    policy["metadata"]["namespace"] = json!("shop");
    policy
}

fn rule(name: &str, layer: &str) -> Value {
    named(
        name,
        json!({ "spec": {
        "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": layer,
        "fields": [{ "pointer": "/spec/on", "type": "boolean", "passive": false }],
    } }),
    )
}

fn skips<K>(now: Value, future: Value)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static,
{
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    let (known, skipped) = ([name(&now)], name(&future));
    let mut watched = Watched::<K>::new(|_| None);
    watched.list([future.clone(), now.clone()]);
    assert_eq!(watched.known(), known, "the other objects are watched");
    assert_eq!(watched.unreadable().len(), 1);
    assert!(
        watched.unreadable()[0].contains(&skipped),
        "and the skipped one is reported"
    );
    watched.see(Event::Apply(raw(now.clone())));
    assert_eq!(watched.known(), known, "changes are seen as before");
    watched.see(Event::Delete(raw(future.clone())));
    assert!(
        watched.unreadable().is_empty(),
        "once deleted, it is not reported any more"
    );
    watched.list([future, now.clone()]);
    watched.list([now]);
    assert!(
        watched.unreadable().is_empty(),
        "nor after a list without it"
    );
}

#[test]
fn a_watch_skips_an_object_of_a_newer_version() {
    skips::<FailoverPolicy>(policy("a", "Deployment"), policy("b", "Widget"));
    skips::<RoleRule>(rule("a", "workloads"), rule("b", "quarantine"));
    let binding = |actions: Value| json!({ "spec": { "validationActions": actions } });
    skips::<ValidatingAdmissionPolicyBinding>(
        named("a", binding(json!(["Deny"]))),
        named("b", binding(json!({ "deny": true }))),
    );
    let policy = |policy: Value| json!({ "spec": { "failurePolicy": policy } });
    skips::<ValidatingAdmissionPolicy>(
        named("a", policy(json!("Fail"))),
        named("b", policy(json!({ "mode": "Fail" }))),
    );
    skips::<MutatingWebhookConfiguration>(
        named("a", json!({ "webhooks": [] })),
        named("b", json!({ "webhooks": { "mutate": {} } })),
    );
    let lease = |seconds: Value| json!({ "spec": { "leaseDurationSeconds": seconds } });
    skips::<Lease>(
        named("a", lease(json!(15))),
        named("b", lease(json!("15s"))),
    );
}

#[tokio::test]
async fn an_unreadable_site_is_neither_known_nor_absent() {
    let mut watched = Watched::<Site>::new(|_| None);
    watched.list([site("primary")]);
    assert_eq!(watched.known(), ["cluster"]);
    watched.see(Event::Apply(raw(site("observer"))));
    assert!(watched.known().is_empty(), "a stale request does not count");
    assert!(watched.unreadable.find("Site cluster").is_some());
    watched.see(Event::Apply(raw(site("observer"))));
    watched.changed.notified().await;
    watched.see(Event::Apply(raw(site("secondary"))));
    assert_eq!(watched.known(), ["cluster"]);
    assert!(watched.unreadable().is_empty());
}

#[test]
fn a_site_with_a_status_of_a_newer_version_is_read() {
    let mut watched = Watched::<Site>::new(|_| None);
    let mut site = site("primary");
    site["status"] = json!({ "phase": "Draining", "layers": {}, "revision": 1 });
    watched.list([site]);
    assert_eq!(watched.known(), ["cluster"]);
}

#[rstest]
#[case::adopted("workloads", &["b"])]
#[case::nothing_that_can_be_read("quarantine", &[])]
fn an_adopted_rule_stays_in_force(#[case] enforced: &str, #[case] known: &[&str]) {
    let mut watched = Watched::<RoleRule>::new(adopted);
    let mut future = rule("b", "quarantine");
    future["status"] = json!({ "enforced": rule("b", enforced)["spec"] });
    watched.list([future.clone()]);
    assert_eq!(watched.known(), known);
    assert_eq!(watched.unreadable(), ["RoleRule b"]);
    watched.see(Event::Apply(raw(future)));
    assert_eq!(watched.known(), known);
    assert_eq!(watched.unreadable(), ["RoleRule b"]);
}
