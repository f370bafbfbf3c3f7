//! Watched caches of what the loop decides on, filled by tasks of their own.
//!
//! They run on followers too, so that one that takes over knows everything at once. What is decided on a cache that lags
//! is written with the version it was decided on, and refused.

use std::sync::Arc;
use std::time::Duration;

use failover_core::api::{FailoverPolicy, RoleRule, Site};
use failover_core::backstop;
use failover_core::names::{ROLE_RULES_WEBHOOK_NAME, SITE, WEBHOOK_CONFIGURATION, WEBHOOK_NAME};
use futures::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt as _};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::exempt_labels::ExemptLabels;
use super::origins::OriginWatches;
use crate::client::WATCH_TIMEOUT;
use failover_core::causes::causes;

/// Watches come back within about twice this (it, and as much again at random) of the API server: an order must not wait
/// for us.
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// A watch that goes on failing is reported again after this many failures, about once a minute.
const REPORT_EVERY: u32 = 20;

/// The caches.
#[derive(Clone, Debug)]
pub struct Caches {
    pub sites: Store<Site>,
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    pub role_rules: Store<RoleRule>,
    pub failover_policies: Store<FailoverPolicy>,
    pub exempt: ExemptLabels,
    pub origins: OriginWatches,
    pub enforcer_leases: Store<Lease>,
    pub webhooks: Store<MutatingWebhookConfiguration>,
    pub policies: Store<ValidatingAdmissionPolicy>,
    pub bindings: Store<ValidatingAdmissionPolicyBinding>,
    pub(super) changed: Arc<Notify>,
    /// As `changed`, for those who look after RoleRules: each wakes one.
    pub(super) rules_changed: Arc<Notify>,
}

impl Caches {
    /// Starts the watches. They end when `tasks` is dropped.
    pub fn start(client: &Client, lease_namespace: &str, tasks: &mut JoinSet<()>) -> Self {
        let (changed, rules_changed) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let notify = &[Arc::clone(&changed), Arc::clone(&rules_changed)][..];
        let named = |name: &str| config().fields(&format!("metadata.name={name}"));
        let cluster = client.clone();
        let role_rules = watch(
            "rolerules",
            watcher::watcher(Api::all(cluster.clone()), config()),
            notify,
            tasks,
        );
        Self {
            origins: OriginWatches::start(client, &role_rules, &changed, tasks),
            exempt: ExemptLabels::start(client, role_rules.clone(), &changed, tasks),
            sites: watch(
                "sites",
                watcher::watcher(Api::all(cluster.clone()), named(SITE)),
                notify,
                tasks,
            ),
            // All of them, not only the enrolled ones: what has left still has to lose our labels.
            namespaces: watch(
                "namespaces",
                watcher::watcher(Api::all(cluster.clone()), config()),
                notify,
                tasks,
            ),
            role_rules,
            failover_policies: watch(
                "failoverpolicies",
                watcher::watcher(Api::all(cluster.clone()), config()),
                notify,
                tasks,
            ),
            enforcer_leases: watch(
                "enforcers' leases",
                watcher::watcher(Api::namespaced(cluster.clone(), lease_namespace), config()),
                // Renewed every few seconds, and nothing to a rule.
                &notify[..1],
                tasks,
            ),
            webhooks: watch(
                "mutatingwebhookconfigurations",
                watcher::watcher(Api::all(cluster.clone()), named(WEBHOOK_CONFIGURATION)),
                notify,
                tasks,
            ),
            policies: watch(
                "validatingadmissionpolicies",
                watcher::watcher(
                    Api::all(cluster.clone()),
                    config().labels(backstop::SELECTOR),
                ),
                notify,
                tasks,
            ),
            bindings: watch(
                "validatingadmissionpolicybindings",
                watcher::watcher(Api::all(cluster), config().labels(backstop::SELECTOR)),
                notify,
                tasks,
            ),
            changed,
            rules_changed,
        }
    }

