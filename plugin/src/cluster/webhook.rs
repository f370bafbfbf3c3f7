//! Whether our webhook is configured, and whether the API server has a CA bundle for it.

use failover_core::names::{WEBHOOK_CONFIGURATION, WEBHOOK_NAME, WEBHOOK_NAMES};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use kube::api::Api;

use super::{ApiError, Cluster, found};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookState {
    /// The configuration is there, with our webhook in it.
    pub configured: bool,
    /// The controller has written the `caBundle` of every entry of ours.
    pub trusted: bool,
}

impl Cluster {
    pub async fn webhook(&self) -> Result<WebhookState, ApiError> {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client());
        let answer = self.read("read the webhook configuration failover.dev", || {
            let configurations = configurations.clone();
            async move { configurations.get(WEBHOOK_CONFIGURATION).await }
        });
        let Some(configuration) = found(answer.await)? else {
            return Ok(WebhookState::default());
        };
        let webhooks = configuration.webhooks.into_iter().flatten();
        let ours: Vec<_> = webhooks
            .filter(|webhook| WEBHOOK_NAMES.contains(&&*webhook.name))
            .collect();
        let has_bundle = |webhook: &MutatingWebhook| {
            let bundle = webhook.client_config.ca_bundle.as_ref();
            bundle.is_some_and(|bundle| !bundle.0.is_empty())
        };
        if !ours.iter().any(|webhook| webhook.name == WEBHOOK_NAME) {
            return Ok(WebhookState::default());
        }
        Ok(WebhookState {
            configured: true,
            trusted: ours.iter().all(has_bundle),
        })
    }
}
