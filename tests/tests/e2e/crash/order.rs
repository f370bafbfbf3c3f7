//! Checks the safe order against every state that was ever stored.

use std::collections::{BTreeMap, BTreeSet};

use failover_core::api::{FailoverPolicy, FailoverPolicyStatus, Site, SiteStatus};
use failover_core::checks::{available, replication};
use failover_core::namespace::ObjectRole;
use failover_core::role::{Layer, Role, Roles};
use failover_core::{NamespaceState, RuleSet};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::ApiResource;
use serde_json::Value;
use testbed::recorder::Revision;

use crate::writers::history;

const VOLUMES: &str = "volumereplications.replication.storage.openshift.io";

/// The kinds to record.
pub(super) fn kinds() -> Vec<ApiResource> {
    let mut kinds = history::kinds();
    kinds.push(ApiResource::erase::<Pod>(&()));
    kinds.push(ApiResource::erase::<Site>(&()));
    kinds.push(ApiResource::erase::<FailoverPolicy>(&()));
    kinds
}

/// Which object the transition belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Site,
    /// The only FailoverPolicy, which names everything in the namespace.
    Policy,
}

impl Scope {
    fn kind(self) -> &'static str {
        match self {
            Self::Site => "sites.failover.dev",
            Self::Policy => "failoverpolicies.failover.dev",
        }
    }
}

/// The state of the cluster at one revision.
#[derive(Default)]
struct ClusterState {
    /// The roles that the journal has requested.
    requested: Roles,
    /// The journal reports a completed demotion.
    reached_secondary: bool,
    /// The roles in force.
    roles: Roles,
    pods: BTreeSet<String>,
    volumes: BTreeMap<String, Value>,
    workloads: BTreeMap<(String, String), Value>,
}

/// All violations of the order in a namespace. `revisions` are in the order in which they were stored.
pub(super) fn violations(revisions: &[Revision], namespace: &str, scope: Scope) -> Vec<String> {
    let mut found = history::violations(revisions);
    let mut state = ClusterState::default();
    let first = revisions.partition_point(|r| r.number <= first_change(revisions, scope));
    for (i, revision) in revisions.iter().enumerate() {
        let before = state.roles;
        state.take(revision, namespace, scope);
        if i >= first {
            let violations = state.violations_since(before);
            found.extend(violations.map(|what| format!("revision {}: {what}", revision.number)));
        }
    }
    found
}

/// Before the first change of the journal, objects come in the order of their last write.
fn first_change(revisions: &[Revision], scope: Scope) -> u64 {
    let of_journal = revisions.iter().filter(|r| r.kind == scope.kind());
    of_journal.map(|r| r.number).min().unwrap_or_default()
}

/// The role of each layer in a namespace. The role that a policy gives to an object counts for its whole layer.
fn roles(state: &NamespaceState) -> Roles {
    let mut roles = state.roles;
    let rules = RuleSet::built_in();
    for (resource, _, object_role) in state.objects.iter() {
        let rule = rules.iter().find(|rule| rule.resource == resource);
        let role = match object_role {
            ObjectRole::Primary => Role::Primary,
            ObjectRole::Secondary => Role::Secondary,
            ObjectRole::Site
            | ObjectRole::Exempt
            | ObjectRole::ExemptIfLabelled
            | ObjectRole::Orphaned => continue,
        };
        roles.set(rule.expect("only ruled kinds").layer, Some(role));
    }
    roles
}

impl ClusterState {
    fn take(&mut self, revision: &Revision, namespace: &str, scope: Scope) {
        let object = revision.object.clone();
        if revision.kind == scope.kind() {
            let status = object.as_ref().map(|journal| journal["status"].clone());
            self.apply_journal(status.unwrap_or_default(), scope);
        }
        if revision.kind == "namespaces" && revision.name == namespace {
            let namespace: Option<Namespace> =
                object.clone().and_then(|o| serde_json::from_value(o).ok());
            let metadata = namespace.unwrap_or_default().metadata;
            let (state, _) =
                NamespaceState::parse(metadata.labels.as_ref(), metadata.annotations.as_ref());
            self.roles = roles(&state);
        }
        if revision.namespace != namespace {
            return;
        }
        let name = revision.name.clone();
        match (revision.kind.as_str(), object) {
            ("pods", Some(pod)) => {
                let ended = matches!(
                    pod["status"]["phase"].as_str(),
                    Some("Succeeded" | "Failed")
                );
                if ended {
                    self.pods.remove(&name);
                } else {
                    self.pods.insert(name);
                }
            }
            ("pods", None) => {
                self.pods.remove(&name);
            }
            (VOLUMES, Some(volume)) => {
                self.volumes.insert(name, volume);
            }
            ("deployments.apps" | "statefulsets.apps", Some(workload)) => {
                let key = (revision.kind.clone(), name);
                self.workloads.insert(key, workload);
            }
            _ => {}
        }
    }

    fn apply_journal(&mut self, status: Value, scope: Scope) {
        match scope {
            Scope::Site => {
                let status: SiteStatus = serde_json::from_value(status).unwrap_or_default();
                self.requested = status.layers;
                self.reached_secondary =
                    status.transition.is_none() && status.layers.uniform() == Some(Role::Secondary);
            }
            Scope::Policy => {
                let status: FailoverPolicyStatus =
                    serde_json::from_value(status).unwrap_or_default();
                let last = status.history.first().map(|transition| transition.to);
                self.reached_secondary =
                    status.transition.is_none() && last == Some(Role::Secondary);
                self.requested = status
                    .transition
                    .map(|transition| transition.layers)
                    .unwrap_or_default();
            }
        }
    }

    /// Violations in this state, and in the change to it from `before`.
    fn violations_since(&self, before: Roles) -> impl Iterator<Item = String> {
        let came =
            |layer, role| before.of(layer) != Some(role) && self.roles.of(layer) == Some(role);
        let mut violations = vec![];
        let unconfirmed = |role| {
            let doubts = self.volumes.iter();
            doubts.filter_map(move |(name, volume)| {
                Some(format!("{name}: {}", replication::doubt(volume, role)?))
            })
        };
        let demoted = self
            .volumes
            .values()
            .any(|v| v["spec"]["replicationState"] != "primary");
        if demoted && !self.pods.is_empty() {
            violations.push(format!(
                "{:?} run over a volume that is not primary",
                self.pods
            ));
        }
        if self.roles.traffic == Some(Role::Primary) && self.roles.workloads != Some(Role::Primary)
        {
            violations.push("traffic without workloads".to_owned());
        }
        if came(Layer::Volumes, Role::Secondary) && !self.pods.is_empty() {
            violations.push(format!("volumes are demoted while {:?} run", self.pods));
        }
        if came(Layer::Workloads, Role::Primary) {
            violations.extend(
                unconfirmed(Role::Primary).map(|why| format!("workloads come before {why}")),
            );
        }
        if came(Layer::Traffic, Role::Primary) {
            let lacking = self.workloads.iter().filter_map(|((_, name), workload)| {
                Some(format!(
                    "traffic comes before {name}: {}",
                    available::lacking(workload)?
                ))
            });
            violations.extend(lacking);
        }
        for layer in Layer::ALL {
            let role = self.roles.of(layer);
            if role != before.of(layer) && role != self.requested.of(layer) {
                violations.push(format!(
                    "{layer} is {role:?}, which the journal has not ordered"
                ));
            }
        }
        if self.reached_secondary {
            violations.extend(unconfirmed(Role::Secondary).map(|why| format!("done before {why}")));
        }
        violations.into_iter()
    }
}
