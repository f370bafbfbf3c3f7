//! Namespaces: which are enrolled, with which effective roles, and putting ours on them or taking it off.

use std::collections::BTreeMap;

use failover_core::names::{CLI_MANAGER, ENFORCE_LABEL, OBJECTS_ANNOTATION, UNENROLLED_ANNOTATION};
use failover_core::namespace::{Enforcement, ObjectRoles, may_enrol};
use failover_core::transition::EnrolledNamespace;
use failover_core::transition::Presence;
use failover_core::{Layer, NamespaceState};
use failover_runtime::kube::field_manager;
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::{ApiError, Cluster, found};

/// Namespaces per page.
const PAGE: u32 = 500;

impl Cluster {
    /// The enrolled namespaces, sorted by name.
    pub async fn enrolled(&self) -> Result<Vec<EnrolledNamespace>, ApiError> {
        let all = self.namespace_metadata(Some(ENFORCE_LABEL)).await?;
        let mut enrolled: Vec<EnrolledNamespace> = all
            .iter()
            .filter_map(enrolled_state)
            .filter(|namespace| may_enrol(&namespace.name))
            .collect();
        enrolled.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(enrolled)
    }

    /// Every namespace that carries any key of ours.
    pub async fn marked_namespaces(&self) -> Result<Vec<ObjectMeta>, ApiError> {
        let mut all = self.namespace_metadata(None).await?;
        all.retain(is_marked);
        Ok(all)
    }

    /// What each Namespace that there is is to the site, by name.
    pub async fn presences(&self) -> Result<BTreeMap<String, Presence>, ApiError> {
        let all = self.namespace_metadata(None).await?;
        let presences = all.into_iter().filter_map(|metadata| {
            let presence = presence(&metadata);
            Some((metadata.name?, presence))
        });
        Ok(presences.collect())
    }

    /// `None`: there is no such namespace.
    pub async fn namespace(&self, name: &str) -> Result<Option<ObjectMeta>, ApiError> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let action = format!("read namespace {name}");
        let answer = self.read(&action, || {
            let namespaces = namespaces.clone();
            async move { namespaces.get_metadata(name).await }
        });
        Ok(found(answer.await)?.map(|partial| partial.metadata))
    }

    /// Puts the enrolment label on a namespace, on the version that was checked.
    pub async fn label_enrolled(
        &self,
        metadata: &ObjectMeta,
        enforcement: Enforcement,
    ) -> Result<(), ApiError> {
        let patch = json!({"metadata": {
            "resourceVersion": metadata.resource_version,
            "labels": {ENFORCE_LABEL: enforcement.as_str()},
            "annotations": {UNENROLLED_ANNOTATION: null},
        }});
        self.patch_namespace(metadata, "label", &patch).await
    }

    /// Takes every key of ours off a namespace, in one write: enrolment and effective roles go together. What is left is by
    /// whom it was unenrolled; of all others it is believed that they lost their label.
    pub async fn unmark(
        &self,
        metadata: &ObjectMeta,
        unenrolled: Option<&str>,
    ) -> Result<(), ApiError> {
        let patch = unmarked(metadata, unenrolled);
        self.patch_namespace(metadata, "remove our labels from", &patch)
            .await
    }

    /// Puts this in force of single objects of a namespace, on the version that was checked.
    pub async fn write_objects(
        &self,
        metadata: &ObjectMeta,
        objects: &ObjectRoles,
        dry_run: bool,
    ) -> Result<(), ApiError> {
        let text = (!objects.is_empty()).then(|| objects.to_string());
        let patch = json!({"metadata": {
            "resourceVersion": metadata.resource_version,
            "annotations": {OBJECTS_ANNOTATION: text},
        }});
        let params = PatchParams {
            dry_run,
            ..manager()
        };
        let verb = "update the object roles of";
        self.patch_namespace_with(metadata, verb, &patch, &params)
            .await
    }

    async fn patch_namespace(
        &self,
        metadata: &ObjectMeta,
        verb: &str,
        patch: &Value,
    ) -> Result<(), ApiError> {
        self.patch_namespace_with(metadata, verb, patch, &manager())
            .await
    }

    async fn patch_namespace_with(
        &self,
        metadata: &ObjectMeta,
        verb: &str,
        patch: &Value,
        params: &PatchParams,
    ) -> Result<(), ApiError> {
        let name = metadata.name.as_deref().unwrap_or_default();
        Api::<Namespace>::all(self.client())
            .patch_metadata(name, params, &Patch::Merge(patch))
            .await
            .map(|_| ())
            .map_err(|error| self.error(&format!("{verb} namespace {name}"), &error))
    }

    async fn namespace_metadata(&self, label: Option<&str>) -> Result<Vec<ObjectMeta>, ApiError> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let pages = futures::stream::try_unfold(Some(None::<String>), |token| {
            let namespaces = namespaces.clone();
            async move {
                let Some(token) = token else {
                    return Ok::<_, ApiError>(None);
                };
                let params = ListParams {
                    label_selector: label.map(str::to_owned),
                    limit: Some(PAGE),
                    continue_token: token,
                    ..ListParams::default()
                };
                let list = self
                    .read("list namespaces", || {
                        let (namespaces, params) = (namespaces.clone(), params.clone());
                        async move { namespaces.list_metadata(&params).await }
                    })
                    .await?;
                let next = list.metadata.continue_.filter(|token| !token.is_empty());
                let items: Vec<_> = list.items.into_iter().map(|item| item.metadata).collect();
                Ok(Some((items, next.map(Some))))
            }
        });
        let pages: Vec<Vec<ObjectMeta>> = pages.try_collect().await?;
        Ok(pages.into_iter().flatten().collect())
    }
}

