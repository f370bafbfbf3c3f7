//! Watched caches that all parts of the controller use, filled by their own tasks.
//!
//! They run on followers too, so that a new leader starts with synced caches. A decision on a stale cache is written
//! with the version it was made on, and the API server refuses it.

use std::sync::Arc;

use failover_core::api::{RoleRule, Site, Unreadable, adopted};
use failover_core::backstop;
use failover_core::names::{ROLE_RULES_WEBHOOK_NAME, SITE, WEBHOOK_CONFIGURATION, WEBHOOK_NAME};
use failover_runtime::kube::readable::UnreadableObjects;
use failover_runtime::kube::watch::{Watching, config, watch};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::timeouts::TIMEOUTS;

/// The caches that parts share.
#[derive(Clone, Debug)]
pub struct Informers {
    pub sites: Store<Site>,
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    pub role_rules: Store<RoleRule>,
    pub webhooks: Store<MutatingWebhookConfiguration>,
    pub policies: Store<ValidatingAdmissionPolicy>,
    pub bindings: Store<ValidatingAdmissionPolicyBinding>,
    /// Objects of our own kinds that exist but cannot be read, and so are in none of the caches.
    pub unreadable: UnreadableObjects,
}

impl Informers {
    /// Starts the watches. They notify all of `wake` when something has changed, and end when `tasks` is dropped.
    pub fn start(client: &Client, wake: &[Arc<Notify>], tasks: &mut JoinSet<()>) -> Self {
        let named = |name: &str| config(&TIMEOUTS).fields(&format!("metadata.name={name}"));
        let of_the_backstop = || config(&TIMEOUTS).labels(backstop::SELECTOR);
        let unreadable = UnreadableObjects::default();
        let mut watching = Watching {
            client,
            unreadable: &unreadable,
            tasks,
        };
        Self {
            sites: watching.all(named(SITE), wake, |_| None),
            role_rules: watching.all(config(&TIMEOUTS), wake, adopted),
            webhooks: watching.all(named(WEBHOOK_CONFIGURATION), wake, |_| None),
            policies: watching.all(of_the_backstop(), wake, |_| None),
            bindings: watching.all(of_the_backstop(), wake, |_| None),
            // All of them, not only the enrolled ones: a Namespace that has left still has to lose our labels.
            namespaces: watch(
                "namespaces",
                watcher::watcher(Api::all(client.clone()), config(&TIMEOUTS)),
                wake,
                tasks,
            ),
            unreadable,
        }
    }

    /// Waits until every cache has synced.
    pub async fn synced(&self) {
        // An error means that the watch has ended, which happens only with the process.
        let _ = tokio::join!(
            self.sites.wait_until_ready(),
            self.namespaces.wait_until_ready(),
            self.role_rules.wait_until_ready(),
            self.webhooks.wait_until_ready(),
            self.policies.wait_until_ready(),
            self.bindings.wait_until_ready(),
        );
    }

    pub fn site(&self) -> Option<Arc<Site>> {
        self.sites.get(&ObjectRef::new(SITE))
    }

    /// The Site, if it exists and cannot be read.
    pub fn unreadable_site(&self) -> Option<Unreadable> {
        self.unreadable.find(&format!("Site {SITE}"))
    }

    /// Whether the webhook configuration contains our webhook.
    pub fn webhook_configured(&self) -> bool {
        self.webhooks
            .get(&ObjectRef::new(WEBHOOK_CONFIGURATION))
            .is_some_and(|configuration| has_our_webhook(&configuration))
    }

    pub fn has_policy(&self, name: &str) -> bool {
        self.policies.get(&ObjectRef::new(name)).is_some()
    }

    /// Whether a binding of that name denies.
    pub fn has_binding(&self, name: &str) -> bool {
        self.bindings
            .get(&ObjectRef::new(name))
            .and_then(|binding| binding.spec.clone()?.validation_actions)
            .is_some_and(|actions| actions.iter().any(|action| action == "Deny"))
    }

    /// The webhook rules for the kinds of RoleRules.
    pub fn webhook_rules(&self) -> Vec<serde_json::Value> {
        let configuration = self.webhooks.get(&ObjectRef::new(WEBHOOK_CONFIGURATION));
        let webhooks = configuration.and_then(|configuration| configuration.webhooks.clone());
        webhooks
            .into_iter()
            .flatten()
            .filter(|webhook| webhook.name == ROLE_RULES_WEBHOOK_NAME)
            .flat_map(|webhook| webhook.rules.unwrap_or_default())
            .filter_map(|rule| serde_json::to_value(rule).ok())
            .collect()
    }
}

fn has_our_webhook(configuration: &MutatingWebhookConfiguration) -> bool {
    configuration
        .webhooks
        .iter()
        .flatten()
        .any(|webhook| webhook.name == WEBHOOK_NAME)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_counts_only_with_our_webhook_in_it() {
        let configuration = |name: &str| -> MutatingWebhookConfiguration {
            serde_json::from_value(json!({ "webhooks": [{
                "name": name, "admissionReviewVersions": ["v1"], "clientConfig": {}, "sideEffects": "None"
            }] }))
            .unwrap()
        };
        assert!(has_our_webhook(&configuration("mutate.failover.dev")));
        assert!(!has_our_webhook(&configuration("other")));
        assert!(!has_our_webhook(&MutatingWebhookConfiguration::default()));
    }
}
