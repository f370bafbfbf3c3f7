//! Writes the effective roles to Namespaces, and removes them from Namespaces that have left enforcement.

use std::collections::BTreeMap;
use std::sync::Arc;

use failover_core::NamespaceState;
use failover_core::names::{CONTROLLER_MANAGER, ENFORCE_LABEL};
use failover_core::namespace::Enforcement;
use failover_core::transition::EnrolledNamespace;
use failover_runtime::kube::field_manager;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch};
use kube::core::PartialObjectMeta;
use kube::{Client, ResourceExt as _};
use serde_json::{Map, Value, json};

/// A Namespace, without its spec and status.
pub type NamespaceMeta = PartialObjectMeta<Namespace>;

/// How many namespaces are written at once.
const AT_ONCE: usize = 8;

/// The results of writing several Namespaces.
#[derive(Debug, Default)]
pub struct NamespaceWrites {
    /// Each Namespace that was written: as it was, and as it is stored now.
    pub answers: Vec<(Arc<NamespaceMeta>, NamespaceMeta)>,
    /// Those that could not be written, and why.
    pub failed: Vec<(String, kube::Error)>,
}

/// Writes these states to these Namespaces, each on the version it was decided on. A refused write does not stop the
/// others: they must be demoted all the same. A deleted Namespace needs nothing.
pub async fn write_all(
    client: &Client,
    writes: impl IntoIterator<Item = (Arc<NamespaceMeta>, NamespaceState)>,
) -> NamespaceWrites {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let answers: Vec<_> = futures::stream::iter(writes)
        .filter_map(async |(current, desired)| Some((patch(&current.metadata, &desired)?, current)))
        .map(|(patch, current)| {
            let namespaces = namespaces.clone();
            async move {
                let params = field_manager::patch(CONTROLLER_MANAGER);
                let name = current.name_any();
                let answer = namespaces
                    .patch_metadata(&name, &params, &Patch::Merge(patch))
                    .await;
                (current, answer)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut written = NamespaceWrites::default();
    for (current, answer) in answers {
        match answer {
            Ok(answer) => written.answers.push((current, answer)),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                written.failed.push((current.name_any(), error));
            }
        }
    }
    written
}

/// Whether a Namespace that is not enrolled any more still carries our state. One with an invalid enrolment label is
/// left unchanged: a typo must not open a standby.
pub fn is_left_behind(metadata: &ObjectMeta) -> bool {
    let enrolled = metadata
        .labels
        .as_ref()
        .is_some_and(|labels| labels.contains_key(ENFORCE_LABEL));
    !enrolled && patch(metadata, &released(metadata)).is_some()
}

/// What a Namespace that has left keeps of our state: that it was unenrolled.
pub fn released(metadata: &ObjectMeta) -> NamespaceState {
    let (state, _) = NamespaceState::parse(None, metadata.annotations.as_ref());
    NamespaceState {
        unenrolled: state.unenrolled,
        ..NamespaceState::default()
    }
}

/// A Namespace that has left, for one last sweep: no rule applies to its objects, and restore records are applied where
/// their layer is primary. Objects that are secondary on their own are excluded: they may be active elsewhere.
pub fn leaving(namespace: &NamespaceMeta) -> EnrolledNamespace {
    let metadata = &namespace.metadata;
    let (state, _) = NamespaceState::parse(metadata.labels.as_ref(), metadata.annotations.as_ref());
    EnrolledNamespace {
        name: namespace.name_any(),
        state: NamespaceState {
            enforcement: Some(Enforcement::Policy),
            ..state
        },
    }
}

/// A merge patch of only the keys that differ. The enrolment label is not ours to write.
fn patch(current: &ObjectMeta, desired: &NamespaceState) -> Option<Value> {
    let mut wanted = desired.labels();
    wanted.remove(ENFORCE_LABEL);
    let labels = difference(current.labels.as_ref(), wanted);
    let annotations = difference(current.annotations.as_ref(), desired.annotations());
    if labels.is_empty() && annotations.is_empty() {
        return None;
    }
    let mut metadata = json!({ "resourceVersion": current.resource_version });
    for (key, map) in [("labels", labels), ("annotations", annotations)] {
        if !map.is_empty() {
            metadata[key] = Value::Object(map);
        }
    }
    Some(json!({ "metadata": metadata }))
}

fn difference(
    current: Option<&BTreeMap<String, String>>,
    wanted: BTreeMap<&'static str, Option<String>>,
) -> Map<String, Value> {
    wanted
        .into_iter()
        .filter(|(key, value)| current.and_then(|map| map.get(*key)) != value.as_ref())
        .map(|(key, value)| (key.to_owned(), value.map_or(Value::Null, Value::String)))
        .collect()
}

#[cfg(test)]
mod tests {
    use failover_core::{Role, Roles};

    use super::*;

    fn metadata(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    fn secondary() -> NamespaceState {
        NamespaceState {
            roles: Roles::all(Role::Secondary),
            site: Some("east".into()),
            revision: Some(4),
            ..NamespaceState::default()
        }
    }

    #[test]
    fn only_changed_keys_are_written_on_the_version_they_were_decided_on() {
        let current = metadata(json!({
            "name": "shop", "resourceVersion": "7",
            "labels": {
                "failover.dev/enforce": "enabled", "failover.dev/volumes": "secondary", "failover.dev/workloads": "primary",
                "failover.dev/gitops": "secondary", "failover.dev/traffic": "secondary", "team": "a"
            },
            "annotations": { "failover.dev/site": "east", "failover.dev/revision": "3" }
        }));
        assert_eq!(
            patch(&current, &secondary()).unwrap(),
            json!({ "metadata": {
                "resourceVersion": "7",
                "labels": { "failover.dev/workloads": "secondary" },
                "annotations": { "failover.dev/revision": "4" }
            } })
        );
    }

    #[test]
    fn an_up_to_date_namespace_is_not_written() {
        let current = metadata(json!({
            "resourceVersion": "7",
            "labels": {
                "failover.dev/enforce": "enabled", "failover.dev/volumes": "secondary", "failover.dev/workloads": "secondary",
                "failover.dev/gitops": "secondary", "failover.dev/traffic": "secondary"
            },
            "annotations": { "failover.dev/site": "east", "failover.dev/revision": "4" }
        }));
        assert_eq!(patch(&current, &secondary()), None);
    }

    #[test]
    fn a_namespace_that_left_loses_our_keys_and_nothing_else() {
        let current = metadata(json!({
            "resourceVersion": "9",
            "labels": { "failover.dev/workloads": "primary", "team": "a" },
            "annotations": { "failover.dev/revision": "4", "note": "x" }
        }));
        assert!(is_left_behind(&current));
        assert_eq!(
            patch(&current, &NamespaceState::default()).unwrap(),
            json!({ "metadata": {
                "resourceVersion": "9",
                "labels": { "failover.dev/workloads": null },
                "annotations": { "failover.dev/revision": null }
            } })
        );
    }

    #[test]
    fn a_namespace_with_a_valid_or_misspelled_enrolment_has_not_left() {
        for enforce in ["enabled", "policy", "enabeld"] {
            let labels =
                json!({ "failover.dev/enforce": enforce, "failover.dev/workloads": "secondary" });
            assert!(
                !is_left_behind(&metadata(json!({ "labels": labels }))),
                "{enforce}"
            );
        }
        assert!(!is_left_behind(&metadata(
            json!({ "labels": { "team": "a" } })
        )));
    }
}
