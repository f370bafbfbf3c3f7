//! Watches that skip objects that they cannot read.
//!
//! A typed watch fails as a whole on a single object that its types do not fit, such as one of a later version, and
//! never recovers. So objects are watched untyped and parsed one by one. An object that cannot be read is not in the
//! cache but listed in [`UnreadableObjects`]: its absence from the cache must not be mistaken for its deletion.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use failover_core::api::{Unreadable, read};
use kube::Resource;
use kube::core::DynamicObject;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Notify;

/// The objects that cannot be read now, of all watched kinds.
#[derive(Clone, Debug, Default)]
pub struct UnreadableObjects(Arc<Mutex<BTreeMap<String, Unreadable>>>);

impl UnreadableObjects {
    /// Sorted by kind and name.
    pub fn all(&self) -> Vec<Unreadable> {
        self.objects().values().cloned().collect()
    }

    /// One object, by `Kind name` or `Kind namespace/name`.
    pub fn find(&self, object: &str) -> Option<Unreadable> {
        self.objects().get(object).cloned()
    }

    fn add(&self, unreadable: Unreadable) {
        let object = unreadable.object.clone();
        self.objects().insert(object, unreadable);
    }

    fn remove(&self, object: &str) -> bool {
        self.objects().remove(object).is_some()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Unreadable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parses the objects of one kind.
#[expect(missing_debug_implementations, reason = "a Store has none")]
pub struct Reader<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    unreadable: UnreadableObjects,
    changed: Vec<Arc<Notify>>,
    /// The part of an unreadable object that is still in force.
    adopted: fn(&Value) -> Option<K>,
    /// The unreadable objects of the list that is being received.
    listed: BTreeSet<String>,
}

impl<K> Reader<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static,
{
    pub fn new(
        store: Store<K>,
        unreadable: UnreadableObjects,
        changed: Vec<Arc<Notify>>,
        adopted: fn(&Value) -> Option<K>,
    ) -> Self {
        Self {
            store,
            unreadable,
            changed,
            adopted,
            listed: BTreeSet::new(),
        }
    }

    /// The event for the cache; `None`: no change.
    pub fn take(&mut self, event: Event<DynamicObject>) -> Option<Event<K>> {
        match event {
            Event::Init => {
                self.listed.clear();
                Some(Event::Init)
            }
            Event::InitApply(object) => self.read(object).map(Event::InitApply),
            Event::InitDone => {
                let kind = format!("{} ", K::kind(&()));
                let mut objects = self.unreadable.objects();
                objects.retain(|name, _| !name.starts_with(&kind) || self.listed.contains(name));
                Some(Event::InitDone)
            }
            Event::Apply(object) => {
                let reference = reference(&object);
                match self.read(object) {
                    Some(object) => Some(Event::Apply(object)),
                    None => self.gone(&reference),
                }
            }
            Event::Delete(object) => {
                self.unreadable.remove(&name::<K>(&object));
                self.gone(&reference(&object))
            }
        }
    }

    /// The object as it belongs in the cache.
    fn read(&mut self, mut object: DynamicObject) -> Option<K> {
        // Never used, and often larger than everything else.
        object.metadata.managed_fields = None;
        let name = name::<K>(&object);
        let raw = serde_json::to_value(object).unwrap_or_default();
        let unreadable = match read(&K::kind(&()), &raw) {
            Ok(object) => {
                if self.unreadable.remove(&name) {
                    tracing::info!("{name} can be read again");
                }
                return Some(object);
            }
            Err(unreadable) => unreadable,
        };
        if self.unreadable.find(&name).as_ref() != Some(&unreadable) {
            tracing::error!("{unreadable}");
        }
        self.unreadable.add(unreadable);
        self.listed.insert(name);
        (self.adopted)(&raw)
    }

    /// Removes an object from the cache. If it was not there, the cache will not notify the waiting tasks, so this
    /// does.
    fn gone(&self, reference: &ObjectRef<K>) -> Option<Event<K>> {
        let known = self.store.get(reference);
        if known.is_none() {
            for notify in &self.changed {
                notify.notify_one();
            }
        }
        known.map(|object| Event::Delete((*object).clone()))
    }
}

fn name<K: Resource<DynamicType = ()>>(object: &DynamicObject) -> String {
    let (kind, metadata) = (K::kind(&()), &object.metadata);
    let name = metadata.name.as_deref().unwrap_or_default();
    match &metadata.namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

fn reference<K: Resource<DynamicType = ()>>(object: &DynamicObject) -> ObjectRef<K> {
    let metadata = &object.metadata;
    let reference = ObjectRef::new(metadata.name.as_deref().unwrap_or_default());
    match &metadata.namespace {
        Some(namespace) => reference.within(namespace),
        None => reference,
    }
}

#[cfg(test)]
mod tests;
