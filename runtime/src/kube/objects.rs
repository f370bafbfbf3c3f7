//! The objects of one kind in one namespace, as raw JSON.
//!
//! Raw, because a rewrite is made on the stored object, and a typed round trip loses unknown fields. Below kube's
//! `Api`, because a sweep must distinguish what kube folds into one error: a conflict, an expired page token, a server
//! that asks to try again later (with its `Retry-After`), a refusal of this one object, and an unavailable server.
//! Bodies are never logged.

use failover_core::Rule;
use failover_core::names::{CONTROLLER_MANAGER, PREVIEW_MANAGER};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, Preconditions};
use kube::client::Body;
use kube::core::Request;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::error::{ObjectError, classify, retry_after, unavailable};
use super::field_manager;
use super::paging::{Page, Paging};
use super::retry::patiently;
use crate::off_task::off_task;

/// Objects per page.
pub const PAGE: u32 = 250;

/// The type that an object of a list is parsed as: a [`Value`] as it is stored, or
/// [`Lean`](failover_core::json::lean::Lean).
pub trait Item: DeserializeOwned + Send + 'static {}

impl<T: DeserializeOwned + Send + 'static> Item for T {}

/// The path of the objects of a kind, in one namespace or in none.
pub fn url(api_version: &str, resource: &str, namespace: Option<&str>) -> String {
    let root = if api_version.contains('/') {
        "/apis"
    } else {
        "/api"
    };
    let within = namespace.map_or_else(String::new, |name| format!("/namespaces/{name}"));
    format!("{root}/{api_version}{within}/{resource}")
}

/// Reads and writes the objects of one rule in one namespace.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    request: Request,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Objects({})", self.request.url_path)
    }
}

impl Objects {
    pub fn new(client: &Client, rule: &Rule, namespace: &str) -> Self {
        Self::at(client, &rule.api_version(), &rule.resource, Some(namespace))
    }

    /// The objects of one kind, in one namespace or in none.
    pub fn at(client: &Client, api_version: &str, resource: &str, namespace: Option<&str>) -> Self {
        Self {
            client: client.clone(),
            request: Request::new(url(api_version, resource, namespace)),
        }
    }

    /// All of them.
    pub async fn all<T: Item>(&self) -> Result<Vec<T>, ObjectError> {
        let mut all = Vec::new();
        let mut paging = Paging::new(PAGE);
        while let Some(params) = paging.next() {
            match self.page(&params).await {
                Err(ObjectError::Expired) if paging.restart() => all.clear(),
                page => all.extend(paging.turn(page?)),
            }
        }
        Ok(all)
    }

    /// One page.
    pub async fn page<T: Item>(&self, params: &ListParams) -> Result<Page<T>, ObjectError> {
        patiently(|| self.send(self.request.list(params))).await
    }

    pub async fn read(&self, name: &str) -> Result<Value, ObjectError> {
        self.send(self.request.get(name, &GetParams::default()))
            .await
    }

    /// Sends an empty patch, so that the object is admitted again: the webhook applies the rule, and nobody becomes the
    /// owner of a field.
    pub async fn readmit(&self, name: &str) -> Result<Value, ObjectError> {
        self.send(
            self.request
                .patch(name, &manager(), &Patch::Merge(json!({}))),
        )
        .await
    }

    /// Writes a rewrite that was made on `resource_version`; it applies to no other version.
    pub async fn rewrite(
        &self,
        name: &str,
        rewrite: &json_patch::Patch,
        resource_version: &str,
    ) -> Result<Value, ObjectError> {
        let patch = Patch::<()>::Json(locked(rewrite, resource_version));
        self.send(self.request.patch(name, &manager(), &patch))
            .await
    }

    /// Checks with a dry run whether a rewrite that was made on `resource_version` would be accepted. Nothing is
    /// stored.
    pub async fn preview(
        &self,
        name: &str,
        rewrite: &json_patch::Patch,
        resource_version: &str,
    ) -> Result<(), ObjectError> {
        let params = PatchParams {
            dry_run: true,
            ..field_manager::patch(PREVIEW_MANAGER)
        };
        let patch = Patch::<()>::Json(locked(rewrite, resource_version));
        let request = self.request.patch(name, &params, &patch);
        self.send::<IgnoredAny>(request).await.map(|_| ())
    }

    /// Changes some fields of an object.
    pub async fn merge(&self, name: &str, change: &Value) -> Result<Value, ObjectError> {
        self.send(self.request.patch(name, &manager(), &Patch::Merge(change)))
            .await
    }

    /// Changes some fields of an object's status.
    pub async fn merge_status(&self, name: &str, change: &Value) -> Result<Value, ObjectError> {
        let patch = Patch::Merge(change);
        let request = self
            .request
            .patch_subresource("status", name, &manager(), &patch);
        self.send(request).await
    }

    /// Deletes an object with its own grace period, provided that it has this uid.
    pub async fn delete(&self, name: &str, uid: &str) -> Result<(), ObjectError> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let _: Value = self.send(self.request.delete(name, &params)).await?;
        Ok(())
    }

    async fn send<T: Item>(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ObjectError> {
        let request = request.map_err(|e| ObjectError::Refused {
            status: 0,
            message: e.to_string(),
        })?;
        let response = self
            .client
            .send(request.map(Body::from))
            .await
            .map_err(|e| unavailable(&e))?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|e| unavailable(&e))?
            .to_bytes();
        if status.is_success() {
            return parsed(body).await.map_err(|e| ObjectError::Refused {
                status: status.as_u16(),
                message: format!("unreadable answer: {e}"),
            });
        }
        Err(classify(status, retry_after, &body))
    }
}

/// Larger answers take so long to parse that other work on the task, such as the renewal of the Lease, must not wait
/// for it.
const PARSED_IN_PLACE: usize = 64 * 1024;

async fn parsed<T: Item>(body: impl AsRef<[u8]> + Send + 'static) -> Result<T, serde_json::Error> {
    if body.as_ref().len() <= PARSED_IN_PLACE {
        return serde_json::from_slice(body.as_ref());
    }
    off_task(move || serde_json::from_slice(body.as_ref())).await
}

fn manager() -> PatchParams {
    field_manager::patch(CONTROLLER_MANAGER)
}

/// The rewrite, preceded by a write of the version it was made on: the API server answers 409 if that is not the
/// current one.
fn locked(rewrite: &json_patch::Patch, resource_version: &str) -> json_patch::Patch {
    let lock = json_patch::PatchOperation::Add(json_patch::AddOperation {
        path: json_patch::jsonptr::PointerBuf::from_tokens(["metadata", "resourceVersion"]),
        value: json!(resource_version),
    });
    json_patch::Patch(
        std::iter::once(lock)
            .chain(rewrite.0.iter().cloned())
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_carries_the_version_it_was_made_on_first() {
        let rewrite: json_patch::Patch =
            serde_json::from_value(json!([{ "op": "add", "path": "/spec/replicas", "value": 0 }]))
                .unwrap();
        assert_eq!(
            serde_json::to_value(locked(&rewrite, "42")).unwrap(),
            json!([
                { "op": "add", "path": "/metadata/resourceVersion", "value": "42" },
                { "op": "add", "path": "/spec/replicas", "value": 0 }
            ])
        );
    }
}
