//! Writes the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use failover_core::api::{FailoverPolicy, Site, SiteStatus, namespaces_of};
use failover_core::names::CONTROLLER_MANAGER;
use failover_runtime::kube::status;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The Site, or a policy, has changed since it was read: the decision is stale.
    #[error("the object changed since the decision")]
    Conflict,
    #[error("cannot read the journals, or write the journal of the Site")]
    Request(#[source] kube::Error),
}

/// Replaces the status of `site` if `site` is still the newest version: a leader that was overtaken without knowing it
/// cannot revert anything.
pub async fn write(client: &Client, site: &Site, status: SiteStatus) -> Result<Site, StatusError> {
    let sites: Api<Site> = Api::all(client.clone());
    let mut site = site.clone();
    site.status = Some(status);
    status::replace(&sites, CONTROLLER_MANAGER, site)
        .await
        .map_err(|error| match error {
            kube::Error::Api(status) if status.code == 409 => StatusError::Conflict,
            other => StatusError::Request(other),
        })
}

/// Confirms with the API server that this is the newest version of the Site; such a list is not answered from a cache.
/// The version of a Namespace does not show whether the journal has moved on since: a cached Site that lags behind the
/// labels would revert a layer.
pub async fn confirm(client: &Client, site: &Site) -> Result<(), StatusError> {
    let stored = versions::<Site>(client).await?;
    if stored == BTreeMap::from([version(site)]) {
        Ok(())
    } else {
        Err(StatusError::Conflict)
    }
}

/// As [`confirm`], for the policies that may concern these namespaces. Others may change freely.
pub async fn confirm_policies(
    client: &Client,
    policies: &[Arc<FailoverPolicy>],
    namespaces: &BTreeSet<&str>,
) -> Result<(), StatusError> {
    let mut stored = versions::<FailoverPolicy>(client).await?;
    for policy in policies {
        let (key, read) = version(&**policy);
        let unchanged = stored.get(&key) == Some(&read);
        if unchanged {
            stored.remove(&key);
        } else if !policy.namespaces().is_disjoint(namespaces) {
            return Err(StatusError::Conflict);
        }
    }
    // The remaining ones were read in another version, or not at all.
    let resource = ApiResource::erase::<FailoverPolicy>(&());
    let mut changed = futures::stream::iter(stored.into_keys())
        .map(|key| {
            let api: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), &key.namespace, &resource);
            // A list like all other reads, so that it needs no extra right.
            let one = ListParams::default().fields(&format!("metadata.name={}", key.name));
            async move { api.list(&one).await }
        })
        .buffer_unordered(AT_ONCE);
    while let Some(found) = changed.try_next().await.map_err(StatusError::Request)? {
        for policy in found.items {
            let raw = serde_json::to_value(policy).unwrap_or_default();
            let named = namespaces_of(&raw);
            if named.iter().any(|name| namespaces.contains(name.as_str())) {
                return Err(StatusError::Conflict);
            }
        }
    }
    Ok(())
}

/// How many policies are read at once.
const AT_ONCE: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    namespace: String,
    name: String,
    uid: Option<String>,
}

fn version(object: &impl ResourceExt) -> (Key, Option<String>) {
    let key = Key {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        uid: object.uid(),
    };
    (key, object.resource_version())
}

/// The stored versions.
async fn versions<K>(client: &Client) -> Result<BTreeMap<Key, Option<String>>, StatusError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let stored = api.list_metadata(&ListParams::default()).await;
    Ok(stored
        .map_err(StatusError::Request)?
        .items
        .iter()
        .map(version)
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::fake_api::FakeApi;

    fn path(namespace: &str, name: &str) -> String {
        format!("/apis/failover.dev/v1alpha1/namespaces/{namespace}/failoverpolicies/{name}")
    }

    fn policy(namespace: &str, named: &[&str]) -> Value {
        let named = named.iter().map(
            |namespace| json!({ "kind": "Deployment", "name": "web", "namespace": namespace }),
        );
        json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "FailoverPolicy", "metadata": { "namespace": namespace, "uid": namespace },
            "spec": { "managedResources": named.collect::<Vec<_>>() }
        })
    }

    /// The policies as they are stored now.
    fn read(api: &FakeApi, all: &[(&str, &str)]) -> Vec<Arc<FailoverPolicy>> {
        let one = |(namespace, name): &(&str, &str)| {
            let stored = api.get(&path(namespace, name));
            Arc::new(serde_json::from_value(stored).unwrap())
        };
        all.iter().map(one).collect()
    }

    #[tokio::test]
    async fn only_policies_that_may_concern_the_namespaces_must_be_unchanged() {
        let api = FakeApi::new();
        api.put(&path("billing", "a"), policy("billing", &["billing"]));
        api.put(&path("shop", "b"), policy("shop", &["shop"]));
        let policies = read(&api, &[("billing", "a"), ("shop", "b")]);
        let confirm = async |namespaces: &[&str]| {
            let namespaces = namespaces.iter().copied().collect();
            let answer = confirm_policies(&api.client(), &policies, &namespaces).await;
            !matches!(answer, Err(StatusError::Conflict))
        };
        assert!(confirm(&["billing", "shop"]).await);
        api.put(&path("billing", "a"), policy("billing", &["billing"]));
        assert!(
            confirm(&["shop"]).await,
            "another process continues the transition meanwhile"
        );
        assert!(!confirm(&["billing"]).await);
        api.put(&path("far", "c"), policy("far", &["elsewhere"]));
        assert!(confirm(&["shop"]).await);
        api.put(&path("far", "c"), policy("far", &["elsewhere", "shop"]));
        assert!(
            !confirm(&["shop"]).await,
            "one that has come, or has come to name it"
        );
    }

    #[tokio::test]
    async fn a_deleted_policy_counts_as_changed() {
        let api = FakeApi::new();
        api.put(&path("shop", "b"), policy("shop", &["shop"]));
        let policies = read(&api, &[("shop", "b")]);
        let gone = FakeApi::new();
        let answer = confirm_policies(&gone.client(), &policies, &["shop"].into()).await;
        assert!(matches!(answer, Err(StatusError::Conflict)));
    }
}
