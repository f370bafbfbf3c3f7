//! Server-side apply and removal of what is installed.

use failover_core::names::{CLI_MANAGER, SYSTEM_NAMESPACE};
use failover_runtime::kube::field_manager;
use kube::Resource as _;
use kube::api::{DeleteParams, GetParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, Request};
use serde_json::Value;

use super::{ApiError, Cluster, found};

/// An object as a manifest has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest(Value);

/// What applying a manifest did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Created,
    Configured,
    Unchanged,
}

impl Applied {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

impl Manifest {
    pub fn new(object: Value) -> Self {
        Self(object)
    }

    pub fn object(&self) -> &Value {
        &self.0
    }

    pub fn object_mut(&mut self) -> &mut Value {
        &mut self.0
    }

    pub fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn namespace(&self) -> Option<&str> {
        self.0["metadata"]["namespace"].as_str()
    }

    /// `deployment.apps/failover-webhook`, as kubectl's `-o name` has it.
    pub fn reference(&self) -> String {
        let kind = self.kind().to_lowercase();
        let group = self.kind_of_api().group;
        if group.is_empty() {
            format!("{kind}/{}", self.name())
        } else {
            format!("{kind}.{group}/{}", self.name())
        }
    }

    fn kind_of_api(&self) -> GroupVersionKind {
        let api_version = self.0["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        GroupVersionKind::gvk(group, version, self.kind())
    }

    fn request(&self) -> Request {
        let resource = ApiResource::from_gvk(&self.kind_of_api());
        Request::new(kube::core::DynamicObject::url_path(
            &resource,
            self.namespace(),
        ))
    }
}

impl Cluster {
    /// What is stored under the manifest's name; `None`: nothing.
    pub async fn stored(&self, manifest: &Manifest) -> Result<Option<Value>, ApiError> {
        let action = format!("read {}", manifest.reference());
        let answer = self
            .read(&action, || async {
                let request = manifest
                    .request()
                    .get(manifest.name(), &GetParams::default())
                    .map_err(kube::Error::BuildRequest)?;
                self.connection.client.request::<Value>(request).await
            })
            .await;
        found(answer)
    }

    /// Applies a manifest. With `force` fields that others have set are taken over.
    pub async fn apply(
        &self,
        manifest: &Manifest,
        force: bool,
        dry_run: bool,
    ) -> Result<Applied, ApiError> {
        self.apply_as(CLI_MANAGER, manifest, force, dry_run).await
    }

    /// The same under another field manager.
    pub(super) async fn apply_as(
        &self,
        manager: &str,
        manifest: &Manifest,
        force: bool,
        dry_run: bool,
    ) -> Result<Applied, ApiError> {
        let before = self.stored(manifest).await?;
        let params = PatchParams {
            dry_run,
            force,
            ..field_manager::patch(manager)
        };
        let after = self
            .patch(manifest, &params, &Patch::Apply(manifest.object()))
            .await?;
        Ok(match before {
            None => Applied::Created,
            Some(before) if is_same(&before, &after) => Applied::Unchanged,
            Some(_) => Applied::Configured,
        })
    }

    pub(super) async fn patch<P: serde::Serialize + std::fmt::Debug>(
        &self,
        manifest: &Manifest,
        params: &PatchParams,
        patch: &Patch<P>,
    ) -> Result<Value, ApiError> {
        self.send(manifest, params, patch).await.map_err(|error| {
            let action = format!("apply {}", manifest.reference());
            self.error(&action, &error)
        })
    }

    /// The same, with the error of the API server, for callers that inspect a refusal.
    pub(super) async fn send<P: serde::Serialize + std::fmt::Debug>(
        &self,
        manifest: &Manifest,
        params: &PatchParams,
        patch: &Patch<P>,
    ) -> Result<Value, kube::Error> {
        let request = manifest
            .request()
            .patch(manifest.name(), params, patch)
            .map_err(kube::Error::BuildRequest)?;
        self.connection.client.request(request).await
    }

    /// Deletes what a manifest names; `false`: it was not there.
    pub async fn remove(&self, manifest: &Manifest, dry_run: bool) -> Result<bool, ApiError> {
        let action = format!("delete {}", manifest.reference());
        let params = DeleteParams {
            dry_run,
            ..DeleteParams::background()
        };
        let request = manifest
            .request()
            .delete(manifest.name(), &params)
            .map_err(|error| self.error(&action, &kube::Error::BuildRequest(error)))?;
        let answer = self
            .connection
            .client
            .request::<Value>(request)
            .await
            .map_err(|error| self.error(&action, &error));
        found(answer).map(|answer| answer.is_some())
    }

    /// The images that the installed Deployments run, with their names; empty where nothing is installed.
    pub async fn installed_images(&self) -> Result<Vec<(String, String)>, ApiError> {
        let deployments = self
            .list("apps/v1", "deployments", SYSTEM_NAMESPACE)
            .await?;
        Ok(deployments
            .iter()
            .filter_map(|deployment: &Value| {
                let containers = &deployment["spec"]["template"]["spec"]["containers"];
                Some((
                    deployment["metadata"]["name"].as_str()?.to_owned(),
                    containers[0]["image"].as_str()?.to_owned(),
                ))
            })
            .collect())
    }
}

/// Whether applying changed nothing. A dry run gives the stored resourceVersion back even where it would change something,
/// so what counts is the rest.
fn is_same(before: &Value, after: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
        }
        if let Some(object) = object.as_object_mut() {
            object.remove("status"); // moves by itself
        }
        object
    };
    bare(before) == bare(after)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_manifest_knows_its_name_and_its_url() {
        let policy = Manifest::new(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "a", "namespace": "b"}
        }));
        assert_eq!(policy.reference(), "networkpolicy.networking.k8s.io/a");
        assert_eq!(
            policy.request().url_path,
            "/apis/networking.k8s.io/v1/namespaces/b/networkpolicies"
        );
        let namespace = Manifest::new(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}),
        );
        assert_eq!(namespace.reference(), "namespace/a");
        assert_eq!(namespace.request().url_path, "/api/v1/namespaces");
    }

    #[test]
    fn only_what_a_person_would_call_a_change_is_one() {
        let before = json!({"metadata": {"name": "a", "resourceVersion": "1", "generation": 1}, "spec": {"x": 1}, "status": {"y": 1}});
        let mut after = before.clone();
        after["metadata"]["resourceVersion"] = json!("2");
        after["status"]["y"] = json!(2);
        assert!(is_same(&before, &after));
        after["spec"]["x"] = json!(2);
        assert!(!is_same(&before, &after));
    }
}
