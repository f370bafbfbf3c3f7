//! Owner of the webhook's certificates: authority and leaf in one Secret, `caBundle` in the one webhook configuration.
//!
//! ```text
//!   Secret ─────────┐                                    ┌─► Secret           (secret.rs)
//!                   ├─► failover_certs::decide ──► Act ──┤
//!   configuration ──┘       (pure)                       └─► caBundle         (configuration.rs)
//! ```
//!
//! Observe, decide, act: one write at a time, each on the version that it was decided on. Two leaders at once, or a
//! person with kubectl, cause a conflict and a new decision. Keys are in the Secret only, never in a log.

mod configuration;
mod secret;

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use backon::BackoffBuilder as _;
use failover_certs::{
    Act, Expiry, IssueError, Situation, Stored, decide, expiry, issue_authority, issue_leaf,
};
use failover_core::names::{CONTROLLER_MANAGER, TLS_SECRET, WEBHOOK_CONFIGURATION};
use failover_runtime::error_chain::causes;
use failover_runtime::kube::field_manager;
use failover_runtime::kube::retry::growing;
use futures::future::{BoxFuture, ready};
use futures::{Stream, StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::metrics::{CertificateLabels, Metrics};
use crate::part::{Context, Part};
use crate::timeouts::TIMEOUTS;
use configuration::{ConfigurationError, Webhook};

/// Backoff after a failed reconcile: from 1 s up to 30 s. A change cuts the wait short, but never below the shortest.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// How long to wait after a conflict, so that the other writer can finish.
const AFTER_CONFLICT: Duration = Duration::from_millis(200);
/// Resync interval even when nothing is due: a watch may be forbidden, and the clock may be set.
const RESYNC_EVERY: Duration = Duration::from_secs(300);

const AUTHORITY: &str = "ca";
const LEAF: &str = "leaf";

#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error("cannot {verb} {object}; the certificates stay as they are")]
    Request {
        verb: &'static str,
        object: String,
        source: kube::Error,
    },
    #[error("{0} is missing: run `kubectl failover install`")]
    Missing(String),
    /// The decision was made on a stale version: not a failure, only a reason to decide again.
    #[error("{0} changed in the meantime")]
    Conflict(String),
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    #[error("cannot issue a certificate")]
    Issue(#[from] IssueError),
}

/// Maintains the certificates for as long as it is polled. Runs on the leader only.
#[derive(Clone)]
pub struct Owner {
    pub client: Client,
    /// For watches, which may be silent for longer than a request may take.
    pub watches: Client,
    pub namespace: String,
    pub metrics: Metrics,
    /// The wall clock, for validity periods. Waiting uses the monotonic clock.
    pub now: fn() -> Timestamp,
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// The webhook needs its certificate even without our CRDs, which the other parts wait for.
impl Part for Owner {
    fn synced(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }

    fn lead(&self) -> BoxFuture<'_, Infallible> {
        Box::pin(self.run())
    }
}

impl Owner {
    pub fn new(context: &Context) -> Self {
        Self {
            client: context.clients.requests.clone(),
            watches: context.clients.watches.clone(),
            namespace: context.args.namespace.clone(),
            metrics: context.metrics.clone(),
            now: Timestamp::now,
        }
    }

    /// Reconciles until it is dropped.
    pub async fn run(&self) -> Infallible {
        let _shown = Shown(&self.metrics);
        let mut any_change = pin!(self.any_change());
        let mut published = Published::default();
        let mut backoff = backoff();
        loop {
            let (shortest, longest) = match self.reconcile(&mut published).await {
                Ok(idle) => {
                    backoff = self::backoff();
                    (Duration::ZERO, idle.min(RESYNC_EVERY))
                }
                Err(error @ ReconcileError::Conflict(_)) => {
                    tracing::debug!(error = causes(&error), "reconciling the certificates again");
                    (AFTER_CONFLICT, AFTER_CONFLICT)
                }
                Err(error) => {
                    let delay = backoff.next().unwrap_or(LONGEST_BACKOFF);
                    tracing::error!(
                        error = causes(&error),
                        "cannot maintain the certificates of the webhook; trying again in {delay:.1?} at the latest"
                    );
                    (SHORTEST_BACKOFF, delay)
                }
            };
            sleep(shortest).await;
            // Whatever changed, the next reconcile reads it.
            let _ = timeout(longest.saturating_sub(shortest), any_change.next()).await;
        }
    }

    /// Yields when one of the two objects has changed; a reconcile reads both again. Only metadata is watched, so that
    /// keys are not sent more often than needed.
    fn any_change(&self) -> impl Stream<Item = ()> + use<> {
        let only = |name: &str| {
            let seconds = TIMEOUTS.watch_seconds();
            watcher::Config::default()
                .fields(&format!("metadata.name={name}"))
                .timeout(seconds)
        };
        let secrets =
            Api::<PartialObjectMeta<Secret>>::namespaced(self.watches.clone(), &self.namespace);
        let configurations =
            Api::<PartialObjectMeta<MutatingWebhookConfiguration>>::all(self.watches.clone());
        stream::select(
            changes(watcher(secrets, only(TLS_SECRET))),
            changes(watcher(configurations, only(WEBHOOK_CONFIGURATION))),
        )
    }

    /// Observe, decide, act, once. Returns for how long nothing is due.
    async fn reconcile(&self, published: &mut Published) -> Result<Duration, ReconcileError> {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let configuration =
            read(&configurations, WEBHOOK_CONFIGURATION, configuration_name).await?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = read(&secrets, TLS_SECRET, || self.secret_name()).await?;

        let webhook = Webhook::of(&configuration)?;
        let stored = secret::stored(&secret);
        self.show(expiry(&stored));
        let now = (self.now)();
        let act = decide(&Situation {
            stored: &stored,
            names: &webhook.names,
            published: &webhook.bundle,
            published_for: published.since(&webhook.bundle),
            now,
        });
        let written = match act {
            Act::Wait { until } => {
                return Ok(Duration::try_from(until.duration_since(now)).unwrap_or_default());
            }
            Act::Publish { bundle } => {
                tracing::info!(
                    configuration = WEBHOOK_CONFIGURATION,
                    "writing the trusted CAs to the webhook configuration"
                );
                let patch = Patch::<Value>::Json(webhook.patch(&configuration, &bundle));
                let patched = configurations
                    .patch(WEBHOOK_CONFIGURATION, &params(), &patch)
                    .await;
                patched
                    .map(drop)
                    .map_err(|e| failed(e, "patch", configuration_name()))
            }
            Act::NewAuthority { why, previous } => {
                tracing::info!(
                    because = why.to_string(),
                    previous_are_kept = previous.is_some(),
                    "making a new certificate authority for the webhook"
                );
                let stored = Stored {
                    authority: Some(issue_authority(now)?),
                    previous,
                    ..stored
                };
                self.store(&secrets, &secret, &stored).await
            }
            Act::NewLeaf { why } => {
                let authority = stored.authority.as_ref();
                let authority = authority.expect("decided on only where there is an authority");
                let leaf = issue_leaf(authority, &webhook.names, now)?;
                let names: Vec<_> = webhook.names.iter().map(ToString::to_string).collect();
                tracing::info!(
                    because = why.to_string(),
                    names = names.join(","),
                    "issuing a certificate for the webhook"
                );
                let stored = Stored {
                    leaf: Some(leaf),
                    ..stored
                };
                self.store(&secrets, &secret, &stored).await
            }
            Act::DropPrevious => {
                tracing::info!(
                    "every replica has had time to load the new certificate: removing the old CA"
                );
                let stored = Stored {
                    previous: None,
                    ..stored
                };
                self.store(&secrets, &secret, &stored).await
            }
        };
        written.map(|()| Duration::ZERO)
    }

    async fn store(
        &self,
        secrets: &Api<Secret>,
        secret: &Secret,
        stored: &Stored,
    ) -> Result<(), ReconcileError> {
        let patch = Patch::Merge(secret::patch(secret, stored));
        let patched = secrets.patch(TLS_SECRET, &params(), &patch).await;
        patched
            .map(drop)
            .map_err(|e| failed(e, "patch", self.secret_name()))
    }

    fn secret_name(&self) -> String {
        format!("Secret {}/{TLS_SECRET}", self.namespace)
    }

    fn show(&self, expiry: Expiry) {
        for (certificate, at) in [(AUTHORITY, expiry.authority), (LEAF, expiry.leaf)] {
            match at {
                Some(at) => self.metrics.certificate_expires(certificate, at),
                None => {
                    self.metrics.certificate_expiry.remove(&CertificateLabels {
                        certificate: certificate.to_owned(),
                    });
                }
            }
        }
    }
}

/// Clears the expiry metrics when leadership ends: a follower's values would go stale and raise a false alarm one day.
struct Shown<'a>(&'a Metrics);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.certificate_expiry.clear();
    }
}

