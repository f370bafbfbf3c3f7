//! The kind Widget and rules for it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};
use testbed::crds;
use testbed::site::{Output, Site};

use super::{apply_rules, at, metadata};

/// A kind whose count is not called replicas, with a scale subresource.
fn widgets() -> CustomResourceDefinition {
    let scale = json!({"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"});
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    serde_json::from_value(json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": schema,
                "subresources": {"scale": scale, "status": {}},
            }],
        },
    }))
    .unwrap()
}

pub(super) async fn serve_widgets(site: &Site) {
    let api: Api<CustomResourceDefinition> = Api::all(site.client());
    api.create(&PostParams::default(), &widgets())
        .await
        .unwrap();
    crds::established(&api, "widgets.example.com").await;
}

pub(super) fn widget(size: i64) -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata("w"),
        "spec": {"size": size, "mode": "fast"},
    })
}

pub(super) fn count() -> Value {
    json!({"pointer": "/spec/size", "type": "integer", "passive": 0})
}

pub(super) fn mode() -> Value {
    json!({"pointer": "/spec/mode", "type": "string", "passive": "idle"})
}

pub(super) fn widget_rule(name: &str, fields: &[Value]) -> Value {
    json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "RoleRule", "metadata": {"name": name},
        "spec": {
            "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads",
            "scale": fields.first() == Some(&count()), "fields": fields,
        },
    })
}

/// A rule in a file.
pub(super) fn file(rule: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), rule.to_string()).unwrap();
    file
}

pub(super) async fn apply_file(site: &Site, rule: &Value) -> Output {
    let file = file(rule);
    apply_rules(site, &["-f", file.path().to_str().unwrap()]).await
}

/// The document for a file that must be refused with this exit code.
pub(super) async fn refused_file(site: &Site, rule: &Value, code: i32) -> Value {
    let file = file(rule);
    let apply = ["rule", "apply", "--yes", "-f"];
    let path = file.path().to_str().unwrap();
    site.failure(&[&apply[..], &[path]].concat(), code).await
}

pub(super) fn size(object: &DynamicObject) -> Value {
    at(object, "/spec/size")
}