    /// Waits until every cache has been filled once.
    pub async fn synced(&self) {
        // An error says that the watch has ended, which it does only with the process.
        let _ = tokio::join!(
            self.sites.wait_until_ready(),
            self.namespaces.wait_until_ready(),
            self.role_rules.wait_until_ready(),
            self.failover_policies.wait_until_ready(),
            self.enforcer_leases.wait_until_ready(),
            self.webhooks.wait_until_ready(),
            self.policies.wait_until_ready(),
            self.bindings.wait_until_ready(),
        );
    }

    /// Waits until something has changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// As [`Self::changed`], but for what matters only to the enforcers' Leases.
    pub async fn rules_changed(&self) {
        self.rules_changed.notified().await;
    }

    pub fn site(&self) -> Option<Arc<Site>> {
        self.sites.get(&ObjectRef::new(SITE))
    }

    /// Whether the API server has been told of our webhook.
    pub fn webhook_configured(&self) -> bool {
        self.webhooks
            .get(&ObjectRef::new(WEBHOOK_CONFIGURATION))
            .is_some_and(|configuration| has_our_webhook(&configuration))
    }

    /// Whether the API server itself holds every built-in kind.
    pub fn policy_configured(&self) -> bool {
        let policy = |name: &str| self.policies.get(&ObjectRef::new(name));
        let binding = |name: &str| self.bindings.get(&ObjectRef::new(name));
        backstop::missing(
            |name| serde_json::to_value(&*policy(name)?).ok(),
            |name| serde_json::to_value(&*binding(name)?).ok(),
        )
        .is_empty()
    }

    pub fn has_policy(&self, name: &str) -> bool {
        self.policies.get(&ObjectRef::new(name)).is_some()
    }

    /// Whether there is a binding of that name which denies.
    pub fn has_binding(&self, name: &str) -> bool {
        self.bindings
            .get(&ObjectRef::new(name))
            .and_then(|binding| binding.spec.clone()?.validation_actions)
            .is_some_and(|actions| actions.iter().any(|action| action == "Deny"))
    }

    /// The rules by which the webhook is asked about the kinds of RoleRules.
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

pub(super) fn config() -> watcher::Config {
    watcher::Config::default()
        .timeout(u32::try_from(WATCH_TIMEOUT.as_secs()).expect("a constant of seconds"))
}

pub(super) fn backoff() -> watcher::ExponentialBackoff {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(LONGEST_BACKOFF)
        .with_jitter()
        .without_max_times()
        .into()
}

/// Tells of a watch that fails, and when it no longer does.
pub(super) struct Trouble<'a> {
    what: &'a str,
    failures: u32,
}

impl<'a> Trouble<'a> {
    pub(super) fn new(what: &'a str) -> Self {
        Self { what, failures: 0 }
    }

    pub(super) fn tell(&mut self, error: &watcher::Error) {
        if self.failures.is_multiple_of(REPORT_EVERY) {
            tracing::warn!(
                what = self.what,
                error = causes(error),
                "cannot watch; trying again every few seconds, and going by what was last seen until then"
            );
        }
        self.failures += 1;
    }

    pub(super) fn over(&mut self) {
        if self.failures > 0 {
            tracing::info!(what = self.what, failures = self.failures, "watching again");
            self.failures = 0;
        }
    }
}

/// Keeps a cache filled from a watch that restarts itself.
fn watch<K>(
    what: &'static str,
    events: impl futures::Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    changed: &[Arc<Notify>],
    tasks: &mut JoinSet<()>,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let changed = changed.to_vec();
    let stream = events
        // Never read, and often larger than all the rest.
        .map(|event| {
            event.map(|event| event.modify(|object: &mut K| object.managed_fields_mut().clear()))
        })
        .backoff(backoff())
        .reflect(writer);
    tasks.spawn(async move {
        let mut stream = std::pin::pin!(stream);
        let mut trouble = Trouble::new(what);
        while let Some(event) = stream.next().await {
            match event {
                // Half a list is not news: the cache takes it over as a whole.
                Ok(Event::Init | Event::InitApply(_)) => continue,
                Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => trouble.over(),
                Err(error) => {
                    trouble.tell(&error);
                    continue;
                }
            }
            for notify in &changed {
                notify.notify_one();
            }
        }
    });
    store
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
