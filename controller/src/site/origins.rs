//! Which HelmRelease or Kustomization installed an object: the labels that Flux sets on what it installs, and the
//! installers that exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use failover_core::api::RoleRule;
use failover_core::object::ObjectKey;
use failover_core::origin::{INSTALLERS, Origin, Origins};
use failover_core::{Layer, Rule};
use kube::runtime::reflector::Store;
use kube::{Client, ResourceExt as _};
use tokio::sync::Notify;
use tokio::task::JoinSet;

#[cfg(test)]
use super::kind_watches::Names;
use super::kind_watches::{Kind, KindWatches, Metadata, Query};

/// The label of each of [`INSTALLERS`].
const SELECTORS: [&str; 2] = [
    "helm.toolkit.fluxcd.io/name",
    "kustomize.toolkit.fluxcd.io/name",
];

/// The watches of installed objects and of their installers.
#[derive(Clone, Debug)]
pub struct OriginWatches {
    /// Objects that carry the labels of each installer.
    installed: [KindWatches<Option<Origin>>; 2],
    /// The installers themselves.
    existing: KindWatches<()>,
}

impl Default for OriginWatches {
    fn default() -> Self {
        Self {
            installed: SELECTORS.map(|selector| {
                KindWatches::new(Query {
                    what: "installed",
                    selector,
                    wants: Origins::concerns,
                    value: origin,
                })
            }),
            existing: KindWatches::new(Query {
                what: "installing",
                selector: "",
                wants: installs,
                value: |_| (),
            }),
        }
    }
}

impl OriginWatches {
    /// Starts the watches. They end when `tasks` is dropped.
    pub(super) fn start(
        client: &Client,
        role_rules: &Store<RoleRule>,
        changed: &Arc<Notify>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let Self {
            installed,
            existing,
        } = Self::default();
        Self {
            installed: installed
                .map(|watches| watches.start(client, role_rules.clone(), changed, tasks)),
            existing: existing.start(client, role_rules.clone(), changed, tasks),
        }
    }

    /// What is known now. A kind counts as listed once all of its lists are complete.
    pub fn known(&self) -> Origins {
        let mut origins = Origins::default();
        let existing = self.existing.kinds();
        for kind in existing.values() {
            origins.existing.extend(keys(kind).map(|(key, ())| key));
        }
        let [helm, kustomize] = self.installed.each_ref().map(KindWatches::kinds);
        for (name, kind) in helm.iter().chain(kustomize.iter()) {
            // If an object has both labels, Helm's is closer to it.
            for (key, origin) in keys(kind) {
                if let Some(origin) = origin {
                    origins.installed.entry(key).or_insert(origin);
                }
            }
            let listed = |kinds: &BTreeMap<String, Kind<Option<Origin>>>| {
                kinds.get(name).is_some_and(|kind| kind.objects.is_some())
            };
            let installer = installs(&kind.rule);
            let is_listed = existing
                .get(name)
                .is_some_and(|kind| kind.objects.is_some());
            if listed(&helm) && listed(&kustomize) && (!installer || is_listed) {
                origins.listed.insert(kind.rule.resource.to_string());
            }
        }
        origins
    }

    /// Asks the API server itself whether a HelmRelease or Kustomization exists. `true` if that is unknown.
    pub async fn confirm(&self, client: &Client, key: &ObjectKey) -> bool {
        self.existing.ask(client, key).await.unwrap_or(true)
    }

    /// Stores what the watches would have found: which installer installed what, and which installers exist.
    #[cfg(test)]
    pub(super) fn found(
        &self,
        rules: &failover_core::RuleSet,
        installed: &[(&ObjectKey, Origin)],
        existing: &[ObjectKey],
    ) {
        let name = |key: &ObjectKey| (key.namespace.clone(), key.name.clone());
        for rule in rules.iter().filter(|rule| Origins::concerns(rule)) {
            let of_kind = |key: &&ObjectKey| key.resource == rule.resource;
            let labelled = installed.iter().filter(|(key, _)| of_kind(key));
            let labelled = labelled.map(|(key, origin)| (name(key), Some(origin.clone())));
            self.installed[0].found(rule, labelled.collect());
            self.installed[1].found(rule, Names::new());
            if installs(rule) {
                let there = existing.iter().filter(of_kind).map(|key| (name(key), ()));
                self.existing.found(rule, there.collect());
            }
        }
    }
}

fn installs(rule: &Rule) -> bool {
    let is_it = |(group, _, resource): (&str, &str, &str)| rule.is_of(group, resource);
    rule.layer == Layer::Gitops && INSTALLERS.into_iter().any(is_it)
}

fn origin(object: &Metadata) -> Option<Origin> {
    Origin::of(object.labels(), object.annotations())
}

fn keys<V: Clone>(kind: &Kind<V>) -> impl Iterator<Item = (ObjectKey, V)> {
    let resource = kind.rule.resource.to_string();
    let objects = kind.objects.iter().flatten();
    objects.map(move |((namespace, name), value)| {
        let key = ObjectKey {
            namespace: namespace.clone(),
            resource: resource.clone(),
            name: name.clone(),
        };
        (key, value.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_installer_is_selected_by_its_label() {
        let labels = INSTALLERS.map(|(group, ..)| format!("{group}/name"));
        assert_eq!(labels, SELECTORS);
    }
}
