//! The own Lease, through which the controller learns that this replica lives and what it has seen.

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

/// How often it is looked whether there is anything to report yet.
const UNREADY: Duration = Duration::from_millis(100);

/// How long one renewal may take in all.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How soon after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(1);

// One lost renewal is made up for before answers stop.
const _: () = assert!(
    EVERY.as_secs() + TIMEOUT.as_secs() + RETRY.as_secs() + TIMEOUT.as_secs()
        <= CONTACT_LIMIT.as_secs()
);

const FIELD_MANAGER: &str = "failover-webhook";

/// Reports until it is told to stop, then takes the Lease away: what is shut down in good order need not be waited for.
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
            // A Lease says "I enforce what I have seen". Before the caches are filled it would report "no namespaces", and
            // without a certificate nobody gets an answer: then there is no Lease, or it runs out.
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
                // At once when what is seen changes; other news of namespaces can wait.
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
        self.give_back(&leases).await;
    }

    async fn give_back(&self, leases: &Api<Lease>) {
        let params = DeleteParams::default();
        let deletion = leases.delete(&self.name, &params);
        let error = match tokio::time::timeout(TIMEOUT, deletion).await {
            Ok(Ok(_)) => return,
            // Never made, as by a replica that was not ready once.
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
        // Creates it where it is not there; nobody else writes it.
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
