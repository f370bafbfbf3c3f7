//! The three watches that fill the [`Store`]: enrolled Namespaces (metadata only), RoleRules, and the Site.
//!
//! Custom resources are parsed one by one, not as a typed list: an object that this version cannot read, as after a
//! downgrade, loses only its own effect and does not break the watch; and the adopted part of a RoleRule stays in
//! force.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use failover_core::admission::namespace::{Registry, Settled};
use failover_core::api::{RoleRule, Site, adopted, read};
use failover_core::names::{ENFORCE_LABEL, SITE};
use failover_core::namespace::may_enrol;
use failover_core::{NamespaceState, RuleSet};
use failover_runtime::error_chain::causes;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ApiResource;
use kube::core::{DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};

use crate::readiness::{Readiness, Watched};
use crate::store::Store;
use crate::timeouts::TIMEOUTS;

/// How soon a broken watch is retried, at first and at most: a change of roles waits for this replica to observe it.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// A watch that keeps failing is reported again after this many failures, about once a minute.
const REPORT_EVERY: u32 = 20;

/// Runs all three watches, for ever.
pub async fn follow(client: Client, store: Store, readiness: Readiness) {
    tokio::join!(
        namespaces(client.clone(), store.clone(), readiness.clone()),
        role_rules(client.clone(), store.clone(), readiness.clone()),
        site(client, store, readiness),
    );
}

async fn namespaces(client: Client, store: Store, readiness: Readiness) {
    let enrolled = config().labels(&format!("{ENFORCE_LABEL} in (enabled,policy)"));
    let api = Api::<PartialObjectMeta<Namespace>>::all(client);
    let mut handler = NamespaceEvents::default();
    each("Namespaces", watcher::watcher(api, enrolled), |event| {
        if handler.handle(event, &store) {
            readiness.synced(Watched::Namespaces);
        }
    })
    .await;
}

/// Takes over a list as a whole, and single events one by one.
#[derive(Debug, Default)]
struct NamespaceEvents {
    listed: BTreeMap<String, Arc<NamespaceState>>,
}

impl NamespaceEvents {
    /// Returns whether a list is complete now.
    fn handle(&mut self, event: Event<PartialObjectMeta<Namespace>>, store: &Store) -> bool {
        // A namespace that may not be enrolled never gets a revision, whatever its labels: it would block every
        // transition.
        let named = |namespace: &PartialObjectMeta<Namespace>| {
            let name = namespace.metadata.name.clone();
            name.filter(|name| may_enrol(name))
        };
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(namespace) => {
                if let Some(name) = named(&namespace) {
                    let state = Arc::new(namespace_state(&namespace.metadata));
                    self.listed.insert(name, state);
                }
            }
            Event::InitDone => {
                store.replace_namespaces(std::mem::take(&mut self.listed));
                return true;
            }
            Event::Apply(namespace) => {
                if let Some(name) = named(&namespace) {
                    store.put_namespace(name, namespace_state(&namespace.metadata));
                }
            }
            Event::Delete(namespace) => {
                if let Some(name) = named(&namespace) {
                    store.remove_namespace(&name);
                }
            }
        }
        false
    }
}

/// The state of a namespace, from its metadata.
fn namespace_state(metadata: &ObjectMeta) -> NamespaceState {
    let (state, problems) =
        NamespaceState::parse(metadata.labels.as_ref(), metadata.annotations.as_ref());
    for problem in problems {
        tracing::warn!(
            namespace = metadata.name.as_deref(),
            %problem,
            "invalid label or annotation on a namespace: it counts as absent"
        );
    }
    state
}

async fn role_rules(client: Client, store: Store, readiness: Readiness) {
    let api = Api::<DynamicObject>::all_with(client, &ApiResource::erase::<RoleRule>(&()));
    let mut handler = RoleRuleEvents::default();
    each("RoleRules", watcher::watcher(api, config()), |event| {
        if handler.handle(event, &store) {
            readiness.synced(Watched::RoleRules);
        }
    })
    .await;
}