/// Since when the bundle is unchanged, by the process's own monotonic clock. A controller that has just started begins
/// at zero.
#[derive(Debug, Default)]
struct Published(Option<(String, Instant)>);

impl Published {
    fn since(&mut self, bundle: &str) -> SignedDuration {
        match &self.0 {
            Some((known, since)) if known == bundle => {
                SignedDuration::try_from(since.elapsed()).unwrap_or(SignedDuration::MAX)
            }
            _ => {
                self.0 = Some((bundle.to_owned(), Instant::now()));
                SignedDuration::ZERO
            }
        }
    }
}

/// The changes that a watch reports. A failing watch is logged once, until it works again.
fn changes<K>(events: impl Stream<Item = watcher::Result<Event<K>>>) -> impl Stream<Item = ()> {
    let mut fails = false;
    events.default_backoff().filter_map(move |event| {
        let is_change = match event {
            Ok(Event::Init | Event::InitApply(_)) => false,
            Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => {
                fails = false;
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut fails, true) {
                    tracing::warn!(
                        error = causes(&error),
                        "cannot watch the webhook's certificates; trying again, and checking every {RESYNC_EVERY:?} until then"
                    );
                }
                false
            }
        };
        std::future::ready(is_change.then_some(()))
    })
}

async fn read<K>(api: &Api<K>, name: &str, object: impl Fn() -> String) -> Result<K, ReconcileError>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let found = api.get(name).await;
    found.map_err(|error| failed(error, "read", object()))
}

fn failed(error: kube::Error, verb: &'static str, object: String) -> ReconcileError {
    match error {
        kube::Error::Api(status) if status.code == 409 => ReconcileError::Conflict(object),
        kube::Error::Api(status) if status.code == 404 => ReconcileError::Missing(object),
        source => ReconcileError::Request {
            verb,
            object,
            source,
        },
    }
}

fn configuration_name() -> String {
    format!("MutatingWebhookConfiguration {WEBHOOK_CONFIGURATION}")
}

fn params() -> PatchParams {
    field_manager::patch(CONTROLLER_MANAGER)
}

fn backoff() -> backon::ExponentialBackoff {
    growing(SHORTEST_BACKOFF, LONGEST_BACKOFF).build()
}

#[cfg(test)]
mod tests;
