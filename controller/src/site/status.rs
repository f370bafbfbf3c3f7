//! Writing the journal.

use std::collections::HashSet;
use std::fmt::Debug;

use failover_core::api::{Site, SiteStatus};
use failover_core::names::CONTROLLER_MANAGER;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The Site, or a policy, has changed since it was read: what was decided no longer counts.
    #[error("what was decided on changed in the meantime")]
    Conflict,
    #[error("cannot read the journals, or write the Site's")]
    Request(#[source] kube::Error),
}

/// Replaces the status of `site`, provided that `site` is still the newest version. So a leader that has been overtaken
/// without knowing it cannot turn anything back.
pub async fn write(client: &Client, site: &Site, status: SiteStatus) -> Result<Site, StatusError> {
    let sites: Api<Site> = Api::all(client.clone());
    let mut site = site.clone();
    site.status = Some(status);
    site.metadata.managed_fields = None;
    let params = PostParams {
        field_manager: Some(CONTROLLER_MANAGER.to_owned()),
        ..PostParams::default()
    };
    sites
        .replace_status(&site.name_any(), &params, &site)
        .await
        .map_err(|error| match error {
            kube::Error::Api(status) if status.code == 409 => StatusError::Conflict,
            other => StatusError::Request(other),
        })
}

/// Whether these are all journals of their kind, and still the newest versions: asked of the API server, which answers such a list from no cache. The version
/// of a Namespace does not tell whether the journal has moved on since: by one that comes later than the labels that follow from
/// it, a layer would be turned back.
pub async fn confirm<'a, K>(
    client: &Client,
    journals: impl IntoIterator<Item = &'a K>,
) -> Result<(), StatusError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + 'a,
{
    let api: Api<K> = Api::all(client.clone());
    let stored = api
        .list_metadata(&ListParams::default())
        .await
        .map_err(StatusError::Request)?;
    let stored: HashSet<_> = stored
        .items
        .iter()
        .map(|stored| (stored.uid(), stored.resource_version()))
        .collect();
    let read: HashSet<_> = journals
        .into_iter()
        .map(|read| (read.uid(), read.resource_version()))
        .collect();
    if read == stored {
        Ok(())
    } else {
        Err(StatusError::Conflict)
    }
}