fn manager() -> PatchParams {
    field_manager::patch(CLI_MANAGER)
}

/// `None`: it is not enrolled.
pub fn enrolled_state(metadata: &ObjectMeta) -> Option<EnrolledNamespace> {
    let (state, _) = NamespaceState::parse(metadata.labels.as_ref(), metadata.annotations.as_ref());
    state.enforcement.map(|_| EnrolledNamespace {
        name: metadata.name.clone().unwrap_or_default(),
        state,
    })
}

/// Our keys on a Namespace, labels and annotations.
fn our_keys() -> (Vec<&'static str>, Vec<&'static str>) {
    let state = NamespaceState::default();
    (
        state.labels().into_keys().collect(),
        state.annotations().into_keys().collect(),
    )
}

fn is_marked(metadata: &ObjectMeta) -> bool {
    let (labels, annotations) = our_keys();
    let has = |map: &Option<BTreeMap<String, String>>, keys: &[&str]| {
        map.as_ref()
            .is_some_and(|map| keys.iter().any(|key| map.contains_key(*key)))
    };
    has(&metadata.labels, &labels) || has(&metadata.annotations, &annotations)
}

fn unmarked(metadata: &ObjectMeta, unenrolled: Option<&str>) -> Value {
    let (labels, annotations) = our_keys();
    let nulls = |keys: Vec<&'static str>| -> Map<String, Value> {
        keys.into_iter()
            .map(|key| (key.to_owned(), Value::Null))
            .collect()
    };
    let mut annotations = nulls(annotations);
    annotations.insert(UNENROLLED_ANNOTATION.to_owned(), json!(unenrolled));
    json!({"metadata": {
        "resourceVersion": metadata.resource_version,
        "labels": nulls(labels),
        "annotations": annotations,
    }})
}

/// What a Namespace that is there is to the site.
pub fn presence(metadata: &ObjectMeta) -> Presence {
    let (state, _) = NamespaceState::parse(metadata.labels.as_ref(), metadata.annotations.as_ref());
    Presence::of(&state)
}

/// Whether the controller has taken a namespace over: every layer has a role.
pub fn is_taken_over(state: &NamespaceState) -> bool {
    state.revision.is_some()
        && Layer::ALL
            .iter()
            .all(|layer| state.roles.of(*layer).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn everything_of_ours_goes_in_one_write_on_the_version_that_was_read() {
        let metadata = metadata(json!({"name": "shop", "resourceVersion": "7"}));
        let patch = unmarked(&metadata, Some("2026-12-01T03:00:00Z admin"));
        assert_eq!(
            patch,
            json!({"metadata": {
                "resourceVersion": "7",
                "labels": {
                    "failover.dev/enforce": null, "failover.dev/gitops": null, "failover.dev/traffic": null,
                    "failover.dev/volumes": null, "failover.dev/workloads": null
                },
                "annotations": {
                    "failover.dev/objects": null, "failover.dev/site": null, "failover.dev/revision": null,
                    "failover.dev/unenrolled": "2026-12-01T03:00:00Z admin"
                }
            }})
        );
    }

    #[test]
    fn a_namespace_is_marked_by_any_key_of_ours_and_by_no_other() {
        assert!(is_marked(&metadata(
            json!({"labels": {"failover.dev/volumes": "primary"}})
        )));
        assert!(is_marked(&metadata(
            json!({"annotations": {"failover.dev/revision": "1"}})
        )));
        assert!(!is_marked(&metadata(json!({"labels": {"team": "a"}}))));
    }

    #[test]
    fn it_is_taken_over_once_every_layer_has_a_role() {
        let of = |labels: Value| {
            let metadata = metadata(
                json!({"name": "shop", "labels": labels, "annotations": {"failover.dev/revision": "3"}}),
            );
            is_taken_over(&enrolled_state(&metadata).unwrap().state)
        };
        assert!(!of(
            json!({"failover.dev/enforce": "enabled", "failover.dev/volumes": "primary"})
        ));
        assert!(of(json!({
            "failover.dev/enforce": "policy", "failover.dev/volumes": "primary", "failover.dev/workloads": "primary",
            "failover.dev/gitops": "primary", "failover.dev/traffic": "primary"
        })));
    }
}
