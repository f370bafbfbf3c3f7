//! Writing the journal.

use failover_core::api::{Site, SiteStatus};
use failover_core::names::CONTROLLER_MANAGER;
use kube::Client;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The Site has changed since it was read: what was decided no longer counts.
    #[error("the Site changed in the meantime")]
    Conflict,
    #[error("cannot write the status of the Site")]
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
