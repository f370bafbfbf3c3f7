//! Watched caches that the loop decides on: the shared ones and its own.

use std::sync::Arc;

use failover_core::api::FailoverPolicy;
use failover_runtime::kube::watch::{Watching, config, raw};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::runtime::reflector::Store;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::exemptions::ExemptLabels;
use super::origins::OriginWatches;
use crate::informers::Informers;
use crate::timeouts::TIMEOUTS;

/// The caches.
#[derive(Clone, Debug)]
pub struct Caches {
    pub shared: Informers,
    pub failover_policies: Store<FailoverPolicy>,
    pub exempt: ExemptLabels,
    pub origins: OriginWatches,
    pub enforcer_leases: Store<Lease>,
    pub(crate) changed: Arc<Notify>,
}

impl Caches {
    /// Starts the watches. They notify `changed`, as those of `shared` do, and end when `tasks` is dropped.
    pub fn start(
        client: &Client,
        shared: Informers,
        changed: Arc<Notify>,
        lease_namespace: &str,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let wake = &[Arc::clone(&changed)][..];
        let role_rules = &shared.role_rules;
        let mut watching = Watching {
            client,
            unreadable: &shared.unreadable,
            tasks,
        };
        Self {
            failover_policies: watching.all(config(&TIMEOUTS), wake, |_| None),
            enforcer_leases: watching.start(
                raw::<Lease>(client, Some(lease_namespace)),
                config(&TIMEOUTS),
                wake,
                |_| None,
            ),
            origins: OriginWatches::start(client, role_rules, &changed, watching.tasks),
            exempt: ExemptLabels::start(client, role_rules.clone(), &changed, watching.tasks),
            shared,
            changed,
        }
    }

    /// Waits until every cache has synced.
    pub async fn synced(&self) {
        // An error means that the watch has ended, which happens only with the process.
        let _ = tokio::join!(
            self.shared.synced(),
            self.failover_policies.wait_until_ready(),
            self.enforcer_leases.wait_until_ready(),
        );
    }

    /// Waits until something has changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
