//! Writes of an object's status.

use std::fmt::Debug;

use kube::api::Api;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::field_manager;

/// Replaces the status of an object with that of `object`, provided that it is still the newest version: a 409 means
/// that the decision is stale. Returns the object as it is stored.
pub async fn replace<K>(api: &Api<K>, manager: &str, mut object: K) -> kube::Result<K>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    // Only the API server writes managed fields.
    object.meta_mut().managed_fields = None;
    api.replace_status(&object.name_any(), &field_manager::post(manager), &object)
        .await
}
