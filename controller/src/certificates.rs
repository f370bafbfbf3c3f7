//! Owner of the webhook's certificates: authority and leaf in one Secret, `caBundle` in the one webhook configuration.
//!
//! What to do is `failover_certs::decide`; here it is observed and done, one act at a time, each on the version that it was
//! decided on. Two leaders at once, or a person with kubectl, get a conflict and a new decision.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use failover_certs::{
    Act, IssueError, Name, Pair, Situation, Stored, decide, issue_authority, issue_leaf,
    leaf_expiry,
};
use failover_core::names::{CONTROLLER_MANAGER, TLS_SECRET, WEBHOOK_CONFIGURATION, WEBHOOK_NAME};
use futures::{Stream, StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::causes::causes;
use crate::client::WATCH_TIMEOUT;
use crate::metrics::Metrics;

/// How soon after a failure it is tried again, and the longest it takes after several.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// However long there is nothing to do, it is looked at this often: a watch may have missed something.
const LOOK_EVERY: Duration = Duration::from_secs(300);

const KEYS: [&str; 5] = ["ca.crt", "ca.key", "tls.crt", "tls.key", "ca-previous.crt"];

#[derive(Debug, thiserror::Error)]
enum CertificatesError {
    #[error("cannot {verb} {what}")]
    Request {
        verb: &'static str,
        what: String,
        source: kube::Error,
    },
    #[error("{what} is missing: run `kubectl failover install`")]
    Missing { what: String },
    #[error(
        "MutatingWebhookConfiguration {WEBHOOK_CONFIGURATION} has no webhook {WEBHOOK_NAME}: run `kubectl failover install`"
    )]
    NoWebhook,
    #[error("the address of webhook {WEBHOOK_NAME} names no host: {0}")]
    NoHost(String),
    #[error("a certificate cannot be issued")]
    Issue(#[from] IssueError),
}

/// Keeps the certificates in order for as long as it is polled.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a Client has none")]
pub struct Owner {
    pub client: Client,
    /// For watches, which are silent for longer than a request may be.
    pub watches: Client,
    pub namespace: String,
    pub metrics: Metrics,
}

