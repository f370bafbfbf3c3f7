//! Founding the site: the one time a role is given rather than changed.

use std::time::Duration;

use failover_core::api::{RoleRequest, Site};
use failover_core::names::SITE;
use failover_core::{Epoch, Role};
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::{ApiError, Manifest};
use crate::error::Failure;
use crate::session::Session;

/// How soon to try again while the API server has not opened the new CRD's endpoint.
const EVERY: Duration = Duration::from_millis(200);

/// The Site as a manifest.
pub(super) fn manifest(name: &str, role: Role) -> Manifest {
    Manifest::new(json!({
        "apiVersion": "failover.dev/v1alpha1",
        "kind": "Site",
        "metadata": {"name": SITE},
        "spec": {"siteName": name, "role": role, "epoch": epoch(role)},
    }))
}

/// A primary claims the first epoch; a secondary claims nothing.
fn epoch(role: Role) -> Epoch {
    match role {
        Role::Primary => Epoch::default().next(),
        Role::Secondary => Epoch::default(),
    }
}

pub(super) async fn create(
    session: &Session<'_>,
    name: &str,
    role: Role,
    deadline: Instant,
) -> Result<(), Failure> {
    let mut site: Site = serde_json::from_value(manifest(name, role).object().clone())
        .expect("the manifest of a Site is one");
    site.spec.request = Some(RoleRequest {
        id: format!("{:032x}", rand::random::<u128>()),
        requested_by: session.cluster.user_name().await?,
        reason: "installed".to_owned(),
        ..RoleRequest::default()
    });
    loop {
        match session.cluster.create_site(&site, false).await {
            Ok(_) => return Ok(()),
            Err(ApiError::Conflict { .. }) => {
                return Err(Failure::error(
                    "someone else created the Site at the same time; the applied manifests stay",
                )
                .next("see kubectl failover status"));
            }
            Err(error @ (ApiError::NotFound { .. } | ApiError::Busy { .. })) => {
                if Instant::now() >= deadline {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(EVERY).await;
    }
}
