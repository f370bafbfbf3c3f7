//! Reading one's own writes despite a cache that lags behind.
//!
//! The loop decides on watched caches. Right after a write the cache still holds the previous version: a decision on
//! that would repeat the write, with a stale resourceVersion. So each answer of the API server is kept until the cache
//! has moved past every version that our own writes have replaced.
//!
//! Versions are not compared for order. A write with resourceVersion X succeeds only if X was the newest. So a cache
//! that shows neither X nor an older version of the same chain shows our write or a later one.

use std::collections::HashMap;
use std::sync::Arc;

use kube::ResourceExt;

#[derive(Debug)]
pub struct OwnWrites<K> {
    by_name: HashMap<String, Own<K>>,
}

#[derive(Debug)]
struct Own<K> {
    /// The versions that our writes replaced, oldest first.
    replaced: Vec<String>,
    answer: Arc<K>,
}

impl<K> Default for OwnWrites<K> {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
        }
    }
}

impl<K: ResourceExt> OwnWrites<K> {
    /// Stores the API server's answer to a write that was made on the version `replaced`.
    pub fn wrote(&mut self, replaced: &str, answer: K) {
        if answer.resource_version().as_deref() == Some(replaced) {
            // The write changed nothing; the cache has this version already.
            return;
        }
        let answer = Arc::new(answer);
        let own = self.by_name.entry(key(&*answer)).or_insert_with(|| Own {
            replaced: Vec::new(),
            answer: Arc::clone(&answer),
        });
        own.replaced.push(replaced.to_owned());
        own.answer = answer;
    }

    /// The newest known version: the cache's, or our own write that the cache does not show yet.
    pub fn newest(&mut self, cached: Arc<K>) -> Arc<K> {
        let name = key(&*cached);
        let Some(own) = self.by_name.get(&name) else {
            return cached;
        };
        let behind = cached
            .resource_version()
            .is_some_and(|version| own.replaced.contains(&version));
        if behind {
            return Arc::clone(&own.answer);
        }
        self.by_name.remove(&name);
        cached
    }
}

fn key(object: &impl ResourceExt) -> String {
    format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(version: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some("a".into());
        object.metadata.resource_version = Some(version.into());
        object
    }

    fn newest(own: &mut OwnWrites<ConfigMap>, cached: &str) -> String {
        own.newest(Arc::new(object(cached)))
            .resource_version()
            .unwrap()
    }

    #[test]
    fn a_cache_that_lags_behind_a_chain_of_writes_is_not_used() {
        let mut own = OwnWrites::default();
        own.wrote("1", object("2"));
        own.wrote("2", object("5"));
        assert_eq!(newest(&mut own, "1"), "5");
        assert_eq!(newest(&mut own, "2"), "5");
    }

    #[test]
    fn a_cache_that_has_caught_up_is_used_from_then_on() {
        let mut own = OwnWrites::default();
        own.wrote("1", object("2"));
        assert_eq!(newest(&mut own, "2"), "2");
        assert_eq!(newest(&mut own, "7"), "7");
        assert_eq!(newest(&mut own, "1"), "1", "the chain is forgotten");
    }

    #[test]
    fn somebody_elses_later_write_wins() {
        let mut own = OwnWrites::default();
        own.wrote("1", object("2"));
        assert_eq!(newest(&mut own, "9"), "9");
    }

    #[test]
    fn a_write_that_changed_nothing_leaves_the_cache_alone() {
        let mut own = OwnWrites::default();
        own.wrote("1", object("1"));
        assert_eq!(newest(&mut own, "1"), "1");
        assert_eq!(newest(&mut own, "2"), "2");
    }
}
