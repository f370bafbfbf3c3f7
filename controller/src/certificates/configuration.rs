//! The webhook's configuration: under which names the API server calls it, and which CAs the API server trusts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use failover_certs::Name;
use failover_core::names::{WEBHOOK_CONFIGURATION, WEBHOOK_NAME, WEBHOOK_NAMES};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, WebhookClientConfig,
};
use kube::ResourceExt as _;
use serde_json::json;

/// Why a configuration cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConfigurationError {
    #[error(
        "MutatingWebhookConfiguration {WEBHOOK_CONFIGURATION} has no webhook {WEBHOOK_NAME}: run `kubectl failover install`"
    )]
    NoWebhook,
    #[error(
        "webhook {WEBHOOK_NAME} of MutatingWebhookConfiguration {WEBHOOK_CONFIGURATION} is called at {0:?}, which names no host: run `kubectl failover install`"
    )]
    NoHost(String),
}

/// The part of a configuration that concerns our webhook. More of its entries have the same address: for new
/// Namespaces, and for the kinds of RoleRules.
#[derive(Debug)]
pub(super) struct Webhook {
    indexes: Vec<usize>,
    pub(super) names: BTreeSet<Name>,
    /// `caBundle`; empty if it is missing or differs between entries.
    pub(super) bundle: String,
}

impl Webhook {
    pub(super) fn of(
        configuration: &MutatingWebhookConfiguration,
    ) -> Result<Self, ConfigurationError> {
        let ours: Vec<_> = configuration
            .webhooks
            .iter()
            .flatten()
            .enumerate()
            .filter(|(_, webhook)| WEBHOOK_NAMES.contains(&&*webhook.name))
            .collect();
        let (_, webhook) = ours
            .iter()
            .find(|(_, webhook)| webhook.name == WEBHOOK_NAME)
            .ok_or(ConfigurationError::NoWebhook)?;
        let config = &webhook.client_config;
        let bundle = config
            .ca_bundle
            .as_ref()
            .filter(|bundle| {
                ours.iter()
                    .all(|(_, other)| other.client_config.ca_bundle.as_ref() == Some(*bundle))
            })
            .map(|bundle| &bundle.0[..]);
        Ok(Self {
            indexes: ours.iter().map(|(index, _)| *index).collect(),
            names: names(config)?,
            bundle: String::from_utf8_lossy(bundle.unwrap_or_default()).into_owned(),
        })
    }

    /// Patches the bundle only: everything else belongs to the installation. The indexes are valid for the given
    /// version only. The patch sets `resourceVersion`, so the API server refuses it on any other.
    pub(super) fn patch(
        &self,
        configuration: &MutatingWebhookConfiguration,
        bundle: &str,
    ) -> json_patch::Patch {
        let version = configuration.resource_version();
        let lock = json!({ "op": "add", "path": "/metadata/resourceVersion", "value": version });
        let bundles = self.indexes.iter().map(|index| {
            json!({
                "op": "add",
                "path": format!("/webhooks/{index}/clientConfig/caBundle"),
                "value": ByteString(bundle.as_bytes().to_vec()),
            })
        });
        let value: Vec<_> = std::iter::once(lock).chain(bundles).collect();
        serde_json::from_value(value.into()).expect("operations of known form")
    }
}

