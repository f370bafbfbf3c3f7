//! Flux cannot undo a failover: the real source-, kustomize- and helm-controller, fed from Git, against an installed site.

mod commits;
mod force;
mod helm;
mod new_release;
mod retired;
mod standby;

use std::collections::BTreeMap;

use failover_core::names::RESTORE_ANNOTATION;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use testbed::fixtures;
use testbed::flux::{self, Flux};
use testbed::site::{Deadlines, Options, Site};

/// The one namespace of applications.
const NAMESPACE: &str = "shop";

/// A site whose applications come from Git.
struct Fed {
    // Dropped before the control plane that it writes to.
    flux: Flux,
    site: Site,
}

impl Fed {
    /// A primary site with one enrolled namespace, nodes for its pods, and a Flux that follows an empty repository.
    async fn start() -> Self {
        Self::start_with(Deadlines::default()).await
    }

    /// The same, with these deadlines of the controller.
    async fn start_with(deadlines: Deadlines) -> Self {
        let site = Site::start(Options {
            nodes: 1,
            deadlines,
            ..Options::default()
        })
        .await
        .unwrap();
        site.enrolled_namespace(NAMESPACE).await;
        let flux = Flux::start(&site.plane).await.unwrap();
        Self { flux, site }
    }

    /// Writes an object into the repository, in a folder of its kind.
    fn write(&self, manifest: &Value) {
        let name = manifest["metadata"]["name"].as_str().unwrap();
        let path = format!("apps/{}/{name}.yaml", folder(manifest));
        let text = serde_json::to_string_pretty(manifest).unwrap();
        self.flux.repository.write(&path, &text).unwrap();
    }

    /// Removes an object from the repository.
    fn remove(&self, manifest: &Value) {
        let name = manifest["metadata"]["name"].as_str().unwrap();
        let path = format!("apps/{}/{name}.yaml", folder(manifest));
        self.flux.repository.remove(&path).unwrap();
    }

    /// Writes a chart of one Deployment, named as its release, into the repository.
    fn write_chart(&self) {
        let files = [
            (
                "Chart.yaml",
                "{apiVersion: v2, name: app, version: 1.0.0}".to_owned(),
            ),
            ("values.yaml", "replicas: 1".to_owned()),
            (
                "templates/deployment.yaml",
                templated(&fixtures::deployment(NAMESPACE, "RELEASE", 1)),
            ),
        ];
        for (file, text) in files {
            let path = format!("charts/app/{file}");
            self.flux.repository.write(&path, &text).unwrap();
        }
    }
}

/// The Deployment as a template, named after the release and with replicas from the values.
fn templated(deployment: &Value) -> String {
    let mut deployment = deployment.clone();
    deployment["spec"]["replicas"] = json!("REPLICAS");
    deployment
        .to_string()
        .replace("RELEASE", "{{ .Release.Name }}")
        .replace("\"REPLICAS\"", "{{ .Values.replicas }}")
}

/// A release of the chart, in the applications' namespace.
fn release(namespace: &str, name: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "interval": "10m", "releaseName": name, "targetNamespace": NAMESPACE, "storageNamespace": NAMESPACE,
            "chart": {"spec": {
                "chart": "./charts/app",
                "sourceRef": {"kind": "GitRepository", "namespace": flux::NAMESPACE, "name": flux::SOURCE},
            }},
            "values": {"replicas": replicas},
        },
    })
}

/// The folder of objects of this kind, and the name of their Kustomization.
fn folder(manifest: &Value) -> String {
    manifest["kind"].as_str().unwrap().to_lowercase()
}

/// Objects whose versions and uids are compared, to notice every write and every recreation.
struct Watched {
    objects: Vec<(String, Api<DynamicObject>, String)>,
}

impl Watched {
    async fn new(site: &Site, manifests: &[Value]) -> Self {
        let mut objects = Vec::new();
        for manifest in manifests {
            let api = site.api_of(manifest).await.unwrap();
            let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
            objects.push((fixtures::label(manifest), api, name));
        }
        Self { objects }
    }

    /// The resourceVersion of each, by its label.
    async fn versions(&self) -> BTreeMap<String, String> {
        self.each(|metadata| metadata.resource_version).await
    }

    /// The uid of each, by its label.
    async fn uids(&self) -> BTreeMap<String, String> {
        self.each(|metadata| metadata.uid).await
    }

    async fn each(&self, of: impl Fn(ObjectMeta) -> Option<String>) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for (label, api, name) in &self.objects {
            let metadata = api.get_metadata(name).await.unwrap().metadata;
            found.insert(label.clone(), of(metadata).unwrap());
        }
        found
    }
}

#[track_caller]
fn assert_no_record(object: &DynamicObject) {
    let annotations = object.metadata.annotations.clone().unwrap_or_default();
    assert!(!annotations.contains_key(RESTORE_ANNOTATION), "{object:?}");
}
