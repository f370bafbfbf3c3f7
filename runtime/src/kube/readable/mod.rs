//! Watches that go on past what they cannot read.
//!
//! A typed watch fails as a whole for one object that its types do not fit, as a later version's may not, and would never come back.
//! So objects are watched raw and read one by one. One that cannot be read is not in the cache, and is named among
//! [`UnreadableObjects`] instead: that it is not there must not be taken for its absence.

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

/// What cannot be read now, of all kinds that are watched.
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

/// Reads the objects of one kind.
#[expect(missing_debug_implementations, reason = "a Store has none")]
pub struct Reader<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    unreadable: UnreadableObjects,
    changed: Vec<Arc<Notify>>,
    /// What holds of an object that cannot be read as a whole.
    adopted: fn(&Value) -> Option<K>,
    /// The unreadable ones of the list that is coming in.
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

    /// What an event means to the cache; `None`: nothing.
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

    /// What is to be in the cache of an object.
    fn read(&mut self, mut object: DynamicObject) -> Option<K> {
        // Never read, and often larger than all the rest.
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

    /// Takes it out of the cache. Where it was not in there, those who wait are told from here.
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