/// The names under which API servers call the webhook.
fn names(config: &WebhookClientConfig) -> Result<BTreeSet<Name>, ConfigurationError> {
    if let Some(service) = &config.service {
        let (name, namespace) = (&service.name, &service.namespace);
        // The API server verifies the first; the second is for people who connect from inside the cluster.
        return Ok(["svc", "svc.cluster.local"]
            .map(|suffix| Name::Dns(format!("{name}.{namespace}.{suffix}")))
            .into());
    }
    let url = config.url.clone().unwrap_or_default();
    let host = url.parse::<http::Uri>().ok().and_then(|uri| {
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then(|| host.to_owned())
    });
    let host = host.ok_or(ConfigurationError::NoHost(url))?;
    let name = host
        .parse::<IpAddr>()
        .map_or_else(|_| Name::Dns(host.clone()), Name::Ip);
    Ok([name].into())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::Value;

    use super::*;

    fn configuration(webhooks: &[(&str, Value)]) -> MutatingWebhookConfiguration {
        let webhooks: Vec<_> = webhooks
            .iter()
            .map(|(name, config)| {
                json!({
                    "name": name, "clientConfig": config,
                    "admissionReviewVersions": ["v1"], "sideEffects": "None",
                })
            })
            .collect();
        serde_json::from_value(
            json!({ "metadata": { "resourceVersion": "7" }, "webhooks": webhooks }),
        )
        .unwrap()
    }

    fn ours(config: Value) -> MutatingWebhookConfiguration {
        configuration(&[("mutate.failover.dev", config)])
    }

    #[rstest]
    #[case("https://127.0.0.1:8443/mutate", &["127.0.0.1"])]
    #[case("https://[::1]:8443/mutate", &["::1"])]
    #[case("https://webhook.example.com/mutate", &["webhook.example.com"])]
    fn a_url_yields_its_host_as_the_name(#[case] url: &str, #[case] expected: &[&str]) {
        let webhook = Webhook::of(&ours(json!({ "url": url }))).unwrap();
        let names: Vec<String> = webhook.names.iter().map(ToString::to_string).collect();
        assert_eq!(names, expected);
        let is_address = expected[0].parse::<IpAddr>().is_ok();
        assert_eq!(
            matches!(webhook.names.first(), Some(Name::Ip(_))),
            is_address
        );
    }

    #[test]
    fn a_service_yields_its_cluster_dns_names() {
        let service = json!({ "service": { "name": "hook", "namespace": "ours", "port": 443 } });
        let names = Webhook::of(&ours(service)).unwrap().names;
        let expected = ["hook.ours.svc", "hook.ours.svc.cluster.local"];
        assert_eq!(names, expected.map(|name| Name::Dns(name.into())).into());
    }

    #[rstest]
    #[case(json!({}), "")]
    #[case(json!({ "url": "/mutate" }), "/mutate")]
    fn an_address_without_host_is_an_error_that_shows_it(#[case] config: Value, #[case] url: &str) {
        let error = Webhook::of(&ours(config)).unwrap_err();
        assert_eq!(error, ConfigurationError::NoHost(url.into()));
    }

    #[test]
    fn a_configuration_without_our_webhook_is_an_error_with_a_hint() {
        let other = configuration(&[("other", json!({ "url": "https://a" }))]);
        for configuration in [other, MutatingWebhookConfiguration::default()] {
            let error = Webhook::of(&configuration).unwrap_err();
            assert!(
                error.to_string().contains("kubectl failover install"),
                "{error}"
            );
        }
    }

    #[test]
    fn only_our_bundle_is_patched_whatever_the_position_of_our_webhook() {
        let url = json!({ "url": "https://127.0.0.1/mutate" });
        let configuration = configuration(&[("other", url.clone()), ("mutate.failover.dev", url)]);
        let webhook = Webhook::of(&configuration).unwrap();
        assert_eq!(webhook.bundle, "");
        let before = serde_json::to_value(&configuration).unwrap();
        let mut after = before.clone();
        json_patch::patch(&mut after, &webhook.patch(&configuration, "PEM")).unwrap();
        let mut expected = before;
        expected["webhooks"][1]["clientConfig"]["caBundle"] = json!("UEVN");
        assert_eq!(after, expected);
        let written: MutatingWebhookConfiguration = serde_json::from_value(after).unwrap();
        assert_eq!(Webhook::of(&written).unwrap().bundle, "PEM");
    }

    #[rstest]
    fn all_our_entries_get_the_same_bundle_and_differing_bundles_count_as_none(
        #[values("rolerules.failover.dev", "namespaces.failover.dev")] name: &str,
    ) {
        let config =
            |bundle: &str| json!({ "url": "https://127.0.0.1/mutate", "caBundle": bundle });
        let configuration = configuration(&[
            (name, config("bmV3")),
            ("mutate.failover.dev", config("b2xk")),
        ]);
        let webhook = Webhook::of(&configuration).unwrap();
        assert_eq!(webhook.bundle, "", "they differ");
        let mut after = serde_json::to_value(&configuration).unwrap();
        json_patch::patch(&mut after, &webhook.patch(&configuration, "PEM")).unwrap();
        let written: MutatingWebhookConfiguration = serde_json::from_value(after).unwrap();
        assert_eq!(Webhook::of(&written).unwrap().bundle, "PEM");
    }
}
