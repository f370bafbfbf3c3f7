//! The documents of the manifests, as plain values and as typed objects.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One document of one file.
pub(super) struct Object {
    pub(super) file: String,
    pub(super) value: Value,
}

impl Object {
    pub(super) fn kind(&self) -> &str {
        self.value["kind"]
            .as_str()
            .expect("every object has a kind")
    }

    pub(super) fn name(&self) -> &str {
        self.value["metadata"]["name"]
            .as_str()
            .expect("every object has a name")
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        self.value["metadata"]["namespace"].as_str()
    }

    pub(super) fn typed<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.value.clone()).unwrap_or_else(|error| panic!("{self}: {error}"))
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} {}/{}",
            self.file,
            self.kind(),
            self.namespace().unwrap_or_default(),
            self.name()
        )
    }
}

/// The folder `manifests/`.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
}

/// What the kustomization lists, in its order.
pub(super) fn resources() -> Vec<String> {
    let text = fs::read_to_string(folder().join("kustomization.yaml")).unwrap();
    let kustomization: Value = serde_saphyr::from_str(&text).unwrap();
    serde_json::from_value(kustomization["resources"].clone()).unwrap()
}

/// Every YAML file in the folder and below it but the kustomization, sorted.
pub(super) fn yaml_files() -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "yaml" || extension == "yml")
            {
                files.push(
                    path.strip_prefix(folder())
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .replace('\\', "/"),
                );
            }
        }
    }
    files.retain(|file| file != "kustomization.yaml");
    files.sort();
    files
}

/// Every object that the kustomization lists, in its order.
pub(super) fn objects() -> Vec<Object> {
    let mut objects = Vec::new();
    for file in resources() {
        let text = fs::read_to_string(folder().join(&file))
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let values: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(!values.is_empty(), "{file} is empty");
        objects.extend(values.into_iter().map(|value| Object {
            file: file.clone(),
            value,
        }));
    }
    objects
}

/// All objects of one kind.
pub(super) fn all<T: DeserializeOwned>(kind: &str) -> Vec<T> {
    objects()
        .iter()
        .filter(|object| object.kind() == kind)
        .map(Object::typed)
        .collect()
}

/// The one object of a kind and name.
pub(super) fn named<T: DeserializeOwned>(kind: &str, name: &str) -> T {
    let found: Vec<_> = objects()
        .into_iter()
        .filter(|object| object.kind() == kind && object.name() == name)
        .collect();
    let [object] = found.as_slice() else {
        panic!("{} objects of kind {kind} are named {name}", found.len())
    };
    object.typed()
}

/// Paths in the document that get lost on the way through its type: the API server would not know them either.
pub(super) fn unknown_fields(object: &Object) -> Vec<String> {
    let version = object.value["apiVersion"]
        .as_str()
        .expect("every object has an apiVersion");
    let round_trip = match (version, object.kind()) {
        ("v1", "Namespace") => round_trip::<Namespace>,
        ("v1", "ResourceQuota") => round_trip::<ResourceQuota>,
        ("v1", "Secret") => round_trip::<Secret>,
        ("v1", "Service") => round_trip::<Service>,
        ("v1", "ServiceAccount") => round_trip::<ServiceAccount>,
        ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration") => {
            round_trip::<MutatingWebhookConfiguration>
        }
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy") => {
            round_trip::<ValidatingAdmissionPolicy>
        }
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding") => {
            round_trip::<ValidatingAdmissionPolicyBinding>
        }
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => {
            round_trip::<CustomResourceDefinition>
        }
        ("apps/v1", "Deployment") => round_trip::<Deployment>,
        ("coordination.k8s.io/v1", "Lease") => round_trip::<Lease>,
        ("networking.k8s.io/v1", "NetworkPolicy") => round_trip::<NetworkPolicy>,
        ("policy/v1", "PodDisruptionBudget") => round_trip::<PodDisruptionBudget>,
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => round_trip::<ClusterRole>,
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => round_trip::<ClusterRoleBinding>,
        ("rbac.authorization.k8s.io/v1", "Role") => round_trip::<Role>,
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => round_trip::<RoleBinding>,
        other => panic!("{object}: no type is known for {other:?}"),
    };
    let mut unknown = Vec::new();
    lost("", &object.value, &round_trip(object), &mut unknown);
    unknown
}

fn round_trip<T: DeserializeOwned + Serialize>(object: &Object) -> Value {
    serde_json::to_value(object.typed::<T>()).expect("a Kubernetes type is valid JSON")
}

fn lost(path: &str, before: &Value, after: &Value, into: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = format!("{path}/{key}");
                match after.get(key) {
                    Some(kept) => lost(&path, value, kept, into),
                    None => into.push(path),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (i, (before, after)) in before.iter().zip(after).enumerate() {
                lost(&format!("{path}/{i}"), before, after, into);
            }
        }
        _ if before == after => {}
        _ => into.push(path.to_owned()),
    }
}

#[test]
fn a_misspelt_field_is_found() {
    let mut object = objects()
        .into_iter()
        .find(|object| object.kind() == "Deployment")
        .unwrap();
    object.value["spec"]["template"]["spec"]["containers"][0]["readinessprobe"] = Value::Bool(true);
    assert_eq!(
        unknown_fields(&object),
        ["/spec/template/spec/containers/0/readinessprobe"]
    );
}
