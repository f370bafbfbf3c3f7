//! How the events of the watches are handled.

use failover_core::{Role, Roles};
use serde_json::{Value, json};

use super::*;

fn namespace(name: &str, role: &str, revision: &str) -> PartialObjectMeta<Namespace> {
    let metadata = json!({
        "name": name,
        "labels": { "failover.dev/enforce": "enabled", "failover.dev/workloads": role },
        "annotations": { "failover.dev/revision": revision },
    });
    serde_json::from_value(json!({ "metadata": metadata })).unwrap()
}

fn role_of(store: &Store, name: &str) -> Option<Role> {
    store
        .namespace(name)
        .and_then(|state| state.roles.workloads)
}

fn dynamic(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_list_replaces_the_known_namespaces_once_it_is_complete() {
    let store = Store::default();
    let mut events = NamespaceEvents::default();
    for event in [
        Event::Init,
        Event::InitApply(namespace("a", "secondary", "3")),
    ] {
        assert!(!events.handle(event, &store));
    }
    assert_eq!(role_of(&store, "a"), None, "half a list does not count");
    assert!(events.handle(Event::InitDone, &store));
    assert_eq!(role_of(&store, "a"), Some(Role::Secondary));

    events.handle(Event::Apply(namespace("b", "primary", "4")), &store);
    events.handle(Event::Apply(namespace("a", "primary", "4")), &store);
    assert_eq!(role_of(&store, "a"), Some(Role::Primary));
    events.handle(Event::Delete(namespace("b", "primary", "4")), &store);
    assert_eq!(role_of(&store, "b"), None);

    // While it is listed again, the old state is used.
    events.handle(Event::Init, &store);
    assert_eq!(role_of(&store, "a"), Some(Role::Primary));
    events.handle(Event::InitDone, &store);
    assert_eq!(role_of(&store, "a"), None);
}

#[test]
fn a_namespace_that_may_not_be_enrolled_does_not_block_the_reported_revision() {
    let store = Store::default();
    let mut events = NamespaceEvents::default();
    events.handle(Event::Apply(namespace("shop", "secondary", "3")), &store);
    let system: PartialObjectMeta<Namespace> = serde_json::from_value(json!({
        "metadata": { "name": "kube-system", "labels": { "failover.dev/enforce": "enabled" } }
    }))
    .unwrap();
    events.handle(Event::Apply(system), &store);
    assert_eq!((store.seen().revision, store.seen().namespaces), (3, 1));
}

fn role_rule(name: &str, resource: &str) -> Value {
    json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "RoleRule", "metadata": { "name": name },
        "spec": {
            "group": "example.com", "version": "v1", "kind": "Widget", "resource": resource, "layer": "workloads",
            "fields": [{ "pointer": "/spec/on", "type": "boolean", "passive": false }],
        },
    })
}

#[test]
fn rules_follow_role_rules_and_an_unreadable_one_affects_only_itself() {
    let store = Store::default();
    let has = |resource| store.rules().find("example.com", resource).is_some();
    let mut events = RoleRuleEvents::default();
    let mut unreadable = role_rule("newer", "gadgets");
    unreadable["spec"]["layer"] = json!("a layer of the future");
    for event in [
        Event::Init,
        Event::InitApply(dynamic(unreadable)),
        Event::InitApply(dynamic(role_rule("widgets", "widgets"))),
    ] {
        assert!(!events.handle(event, &store));
    }
    assert!(events.handle(Event::InitDone, &store));
    assert!(has("widgets") && !has("gadgets"));
    assert!(store.rules().find("apps", "deployments").is_some());

    events.handle(
        Event::Delete(dynamic(role_rule("widgets", "widgets"))),
        &store,
    );
    assert!(!has("widgets"));
}

