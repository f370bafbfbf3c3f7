//! The Site: read, founded, ordered to change.

use failover_core::api::{Mode, Pause, RoleRequest, Site};
use failover_core::names::{ALLOW_DELETION_ANNOTATION, CLI_MANAGER, SITE};
use failover_core::transition::forget;
use failover_core::{Epoch, Role};
use failover_runtime::kube::field_manager;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{ApiError, Cluster, found};

/// An order, as it is written into the spec.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteWrite {
    /// The version it was decided on; the API server refuses it on any other.
    pub resource_version: String,
    pub role: Role,
    pub epoch: Epoch,
    /// `None`: as it is.
    pub mode: Option<Mode>,
    pub request: RoleRequest,
}

/// Why an order was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The Site changed since it was read: read it again, decide again.
    #[error("the Site changed in the meantime")]
    Conflict,
    #[error(transparent)]
    Api(ApiError),
}

impl Cluster {
    /// `None`: there is no Site, or not even its CRD.
    pub async fn site(&self) -> Result<Option<Site>, ApiError> {
        let sites: Api<Site> = Api::all(self.client());
        let answer = self.read("read the Site", || {
            let sites = sites.clone();
            async move { sites.get(SITE).await }
        });
        found(answer.await)
    }

    /// Founds the site. Somebody else may have done so in the same moment: that is a conflict.
    pub async fn create_site(&self, site: &Site, dry_run: bool) -> Result<Site, ApiError> {
        let params = PostParams {
            dry_run,
            ..field_manager::post(CLI_MANAGER)
        };
        Api::<Site>::all(self.client())
            .create(&params, site)
            .await
            .map_err(|error| self.error("create the Site", &error))
    }

    /// Says in writing that the Site may be deleted, which an admission policy asks for. Without a Site: nothing.
    pub async fn allow_site_deletion(&self) -> Result<(), ApiError> {
        let params = field_manager::patch(CLI_MANAGER);
        let patch = json!({"metadata": {"annotations": {ALLOW_DELETION_ANNOTATION: "true"}}});
        let answer = Api::<Site>::all(self.client())
            .patch_metadata(SITE, &params, &Patch::Merge(patch))
            .await
            .map_err(|error| self.error("allow the deletion of the Site", &error));
        found(answer).map(|_| ())
    }

    /// Pauses the site, or resumes it, on the very version that it was decided on.
    pub async fn pause(
        &self,
        resource_version: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<Site, WriteError> {
        let params = PatchParams {
            dry_run,
            ..field_manager::patch(CLI_MANAGER)
        };
        // Whole: a merge would leave the end of an older pause standing in a newer one without any.
        let patch = Patch::<()>::Json(json_patch::Patch(vec![
            add(["metadata", "resourceVersion"], json!(resource_version)),
            match pause {
                Some(pause) => add(["spec", "paused"], json!(pause)),
                None => PatchOperation::Remove(RemoveOperation {
                    path: PointerBuf::from_tokens(["spec", "paused"]),
                }),
            },
        ]));
        Api::<Site>::all(self.client())
            .patch(SITE, &params, &patch)
            .await
            .map_err(
                |error| match self.error("write the pause to the Site", &error) {
                    ApiError::Conflict { .. } => WriteError::Conflict,
                    other => WriteError::Api(other),
                },
            )
    }

    /// Has the site forget these names, on the very version that it was decided on.
    pub async fn forget(&self, site: &Site, names: &[String]) -> Result<(), WriteError> {
        let mut status = site.status.clone().unwrap_or_default();
        for name in names {
            forget(&mut status, name);
        }
        let version = site.metadata.resource_version.as_deref();
        let patch = Patch::<()>::Json(json_patch::Patch(vec![
            add(["metadata", "resourceVersion"], json!(version)),
            add(["status", "namespaces"], json!(status.namespaces)),
            add(["status", "left"], json!(status.left)),
            add(["status", "deleted"], json!(status.deleted)),
            add(["status", "policyOnly"], json!(status.policy_only)),
        ]));
        let params = field_manager::patch(CLI_MANAGER);
        Api::<Site>::all(self.client())
            .patch_status(SITE, &params, &patch)
            .await
            .map(|_| ())
            .map_err(
                |error| match self.error("write the status of the Site", &error) {
                    ApiError::Conflict { .. } => WriteError::Conflict,
                    other => WriteError::Api(other),
                },
            )
    }

    /// Writes an order, whole and on the very version it was decided on.
    pub async fn order(&self, write: &SiteWrite, dry_run: bool) -> Result<Site, WriteError> {
        let params = PatchParams {
            dry_run,
            ..field_manager::patch(CLI_MANAGER)
        };
        let patch = Patch::<()>::Json(patch(write));
        Api::<Site>::all(self.client())
            .patch(SITE, &params, &patch)
            .await
            .map_err(
                |error| match self.error("write the order to the Site", &error) {
                    ApiError::Conflict { .. } => WriteError::Conflict,
                    other => WriteError::Api(other),
                },
            )
    }
}

/// A JSON patch: a merge patch would leave parts of an older request standing inside the new one, and a PUT would drop
/// fields that this version does not know.
fn patch(write: &SiteWrite) -> json_patch::Patch {
    let mut operations = vec![
        add(
            ["metadata", "resourceVersion"],
            json!(write.resource_version),
        ),
        add(["spec", "role"], json!(write.role)),
        add(["spec", "epoch"], json!(write.epoch)),
        add(["spec", "request"], json!(write.request)),
    ];
    operations.extend(write.mode.map(|mode| add(["spec", "mode"], json!(mode))));
    json_patch::Patch(operations)
}

fn add(path: [&'static str; 2], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation {
        path: PointerBuf::from_tokens(path),
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_replaces_the_request_as_a_whole_and_carries_its_version() {
        let write = SiteWrite {
            resource_version: "42".into(),
            role: Role::Primary,
            epoch: Epoch(8),
            mode: Some(Mode::Unsafe),
            request: RoleRequest {
                id: "r1".into(),
                requested_by: "alice".into(),
                reason: "drill".into(),
                overrides: vec!["peer-unknown".into()],
                ..RoleRequest::default()
            },
        };
        assert_eq!(
            serde_json::to_value(patch(&write)).unwrap(),
            json!([
                {"op": "add", "path": "/metadata/resourceVersion", "value": "42"},
                {"op": "add", "path": "/spec/role", "value": "primary"},
                {"op": "add", "path": "/spec/epoch", "value": 8},
                {"op": "add", "path": "/spec/request", "value": {
                    "id": "r1", "requestedBy": "alice", "reason": "drill", "overrides": ["peer-unknown"]
                }},
                {"op": "add", "path": "/spec/mode", "value": "unsafe"},
            ])
        );
    }
}