/// Recompiles all rules whenever one of them changes.
#[derive(Debug, Default)]
struct RoleRuleEvents {
    known: BTreeMap<String, RoleRule>,
    listing: bool,
}

impl RoleRuleEvents {
    /// Returns whether the rules are complete now.
    fn handle(&mut self, event: Event<DynamicObject>, store: &Store) -> bool {
        match event {
            Event::Init => {
                self.known.clear();
                self.listing = true;
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let name = object.metadata.name.clone().unwrap_or_default();
                let raw = serde_json::to_value(object).unwrap_or_default();
                let rule = read("RoleRule", &raw).or_else(|unreadable| {
                    let adopted = adopted(&raw).ok_or(());
                    let in_force = adopted.is_ok();
                    tracing::warn!(in_force, "{unreadable}");
                    adopted
                });
                match rule {
                    Ok(rule) => self.known.insert(name, rule),
                    Err(()) => self.known.remove(&name),
                };
            }
            Event::InitDone => self.listing = false,
            Event::Delete(object) => {
                self.known.remove(&object.metadata.name.unwrap_or_default());
            }
        }
        if self.listing {
            return false;
        }
        let (rules, errors) = RuleSet::with_role_rules(self.known.values());
        for (name, error) in errors {
            tracing::warn!(role_rule = name, %error, "a RoleRule is not used");
        }
        store.set_rules(rules);
        true
    }
}

async fn site(client: Client, store: Store, readiness: Readiness) {
    let only = config().fields(&format!("metadata.name={SITE}"));
    let api = Api::<DynamicObject>::all_with(client, &ApiResource::erase::<Site>(&()));
    each("the Site", watcher::watcher(api, only), |event| {
        if site_event(event, &store) {
            readiness.synced(Watched::Site);
        }
    })
    .await;
}

/// Returns whether the roles that the Site has settled on are known now.
fn site_event(event: Event<DynamicObject>, store: &Store) -> bool {
    match event {
        // A deleted Site keeps the last settled roles: losing it changes nothing.
        Event::Init | Event::Delete(_) => false,
        Event::InitApply(object) | Event::Apply(object) => {
            let site = object.try_parse::<Site>().inspect_err(|error| {
                tracing::warn!(%error, "cannot read the Site: new namespaces get no roles from this replica");
            });
            let site = site.ok();
            store.set_settled(site.as_ref().and_then(Settled::of));
            // If it cannot be read, the known names are kept.
            if let Some(site) = &site {
                store.set_registry(Registry::of(site));
            }
            false
        }
        Event::InitDone => true,
    }
}

fn config() -> watcher::Config {
    let seconds = TIMEOUTS.watch_seconds();
    watcher::Config::default().timeout(seconds)
}

/// Handles each event of a watch, which restarts with a backoff after errors.
async fn each<K>(
    what: &str,
    events: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    mut handle: impl FnMut(Event<K>),
) where
    K: Debug,
{
    let (min, max) = BACKOFF;
    let backoff = backon::ExponentialBuilder::default()
        .with_min_delay(min)
        .with_max_delay(max)
        .with_jitter()
        .without_max_times();
    let mut events = pin!(events.backoff(watcher::ExponentialBackoff::from(backoff)));
    let mut failures = 0;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                // `Init` only says that a list is about to be asked for.
                if failures > 0 && !matches!(event, Event::Init) {
                    tracing::info!(failures, "watching {what} again");
                    failures = 0;
                }
                handle(event);
            }
            // A kind that is not served has no objects: without our CRDs, the labels of namespaces still apply.
            Err(error) if is_not_served(&error) => {
                if failures == 0 {
                    tracing::warn!("{what}: the API server does not know the kind");
                }
                failures += 1;
                handle(Event::Init);
                handle(Event::InitDone);
            }
            Err(error) => {
                if failures % REPORT_EVERY == 0 {
                    tracing::warn!(
                        error = causes(&error),
                        "cannot watch {what}; trying again, and using the cached state until then"
                    );
                }
                failures += 1;
            }
        }
    }
}

fn is_not_served(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404
    )
}

#[cfg(test)]
mod tests;
