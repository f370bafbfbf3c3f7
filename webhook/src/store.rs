//! The inputs of decisions: filled by the watches, read by every request without waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use failover_core::admission::namespace::{Registry, Settled};
use failover_core::{NamespaceState, RuleSet};
use tokio::sync::watch;

/// How long a request waits for a Namespace that is not in the cache yet. The API server asks only about enrolled
/// namespaces, so the watch event of a missing one is on its way; the answer must still come within the webhook's 1 s.
const NAMESPACE_TIMEOUT: Duration = Duration::from_millis(300);

/// The cache. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    namespaces: RwLock<BTreeMap<String, Arc<NamespaceState>>>,
    rules: ArcSwap<RuleSet>,
    settled: ArcSwap<Option<Settled>>,
    registry: ArcSwap<Registry>,
    /// Counts the changes of namespaces, for tasks that wait for one.
    changes: watch::Sender<u64>,
}

/// What an enforcer reports: the lowest revision seen over all enrolled namespaces, and their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenRevision {
    pub revision: i64,
    pub namespaces: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self(Arc::new(Inner {
            namespaces: RwLock::default(),
            rules: ArcSwap::from_pointee(RuleSet::built_in()),
            settled: ArcSwap::from_pointee(None),
            registry: ArcSwap::default(),
            changes: watch::Sender::new(0),
        }))
    }
}

impl Store {
    pub fn rules(&self) -> Arc<RuleSet> {
        self.0.rules.load_full()
    }

    pub fn set_rules(&self, rules: RuleSet) {
        self.0.rules.store(Arc::new(rules));
    }

    pub fn settled(&self) -> Arc<Option<Settled>> {
        self.0.settled.load_full()
    }

    pub fn set_settled(&self, settled: Option<Settled>) {
        self.0.settled.store(Arc::new(settled));
    }

    pub fn registry(&self) -> Arc<Registry> {
        self.0.registry.load_full()
    }

    pub fn set_registry(&self, registry: Registry) {
        self.0.registry.store(Arc::new(registry));
    }

    pub fn namespace(&self, name: &str) -> Option<Arc<NamespaceState>> {
        self.read().get(name).cloned()
    }

    /// As [`Store::namespace`], but waits a moment for one that is not there yet.
    pub async fn namespace_soon(&self, name: &str) -> Option<Arc<NamespaceState>> {
        if let Some(state) = self.namespace(name) {
            return Some(state);
        }
        let mut changes = self.0.changes.subscribe();
        let appears = async {
            loop {
                if let Some(state) = self.namespace(name) {
                    return Some(state);
                }
                if changes.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(NAMESPACE_TIMEOUT, appears)
            .await
            .ok()
            .flatten()
    }

    pub fn put_namespace(&self, name: String, state: NamespaceState) {
        self.write().insert(name, Arc::new(state));
        self.0.changes.send_modify(|n| *n += 1);
    }

    pub fn remove_namespace(&self, name: &str) {
        self.write().remove(name);
        self.0.changes.send_modify(|n| *n += 1);
    }

    /// Replaces all namespaces with those of a new list.
    pub fn replace_namespaces(&self, all: BTreeMap<String, Arc<NamespaceState>>) {
        *self.write() = all;
        self.0.changes.send_modify(|n| *n += 1);
    }

    /// What has been observed so far.
    pub fn seen(&self) -> SeenRevision {
        let namespaces = self.read();
        // A namespace without a revision has not been labelled yet: no revision has been observed for it.
        let revision = namespaces
            .values()
            .map(|state| state.revision.unwrap_or(0))
            .min()
            .unwrap_or(0);
        SeenRevision {
            revision,
            namespaces: namespaces.len(),
        }
    }

    /// Changes of namespaces, to wait on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<NamespaceState>>> {
        self.0
            .namespaces
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<NamespaceState>>> {
        self.0
            .namespaces
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(revision: Option<i64>) -> NamespaceState {
        NamespaceState {
            revision,
            ..NamespaceState::default()
        }
    }

    #[test]
    fn the_reported_revision_is_the_lowest_of_all_namespaces() {
        let store = Store::default();
        let seen = || {
            let SeenRevision {
                revision,
                namespaces,
            } = store.seen();
            (revision, namespaces)
        };
        assert_eq!(seen(), (0, 0));
        store.put_namespace("a".into(), at(Some(7)));
        store.put_namespace("b".into(), at(Some(6)));
        assert_eq!(seen(), (6, 2));
        store.put_namespace("b".into(), at(Some(7)));
        assert_eq!(seen(), (7, 2));
        // Just enrolled, and not labelled yet.
        store.put_namespace("c".into(), at(None));
        assert_eq!(seen(), (0, 3));
        store.remove_namespace("c");
        assert_eq!(seen(), (7, 2));
    }
}
