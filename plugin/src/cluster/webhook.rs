//! Whether our webhook is configured, and whether the API server has been told whom to trust.

use failover_core::names::{WEBHOOK_CONFIGURATION, WEBHOOK_NAME};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::Api;

use super::{ApiError, Cluster, found};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookState {
    /// The configuration is there, with our webhook in it.
    pub configured: bool,
    /// The controller has written its `caBundle`.
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
        let webhook = configuration
            .webhooks
            .into_iter()
            .flatten()
            .find(|webhook| webhook.name == WEBHOOK_NAME);
        Ok(match webhook {
            None => WebhookState::default(),
            Some(webhook) => WebhookState {
                configured: true,
                trusted: webhook
                    .client_config
                    .ca_bundle
                    .is_some_and(|bundle| !bundle.0.is_empty()),
            },
        })
    }
}
