//! The three watches that fill the [`Store`]: enrolled Namespaces (metadata only), RoleRules, and the Site.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use failover_core::RuleSet;
use failover_core::api::{RoleRule, Site};
use failover_core::birth::Settled;
use failover_core::names::{ENFORCE_LABEL, SITE};
use futures::{Stream, StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Event, watcher};
use kube::runtime::{WatchStreamExt as _, watcher as config};
use kube::{Api, Client};

use crate::client::WATCH_TIMEOUT;
use crate::decide::namespace_state;
use crate::readiness::{Readiness, Watched};
use crate::store::Store;

fn selection() -> config::Config {
    config::Config::default()
        .timeout(u32::try_from(WATCH_TIMEOUT.as_secs()).expect("well below u32::MAX"))
}

/// Follows all three, for ever.
pub async fn follow(client: Client, store: Store, readiness: Readiness) {
    tokio::join!(
        namespaces(client.clone(), store.clone(), readiness.clone()),
        role_rules(client.clone(), store.clone(), readiness.clone()),
        site(client, store, readiness),
    );
}

async fn namespaces(client: Client, store: Store, readiness: Readiness) {
    let enrolled = selection().labels(&format!("{ENFORCE_LABEL} in (enabled,policy)"));
    let events = watcher(Api::<PartialObjectMeta<Namespace>>::all(client), enrolled);
    let mut listed = BTreeMap::new();
    let entry = |namespace: PartialObjectMeta<Namespace>| {
        let state = namespace_state(&namespace.metadata);
        (namespace.metadata.name.unwrap_or_default(), state)
    };
    each("Namespaces", events, |event| match event {
        Event::Init => listed = BTreeMap::new(),
        Event::InitApply(namespace) => {
            let (name, state) = entry(namespace);
            listed.insert(name, Arc::new(state));
        }
        Event::InitDone => {
            store.replace_namespaces(std::mem::take(&mut listed));
            readiness.synced(Watched::Namespaces);
        }
        Event::Apply(namespace) => {
            let (name, state) = entry(namespace);
            store.put_namespace(name, state);
        }
        Event::Delete(namespace) => {
            store.remove_namespace(&namespace.metadata.name.unwrap_or_default())
        }
    })
    .await;
}

async fn role_rules(client: Client, store: Store, readiness: Readiness) {
    let events = watcher(Api::<RoleRule>::all(client), selection());
    let mut known: BTreeMap<String, RoleRule> = BTreeMap::new();
    let mut syncing = true;
    each("RoleRules", events, |event| {
        match event {
            Event::Init => {
                known.clear();
                syncing = true;
            }
            Event::InitApply(rule) | Event::Apply(rule) => {
                known.insert(rule.metadata.name.clone().unwrap_or_default(), rule);
            }
            Event::InitDone => syncing = false,
            Event::Delete(rule) => {
                known.remove(&rule.metadata.name.unwrap_or_default());
            }
        }
        if syncing {
            return;
        }
        let (rules, errors) = RuleSet::with_role_rules(known.values());
        for (name, error) in errors {
            tracing::warn!(role_rule = name, %error, "RoleRule is not used");
        }
        store.set_rules(rules);
        readiness.synced(Watched::RoleRules);
    })
    .await;
}

async fn site(client: Client, store: Store, readiness: Readiness) {
    let only = selection().fields(&format!("metadata.name={SITE}"));
    let events = watcher(Api::<Site>::all(client), only);
    each("the Site", events, |event| match event {
        // A Site that is gone leaves what was settled last: losing it changes nothing.
        Event::Init | Event::Delete(_) => {}
        Event::InitApply(site) | Event::Apply(site) => store.set_settled(Settled::of(&site)),
        Event::InitDone => readiness.synced(Watched::Site),
    })
    .await;
}

/// Runs through a watch that starts anew by itself after errors, with a back-off.
async fn each<T>(
    what: &str,
    events: impl Stream<Item = Result<Event<T>, config::Error>>,
    mut handle: impl FnMut(Event<T>),
) where
    T: Debug,
{
    let events = events.default_backoff();
    pin_mut!(events);
    let mut failing = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("the watch of {what} goes on");
                }
                handle(event);
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the watch of {what} is interrupted and starts anew");
                }
            }
        }
    }
}
