//! Owner of the webhook's certificates: authority and leaf in one Secret, `caBundle` in the one webhook configuration.
//!
//! ```text
//!   Secret ─────────┐                                    ┌─► Secret           (secret.rs)
//!                   ├─► failover_certs::decide ──► Act ──┤
//!   configuration ──┘       (pure)                       └─► caBundle         (configuration.rs)
//! ```
//!
//! Observe, decide, act: one act at a time, each on the version that it was decided on. Two leaders at once, or a person
//! with kubectl, get a conflict and a new decision. Keys are in the Secret and nowhere else, least of all in a log.

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

/// A failed turn is taken again after a second, then ever later up to half a minute, and sooner when something changes; but
/// never sooner than the first.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// Whoever was faster is given so long to finish.
const AFTER_CONFLICT: Duration = Duration::from_millis(200);
/// However long there is nothing to do, it is checked this often: a watch may not be allowed, and a clock may be set.
const RESYNC_EVERY: Duration = Duration::from_secs(300);

const AUTHORITY: &str = "ca";
const LEAF: &str = "leaf";

#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error("cannot {verb} {object}; the certificates stay as they are")]
    Request {
        verb: &'static str,
        object: String,
        source: kube::Error,
    },
    #[error("{0} is missing: run `kubectl failover install`")]
    Missing(String),
    /// What was decided on is out of date: not a failure, only a reason to decide again.
    #[error("{0} changed in the meantime")]
    Conflict(String),
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    #[error("cannot issue a certificate")]
    Issue(#[from] IssueError),
}

/// Keeps the certificates in order for as long as it is polled. Runs on the leader only.
#[derive(Clone)]
pub struct Owner {
    pub client: Client,
    /// For watches, which are silent for longer than a request may be.
    pub watches: Client,
    pub namespace: String,
    pub metrics: Metrics,
    /// The wall clock, for what certificates say. Waiting goes by the monotonic one.
    pub now: fn() -> Timestamp,
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// Without our CRDs, which the other parts wait for, the webhook still needs its certificate.
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

    /// Turns until it is dropped.
    pub async fn run(&self) -> Infallible {
        let _shown = Shown(&self.metrics);
        let mut news = pin!(self.news());
        let mut published = Published::default();
        let mut backoff = backoff();
        loop {
            let (shortest, longest) = match self.turn(&mut published).await {
                Ok(rest) => {
                    backoff = self::backoff();
                    (Duration::ZERO, rest.min(RESYNC_EVERY))
                }
                Err(error @ TurnError::Conflict(_)) => {
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
            // Whatever it is, the next turn sees it.
            let _ = timeout(longest.saturating_sub(shortest), news.next()).await;
        }
    }

    /// Something has changed. What it is, is read anew each time; metadata alone is watched, so that keys travel no more
    /// than they must.
    fn news(&self) -> impl Stream<Item = ()> + use<> {
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

    /// Observe, decide, act, once. Says for how long nothing is due.
    async fn turn(&self, published: &mut Published) -> Result<Duration, TurnError> {
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
    ) -> Result<(), TurnError> {
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

/// A follower does not know when certificates expire: what it knew as a leader would go stale, and raise an alarm one day.
struct Shown<'a>(&'a Metrics);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.certificate_expiry.clear();
    }
}

/// Since when the bundle has been what it is, by the own monotonic clock: a controller that starts knows of no time at all.
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

/// The changes that a watch shows. One that fails is told of once, until it works again.
fn changes<K>(events: impl Stream<Item = watcher::Result<Event<K>>>) -> impl Stream<Item = ()> {
    let mut fails = false;
    events.default_backoff().filter_map(move |event| {
        let is_news = match event {
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
        std::future::ready(is_news.then_some(()))
    })
}

async fn read<K>(api: &Api<K>, name: &str, object: impl Fn() -> String) -> Result<K, TurnError>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let found = api.get(name).await;
    found.map_err(|error| failed(error, "read", object()))
}

fn failed(error: kube::Error, verb: &'static str, object: String) -> TurnError {
    match error {
        kube::Error::Api(status) if status.code == 409 => TurnError::Conflict(object),
        kube::Error::Api(status) if status.code == 404 => TurnError::Missing(object),
        source => TurnError::Request {
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
