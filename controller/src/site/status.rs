//! Writing the journal.

use failover_core::api::{Site, SiteStatus};
use failover_core::names::CONTROLLER_MANAGER;
use kube::Client;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, PostParams};

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The Site has changed since it was read: what was decided no longer counts.
    #[error("the Site changed in the meantime")]
    Conflict,
    #[error("cannot read the Site, or write its status")]
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

/// Whether `site` is still the newest version: asked of the API server, which answers such a list from no cache. The version
/// of a Namespace does not tell whether the journal has moved on since: by a Site that comes later than the labels that
/// follow from it, a layer would be turned back.
pub async fn confirm(client: &Client, site: &Site) -> Result<(), StatusError> {
    let sites: Api<Site> = Api::all(client.clone());
    let stored = sites
        .list_metadata(&ListParams::default())
        .await
        .map_err(StatusError::Request)?;
    let is_newest = stored
        .items
        .iter()
        .any(|stored| stored.resource_version() == site.resource_version());
    if is_newest {
        Ok(())
    } else {
        Err(StatusError::Conflict)
    }
}
