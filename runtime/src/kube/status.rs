//! Writing the status of an object.

use std::fmt::Debug;

use kube::api::Api;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::field_manager;

/// Replaces the status of an object with what `object` says, provided that it is still the newest version: a 409 says that what
/// was decided on it no longer counts. Returns the object as it is stored.
pub async fn replace<K>(api: &Api<K>, manager: &str, mut object: K) -> kube::Result<K>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    // Only the API server writes them.
    object.meta_mut().managed_fields = None;
    api.replace_status(&object.name_any(), &field_manager::post(manager), &object)
        .await
}
