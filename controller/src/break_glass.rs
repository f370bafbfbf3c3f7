//! Enforces the role of the site where no controller runs: the same loop under the same leader Lease, in the process
//! and with the rights of a person.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use failover_core::names::{LEADER_LEASE, SYSTEM_NAMESPACE};
use failover_runtime::clients::Clients;
use failover_runtime::leader::Elector;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use kube::{Client, Config};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::args::{LeaseArgs, SiteArgs};
use crate::informers::Informers;
use crate::metrics::Metrics;
use crate::role_lock::RoleLock;
use crate::site::informers::Caches;
use crate::site::reconcile::{Dependencies, Reconciler};
use crate::timeouts::TIMEOUTS;

/// How long the caches may take to sync.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// The API's limit on `reportingInstance` of an Event.
const LONGEST_NAME: usize = 128;

#[derive(Debug, thiserror::Error)]
pub enum BreakGlassError {
    #[error("the Lease of the controllers cannot be read")]
    Lease(#[source] kube::Error),
    #[error("the environment (FAILOVER_...) has an invalid value")]
    Environment(#[source] clap::Error),
    #[error("cannot create an API client")]
    Client(#[source] kube::Error),
    #[error(
        "the watches did not sync within {SYNC_TIMEOUT:?}: the warnings say which; check that you may list and watch them"
    )]
    Unseen,
}

/// Enforces what the Site requests until `stop` is cancelled. `name` identifies this process in the Lease and in
/// Events.
///
/// It is a candidate for the leader Lease: a controller that comes back waits, and continues from the journal once the
/// Lease is released. Without the Lease object (its namespace may be gone) no controller can lead, so this continues
/// without it.
pub async fn carry_out(
    config: &Config,
    name: &str,
    stop: &CancellationToken,
) -> Result<(), BreakGlassError> {
    let clients = Clients::new(config, &TIMEOUTS).map_err(BreakGlassError::Client)?;
    let site = SiteArgs::from_environment().map_err(BreakGlassError::Environment)?;
    let lease = LeaseArgs::from_environment().map_err(BreakGlassError::Environment)?;
    let mut watches = JoinSet::new();
    let changed = Arc::<Notify>::default();
    let wake = [Arc::clone(&changed)];
    let shared = Informers::start(&clients.watches, &wake, &mut watches);
    let caches = Caches::start(
        &clients.watches,
        shared,
        changed,
        &site.lease_namespace,
        &mut watches,
    );
    // Before the Lease: a process whose caches do not sync must not keep a controller from leading.
    timeout(SYNC_TIMEOUT, caches.synced())
        .await
        .map_err(|_| BreakGlassError::Unseen)?;
    let client = &clients.requests;
    let metrics = Metrics::new();
    let name: String = name.chars().take(LONGEST_NAME).collect();
    let work = || async {
        let parts = Dependencies::new(client, &caches, &metrics, RoleLock::default(), &name, &site);
        Reconciler::new(client.clone(), parts).run().await
    };
    if has_lease(client).await.map_err(BreakGlassError::Lease)? {
        let elector = Elector::new(
            client.clone(),
            SYSTEM_NAMESPACE,
            &name,
            lease.terms(),
            Timestamp::now,
        );
        match elector.run(stop, work).await {
            Some(never) => match never {},
            None => Ok(()),
        }
    } else {
        tracing::warn!(
            "there is no Lease {LEADER_LEASE} in namespace {SYSTEM_NAMESPACE} for leader election: continuing without it"
        );
        let never: Option<Infallible> = stop.run_until_cancelled(Box::pin(work())).await;
        match never {
            Some(never) => match never {},
            None => Ok(()),
        }
    }
}

async fn has_lease(client: &Client) -> Result<bool, kube::Error> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    Ok(leases.get_opt(LEADER_LEASE).await?.is_some())
}
