//! The replica's own Lease: it shows the controller that this replica is alive and which revision it has observed.

use std::time::{Duration, Instant};

use failover_core::names::{ENFORCER_LABEL, NAMESPACES_ANNOTATION, REVISION_ANNOTATION};
use failover_runtime::error_chain::causes;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::readiness::{CONTACT_LIMIT, LEASE_DURATION, Readiness};
use crate::store::{SeenRevision, Store};

/// How often the Lease is renewed while nothing changes.
const EVERY: Duration = Duration::from_secs(5);

/// How often readiness is checked until there is something to report.
const UNREADY: Duration = Duration::from_millis(100);

/// How long one renewal may take in all.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How soon a failed renewal is retried.
const RETRY: Duration = Duration::from_secs(1);

// After one lost renewal the next one succeeds before answers stop.
const _: () = assert!(
    EVERY.as_secs() + TIMEOUT.as_secs() + RETRY.as_secs() + TIMEOUT.as_secs()
        <= CONTACT_LIMIT.as_secs()
);

const FIELD_MANAGER: &str = "failover-webhook";

/// Reports until it is stopped, then deletes the Lease: nobody needs to wait for a replica that has shut down cleanly.
#[expect(missing_debug_implementations, reason = "a Client has none")]
pub struct Enforcer {
    pub client: Client,
    pub namespace: String,
    pub name: String,
    pub store: Store,
    pub readiness: Readiness,
}

impl Enforcer {
    pub async fn report(self, stop: CancellationToken) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut changes = self.store.changes();
        let mut failing = false;
        while !stop.is_cancelled() {
            // A Lease says "I enforce what I have observed". Before the caches have synced it would report "no
            // namespaces", and without a certificate nobody gets an answer: then there is no Lease, or it expires.
            if self.readiness.can_enforce().is_err() {
                tokio::select! {
                    () = tokio::time::sleep(UNREADY) => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            changes.mark_unchanged();
            let seen = self.store.seen();
            let sent = Instant::now();
            let pause = match self.renew(&leases, seen).await {
                Ok(()) => {
                    self.readiness.contact(sent);
                    if std::mem::take(&mut failing) {
                        tracing::info!(lease = self.name, "the Lease is renewed again");
                    }
                    EVERY
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            lease = self.name,
                            namespace = self.namespace,
                            error = causes(&error),
                            "cannot renew the Lease; trying again every second; this replica stops answering {} s after the last renewal",
                            CONTACT_LIMIT.as_secs()
                        );
                    }
                    RETRY
                }
            };
            let changed = async {
                // At once when the observed revision changes; other changes of namespaces can wait.
                while changes.changed().await.is_ok() {
                    if self.store.seen() != seen {
                        return;
                    }
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = changed => {}
                () = stop.cancelled() => {}
            }
        }
        self.release(&leases).await;
    }

    async fn release(&self, leases: &Api<Lease>) {
        let params = DeleteParams::default();
        let deletion = leases.delete(&self.name, &params);
        let error = match tokio::time::timeout(TIMEOUT, deletion).await {
            Ok(Ok(_)) => return,
            // Never created, as by a replica that was never ready.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return,
            Ok(Err(error)) => causes(&error),
            Err(late) => late.to_string(),
        };
        tracing::warn!(
            lease = self.name,
            error,
            "the Lease could not be deleted: it expires by itself"
        );
    }

    async fn renew(&self, leases: &Api<Lease>, seen: SeenRevision) -> Result<(), RenewError> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.name,
                "labels": {ENFORCER_LABEL: "webhook"},
                "annotations": {
                    REVISION_ANNOTATION: seen.revision.to_string(),
                    NAMESPACES_ANNOTATION: seen.namespaces.to_string(),
                },
            },
            "spec": {
                "holderIdentity": self.name,
                "leaseDurationSeconds": LEASE_DURATION.as_secs(),
                "renewTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(jiff::Timestamp::now()),
            },
        });
        // Creates the Lease if it does not exist; nobody else writes it.
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&lease);
        let renewal = leases.patch(&self.name, &params, &patch);
        match tokio::time::timeout(TIMEOUT, renewal).await {
            Ok(renewed) => renewed
                .map(|_| ())
                .map_err(|e| RenewError::Refused(Box::new(e))),
            Err(_) => Err(RenewError::Late),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error(transparent)]
    Refused(Box<kube::Error>),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Late,
}
