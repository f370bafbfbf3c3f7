//! Objects of any served kind, from their manifests.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::{Discovery, Scope};
use kube::{Api, Client};
use serde_json::Value;

/// How many are created at a time.
const AT_ONCE: usize = 16;

/// Creates many objects of a few kinds.
pub(crate) async fn create_all(client: &Client, manifests: &[Value]) -> kube::Result<()> {
    let mut apis = HashMap::new();
    for manifest in manifests {
        if let Entry::Vacant(entry) = apis.entry(place(manifest)) {
            entry.insert(api_of(client, manifest).await?);
        }
    }
    stream::iter(manifests)
        .map(|manifest| {
            let api = &apis[&place(manifest)];
            async move {
                let object: DynamicObject =
                    serde_json::from_value(manifest.clone()).expect("a manifest is an object");
                api.create(&PostParams::default(), &object).await.map(drop)
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// The key of an API.
fn place(manifest: &Value) -> [Option<&str>; 3] {
    [
        manifest["apiVersion"].as_str(),
        manifest["kind"].as_str(),
        manifest["metadata"]["namespace"].as_str(),
    ]
}

pub(crate) async fn apply(
    client: &Client,
    object: &Value,
    params: &PatchParams,
) -> kube::Result<DynamicObject> {
    let name = object["metadata"]["name"]
        .as_str()
        .expect("an object to apply has a name");
    api_of(client, object)
        .await?
        .patch(name, params, &Patch::Apply(object))
        .await
}

pub(crate) async fn api_of(client: &Client, object: &Value) -> kube::Result<Api<DynamicObject>> {
    let text = |key: &str| {
        object[key]
            .as_str()
            .expect("an object has a type")
            .to_owned()
    };
    let (group, version) = match text("apiVersion").split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), text("apiVersion")),
    };
    let gvk = kube::core::GroupVersionKind::gvk(&group, &version, &text("kind"));
    let discovery = Discovery::new(client.clone())
        .filter(&[&group])
        .run()
        .await?;
    let (resource, capabilities) = discovery.resolve_gvk(&gvk).expect("its kind is served");
    Ok(match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object["metadata"]["namespace"]
                .as_str()
                .unwrap_or("default");
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    })
}