impl Owner {
    pub async fn run(&self) -> Infallible {
        let mut news = std::pin::pin!(self.news());
        let mut published = Published::default();
        let mut failures = 0;
        loop {
            let pause = match self.step(&mut published).await {
                Ok(Next::Again) => continue,
                Ok(Next::In(pause)) => {
                    failures = 0;
                    pause.min(LOOK_EVERY)
                }
                Err(error) => {
                    failures += 1;
                    let pause = (RETRY * 2u32.pow(failures.min(6) - 1)).min(LONGEST_RETRY);
                    tracing::warn!(error = causes(&error), again_in = ?pause, "the webhook's certificates cannot be looked after");
                    pause
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = news.next() => {}
            }
        }
    }

    /// Something may have changed. What it is, is read anew each time.
    fn news(&self) -> impl Stream<Item = ()> + use<> {
        let only = |name: &str| {
            let seconds = u32::try_from(WATCH_TIMEOUT.as_secs()).expect("less than a day");
            watcher::Config::default()
                .fields(&format!("metadata.name={name}"))
                .timeout(seconds)
        };
        let secrets = watcher(
            Api::<Secret>::namespaced(self.watches.clone(), &self.namespace),
            only(TLS_SECRET),
        );
        let configurations = watcher(
            Api::<MutatingWebhookConfiguration>::all(self.watches.clone()),
            only(WEBHOOK_CONFIGURATION),
        );
        let secrets = secrets.default_backoff().map(|_| ());
        let configurations = configurations.default_backoff().map(|_| ());
        stream::select(secrets, configurations)
    }

    /// Observe, decide, act, once.
    async fn step(&self, published: &mut Published) -> Result<Next, CertificatesError> {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let configuration = configurations
            .get_opt(WEBHOOK_CONFIGURATION)
            .await
            .map_err(|source| CertificatesError::Request {
                verb: "get",
                what: configuration_name(),
                source,
            })?;
        let configuration = configuration.ok_or_else(|| CertificatesError::Missing {
            what: configuration_name(),
        })?;
        let what = || format!("Secret {}/{TLS_SECRET}", self.namespace);
        let secret = secrets
            .get_opt(TLS_SECRET)
            .await
            .map_err(|source| CertificatesError::Request {
                verb: "get",
                what: what(),
                source,
            })?
            .ok_or_else(|| CertificatesError::Missing { what: what() })?;

        let (index, webhook) = our_webhook(&configuration)?;
        let names = names_of(&webhook.client_config)?;
        let bundle = webhook
            .client_config
            .ca_bundle
            .as_ref()
            .map(|b| String::from_utf8_lossy(&b.0).into_owned());
        let bundle = bundle.unwrap_or_default();
        let stored = stored(secret.data.as_ref());
        if let Some(at) = leaf_expiry(&stored) {
            self.metrics.certificate_expires("leaf", at);
        }
        let now = Timestamp::now();
        let situation = Situation {
            stored: &stored,
            names: &names,
            published: &bundle,
            published_for: published.since(&bundle),
            now,
        };
        let changed = match decide(&situation) {
            Act::Wait { until } => {
                let pause = Duration::try_from(until.duration_since(now)).unwrap_or(RETRY);
                return Ok(Next::In(pause));
            }
            Act::NewAuthority { previous } => {
                tracing::info!(
                    previous = previous.is_some(),
                    "issuing a certificate authority for the webhook"
                );
                let authority = issue_authority(now)?;
                Stored {
                    authority: Some(authority),
                    previous,
                    ..stored
                }
            }
            Act::NewLeaf => {
                let authority = stored
                    .authority
                    .as_ref()
                    .expect("a leaf is decided on only with an authority");
                let leaf = issue_leaf(authority, &names, now)?;
                let names: Vec<_> = names.iter().map(ToString::to_string).collect();
                tracing::info!(
                    names = names.join(","),
                    "issuing a certificate for the webhook"
                );
                Stored {
                    leaf: Some(leaf),
                    ..stored
                }
            }
            Act::DropPrevious => {
                tracing::info!(
                    "every replica has had time to take the new certificate: dropping the old authority"
                );
                Stored {
                    previous: None,
                    ..stored
                }
            }
            Act::Publish { bundle } => {
                tracing::info!(
                    configuration = WEBHOOK_CONFIGURATION,
                    "publishing the authorities to trust"
                );
                let patch = bundle_patch(&configuration, index, &bundle);
                let patched = configurations
                    .patch(
                        WEBHOOK_CONFIGURATION,
                        &params(),
                        &Patch::<Value>::Json(patch),
                    )
                    .await
                    .map(|_| ());
                return again_after(patched, configuration_name);
            }
        };
        let patched = secrets
            .patch(
                TLS_SECRET,
                &params(),
                &Patch::Merge(secret_patch(&secret, &changed)),
            )
            .await;
        again_after(patched.map(|_| ()), what)
    }
}

/// When to look next.
enum Next {
    Again,
    In(Duration),
}

/// A conflict is no failure: somebody was faster, and what is so now is decided upon anew.
fn again_after(
    written: kube::Result<()>,
    what: impl Fn() -> String,
) -> Result<Next, CertificatesError> {
    match written {
        Ok(()) => Ok(Next::Again),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Next::Again),
        Err(source) => Err(CertificatesError::Request {
            verb: "patch",
            what: what(),
            source,
        }),
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

fn configuration_name() -> String {
    format!("MutatingWebhookConfiguration {WEBHOOK_CONFIGURATION}")
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(CONTROLLER_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn our_webhook(
    configuration: &MutatingWebhookConfiguration,
) -> Result<(usize, &MutatingWebhook), CertificatesError> {
    let webhooks = configuration.webhooks.iter().flatten().enumerate();
    webhooks
        .into_iter()
        .find(|(_, webhook)| webhook.name == WEBHOOK_NAME)
        .ok_or(CertificatesError::NoWebhook)
}

/// The names under which API servers call the webhook, from the configuration itself.
fn names_of(config: &WebhookClientConfig) -> Result<BTreeSet<Name>, CertificatesError> {
    if let Some(service) = &config.service {
        let (name, namespace) = (&service.name, &service.namespace);
        // The API server asks for the first; the others are for people who look from inside the cluster.
        return Ok(["svc", "svc.cluster.local"]
            .map(|suffix| Name::Dns(format!("{name}.{namespace}.{suffix}")))
            .into());
    }
    let url = config.url.clone().unwrap_or_default();
    let host = url
        .parse::<http::Uri>()
        .ok()
        .and_then(|uri| uri.host().map(str::to_owned));
    let host = host
        .filter(|host| !host.is_empty())
        .ok_or(CertificatesError::NoHost(url))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    Ok([bare
        .parse::<IpAddr>()
        .map_or_else(|_| Name::Dns(host.clone()), Name::Ip)]
    .into())
}

/// The bundle alone, on the version it was decided on. The index is that of the same version.
fn bundle_patch(
    configuration: &MutatingWebhookConfiguration,
    index: usize,
    bundle: &str,
) -> json_patch::Patch {
    let value = json!([
        {"op": "add", "path": "/metadata/resourceVersion", "value": configuration.resource_version()},
        {
            "op": "add",
            "path": format!("/webhooks/{index}/clientConfig/caBundle"),
            "value": ByteString(bundle.as_bytes().to_vec()),
        },
    ]);
    serde_json::from_value(value).expect("two operations of known form")
}

fn stored(data: Option<&BTreeMap<String, ByteString>>) -> Stored {
    let text = |key: &str| {
        Some(String::from_utf8_lossy(&data?.get(key)?.0).into_owned()).filter(|t| !t.is_empty())
    };
    let pair = |certificate: &str, key: &str| {
        Some(Pair {
            certificate: text(certificate)?,
            key: text(key)?,
        })
    };
    let [ca, ca_key, leaf, leaf_key, previous] = KEYS;
    Stored {
        authority: pair(ca, ca_key),
        leaf: pair(leaf, leaf_key),
        previous: text(previous),
    }
}

/// All five keys, so that nothing of an older state is left beside the new one.
fn secret_patch(secret: &Secret, stored: &Stored) -> Value {
    let bytes = |text: Option<&String>| text.map(|text| ByteString(text.as_bytes().to_vec()));
    let authority = stored.authority.as_ref();
    let leaf = stored.leaf.as_ref();
    let [ca, ca_key, tls, tls_key, previous] = KEYS;
    json!({
        "metadata": {"resourceVersion": secret.resource_version()},
        "data": {
            ca: bytes(authority.map(|pair| &pair.certificate)),
            ca_key: bytes(authority.map(|pair| &pair.key)),
            tls: bytes(leaf.map(|pair| &pair.certificate)),
            tls_key: bytes(leaf.map(|pair| &pair.key)),
            previous: bytes(stored.previous.as_ref()),
        },
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::admissionregistration::v1::ServiceReference;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://127.0.0.1:8443/mutate", Name::Ip([127, 0, 0, 1].into()))]
    #[case("https://[::1]:8443/mutate", Name::Ip("::1".parse::<IpAddr>().unwrap()))]
    #[case("https://webhook.example.com/mutate", Name::Dns("webhook.example.com".into()))]
    fn a_url_is_for_its_host(#[case] url: &str, #[case] name: Name) {
        let config = WebhookClientConfig {
            url: Some(url.into()),
            ..WebhookClientConfig::default()
        };
        assert_eq!(names_of(&config).unwrap(), [name].into());
    }

    #[test]
    fn a_service_is_for_its_names_in_the_cluster() {
        let service = ServiceReference {
            name: "hook".into(),
            namespace: "ours".into(),
            ..ServiceReference::default()
        };
        let config = WebhookClientConfig {
            service: Some(service),
            ..WebhookClientConfig::default()
        };
        assert!(
            names_of(&config)
                .unwrap()
                .contains(&Name::Dns("hook.ours.svc".into()))
        );
    }

    #[test]
    fn an_address_without_host_is_an_error_that_shows_it() {
        let error = names_of(&WebhookClientConfig::default()).unwrap_err();
        assert!(error.to_string().contains("names no host"), "{error}");
    }

    #[test]
    fn what_is_written_into_the_secret_is_read_back() {
        let pair = |text: &str| Pair {
            certificate: format!("{text} certificate"),
            key: format!("{text} key"),
        };
        for stored_before in [
            Stored::default(),
            Stored {
                authority: Some(pair("ca")),
                leaf: None,
                previous: None,
            },
            Stored {
                authority: Some(pair("ca")),
                leaf: Some(pair("leaf")),
                previous: Some("old".into()),
            },
        ] {
            let patch = secret_patch(&Secret::default(), &stored_before);
            let data = patch["data"]
                .as_object()
                .unwrap()
                .iter()
                .filter(|(_, v)| !v.is_null());
            let data = data
                .map(|(k, v)| (k.clone(), serde_json::from_value(v.clone()).unwrap()))
                .collect();
            assert_eq!(stored(Some(&data)), stored_before);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_bundle_counts_as_published_from_when_it_was_first_seen() {
        let mut published = Published::default();
        assert_eq!(published.since("a"), SignedDuration::ZERO);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(published.since("a"), SignedDuration::from_secs(5));
        assert_eq!(published.since("b"), SignedDuration::ZERO);
    }
}