#[test]
fn an_adopted_rule_outlives_a_spec_of_a_newer_version() {
    let store = Store::default();
    let has = || store.rules().find("example.com", "widgets").is_some();
    let mut events = RoleRuleEvents::default();
    let mut rule = role_rule("widgets", "widgets");
    rule["status"] = json!({ "enforced": rule["spec"] });
    events.handle(Event::Apply(dynamic(rule.clone())), &store);
    assert!(has());
    rule["spec"]["layer"] = json!("a layer of the future");
    events.handle(Event::Apply(dynamic(rule.clone())), &store);
    assert!(has(), "changing a rule must not open a standby");
    rule["status"]["enforced"]["layer"] = json!("a layer of the future");
    events.handle(Event::Apply(dynamic(rule)), &store);
    assert!(!has());
}

#[test]
fn unknown_labels_of_a_newer_version_affect_only_themselves() {
    let store = Store::default();
    let mut events = NamespaceEvents::default();
    let mut future = namespace("a", "observer", "7th");
    let labels = future.metadata.labels.as_mut().unwrap();
    labels.insert("failover.dev/gitops".into(), "secondary".into());
    for event in [
        Event::Init,
        Event::InitApply(future),
        Event::InitApply(namespace("b", "secondary", "3")),
        Event::InitDone,
    ] {
        events.handle(event, &store);
    }
    assert_eq!(role_of(&store, "a"), None, "not known: the backstop holds");
    let gitops = store.namespace("a").and_then(|state| state.roles.gitops);
    assert_eq!(gitops, Some(Role::Secondary));
    assert_eq!(role_of(&store, "b"), Some(Role::Secondary));
}

#[test]
fn a_site_of_a_newer_version_gives_new_namespaces_no_roles() {
    let store = Store::default();
    let all = json!({ "volumes": "secondary", "workloads": "secondary", "gitops": "secondary", "traffic": "secondary" });
    site_event(Event::Apply(site_of("secondary", &all)), &store);
    assert!(store.settled().is_some());
    site_event(Event::Apply(site_of("observer", &all)), &store);
    assert!(store.settled().is_none());
    let mut site = site_of("secondary", &all);
    site.data["status"]["phase"] = json!("Draining");
    site_event(Event::Apply(site), &store);
    assert!(
        store.settled().is_some(),
        "an unknown word in the status harms nothing"
    );
}

fn site_of(role: &str, layers: &Value) -> DynamicObject {
    dynamic(json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": { "name": "cluster" },
        "spec": { "siteName": "east", "role": role, "epoch": 1 },
        "status": { "layers": layers, "revision": 5 },
    }))
}

#[test]
fn the_settled_roles_outlive_the_site() {
    let store = Store::default();
    let all = json!({ "volumes": "secondary", "workloads": "secondary", "gitops": "secondary", "traffic": "secondary" });
    let site = site_of("secondary", &all);
    assert!(!site_event(Event::InitApply(site.clone()), &store));
    assert!(site_event(Event::InitDone, &store));
    let roles = || {
        store
            .settled()
            .as_ref()
            .as_ref()
            .map(|settled| settled.roles)
    };
    assert_eq!(roles(), Some(Roles::all(Role::Secondary)));
    site_event(Event::Delete(site), &store);
    assert_eq!(roles(), Some(Roles::all(Role::Secondary)));
    // Requested to be primary, and not settled yet: new namespaces get no role.
    site_event(Event::Apply(site_of("primary", &all)), &store);
    assert_eq!(roles(), None);
}

#[tokio::test]
async fn a_kind_that_is_not_served_has_no_objects() {
    let status = kube::core::Status::failure("no such thing", "NotFound").with_code(404);
    let errors = [Err(watcher::Error::InitialListFailed(kube::Error::Api(
        Box::new(status),
    )))];
    let mut seen: Vec<Event<DynamicObject>> = Vec::new();
    each("RoleRules", futures::stream::iter(errors), |event| {
        seen.push(event);
    })
    .await;
    assert!(
        matches!(seen.as_slice(), [Event::Init, Event::InitDone]),
        "{seen:?}"
    );
}
