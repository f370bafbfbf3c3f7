//! Complete lists of objects.

use std::borrow::Cow;

use failover_core::json::lean::Lean;
use failover_core::object::ObjectRef;
use failover_core::plan::role_of;
use failover_core::{Role, Rule};
use failover_runtime::kube::discovery;
use failover_runtime::kube::error::ObjectError;
use failover_runtime::kube::objects::Objects;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Client;
use serde_json::{Value, json};

use super::{CheckError, CheckScope, Checker};

const LISTS_AT_ONCE: usize = 4;

/// A kind that need not have a rule.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    group: &'static str,
    version: Cow<'static, str>,
    resource: &'static str,
    name: &'static str,
}

const fn kind(
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    name: &'static str,
) -> Kind {
    Kind {
        group,
        version: Cow::Borrowed(version),
        resource,
        name,
    }
}

impl Kind {
    /// A kind in the version that the API server serves.
    pub(super) fn served(
        group: &'static str,
        version: String,
        resource: &'static str,
        name: &'static str,
    ) -> Self {
        Self {
            version: version.into(),
            ..kind(group, "", resource, name)
        }
    }

    fn objects(&self, client: &Client, namespace: Option<&str>) -> Objects {
        let api_version = match self.group {
            "" => self.version.to_string(),
            group => format!("{group}/{}", self.version),
        };
        Objects::at(client, &api_version, self.resource, namespace)
    }

    fn group_resource(&self) -> String {
        match self.group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        }
    }
}

pub(super) const PODS: Kind = kind("", "v1", "pods", "Pod");
pub(super) const NODES: Kind = kind("", "v1", "nodes", "Node");
pub(super) const CLAIMS: Kind = kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim");
pub(super) const REPLICATION_CONTROLLERS: Kind =
    kind("", "v1", "replicationcontrollers", "ReplicationController");
pub(super) const REPLICA_SETS: Kind = kind("apps", "v1", "replicasets", "ReplicaSet");
pub(super) const DAEMON_SETS: Kind = kind("apps", "v1", "daemonsets", "DaemonSet");
pub(super) const JOBS: Kind = kind("batch", "v1", "jobs", "Job");
pub(super) const ATTACHMENTS: Kind = kind(
    "storage.k8s.io",
    "v1",
    "volumeattachments",
    "VolumeAttachment",
);

/// An object that a rule reaches, with its current role.
#[derive(Clone, Debug)]
pub(super) struct Ruled {
    pub(super) rule: Rule,
    pub(super) reference: ObjectRef,
    pub(super) role: Option<Role>,
    pub(super) object: Value,
}

impl Checker {
    /// All objects of a cluster-scoped kind.
    pub(super) async fn of_cluster(&self, kind: Kind) -> Result<Vec<Value>, CheckError> {
        let objects = kind.objects(&self.client, None);
        all(&objects, kind.name, &kind.group_resource()).await
    }

    /// All objects of a kind in these namespaces.
    pub(super) async fn of_namespaces(
        &self,
        kind: Kind,
        namespaces: impl IntoIterator<Item = &str>,
    ) -> Result<Vec<Value>, CheckError> {
        let lists: Vec<_> = namespaces
            .into_iter()
            .map(|namespace| {
                let objects = kind.objects(&self.client, Some(namespace));
                let what = format!("{} in namespace {namespace}", kind.group_resource());
                async move { all(&objects, kind.name, &what).await }
            })
            .collect();
        futures::stream::iter(lists)
            .buffered(LISTS_AT_ONCE)
            .try_concat()
            .await
    }

    /// The objects of these rules that take part in the transition.
    pub(super) async fn of_rules(
        &self,
        check_scope: &CheckScope,
        wanted: impl Fn(&Rule) -> bool,
    ) -> Result<Vec<Ruled>, CheckError> {
        let served = discovery::served(&self.client, &check_scope.rules).await?;
        let rules: Vec<_> = served.into_iter().filter(wanted).collect();
        let lists: Vec<_> = check_scope
            .namespaces
            .iter()
            .flat_map(|namespace| rules.iter().map(move |rule| (namespace, rule)))
            .map(|(namespace, rule)| async move {
                let objects = Objects::new(&self.client, rule, &namespace.name);
                let what = format!("{} in namespace {}", rule.group_resource(), namespace.name);
                let all = all(&objects, &rule.kind, &what).await?;
                let ruled = all.into_iter().filter_map(|object| {
                    let moves = rule.reaches(&object) && check_scope.has(namespace, rule, &object);
                    moves.then(|| Ruled {
                        rule: rule.clone(),
                        reference: ObjectRef::of(rule, &namespace.name, &object),
                        role: role_of(rule, &namespace.state, &object),
                        object,
                    })
                });
                Ok::<_, CheckError>(ruled.collect::<Vec<_>>())
            })
            .collect();
        futures::stream::iter(lists)
            .buffered(LISTS_AT_ONCE)
            .try_concat()
            .await
    }
}

/// Items of a list lack their kind, so it is added: the checks need it.
async fn all(objects: &Objects, kind: &str, what: &str) -> Result<Vec<Value>, CheckError> {
    let all: Vec<Lean> = match objects.all().await {
        Ok(all) => all,
        // The kind is not served: there are none.
        Err(ObjectError::NotFound) => vec![],
        Err(source) => {
            return Err(CheckError::List {
                what: what.to_owned(),
                source,
            });
        }
    };
    let named = all.into_iter().map(|Lean(mut object)| {
        object["kind"] = json!(kind);
        object
    });
    Ok(named.collect())
}
