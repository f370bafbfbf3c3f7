//! [`FailoverPolicy`]: the role of single objects of a namespace.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::site::{Phase, RoleRequest};
use super::transition::{HistoryEntry, Transition};
use super::unknown::Unknown;
use crate::role::Mode;
use crate::role::{Epoch, Role};

/// Names objects that follow the site, or that move on their own.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "failover.dev",
    version = "v1alpha1",
    kind = "FailoverPolicy",
    plural = "failoverpolicies",
    shortname = "fop",
    namespaced,
    status = "FailoverPolicyStatus",
    derive = "PartialEq",
    doc = "FailoverPolicy names objects that follow the site's role or, with desiredState, move on their own.",
    category = "failover",
    printcolumn(name = "Desired", type_ = "string", json_path = ".spec.desiredState"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(
    validation = ("!has(self.request) || !has(self.request.overrides) || self.request.overrides.size() == 0 || (has(self.request.reason) && self.request.reason != '')", "what is overridden needs a reason: set spec.request.reason")
)]
#[serde(rename_all = "camelCase")]
pub struct FailoverPolicySpec {
    /// The role of the named objects; absent: that of the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<Role>,
    /// Whether the transition waits between the layers.
    #[serde(default)]
    pub mode: Mode,
    /// Who orders the state, why, and which guards are overridden. An id that was already processed is
    /// ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RoleRequest>,
    #[schemars(length(min = 1, max = 500))]
    pub managed_resources: Vec<ManagedResource>,
}

impl FailoverPolicy {
    /// The namespaces in which it may name an object.
    pub fn namespaces(&self) -> BTreeSet<&str> {
        let named = self.spec.managed_resources.iter();
        named
            .map(|resource| resource.namespace.as_deref())
            .chain([self.metadata.namespace.as_deref()])
            .flatten()
            .collect()
    }
}

/// One object that a policy names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedResource {
    pub kind: ManagedKind,
    // Becomes part of an annotation in which spaces and equal signs part entries.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Absent: the policy's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub namespace: Option<String>,
    /// Absent: the group of the built-in rule for this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub api_group: Option<String>,
}

/// The kinds a policy may name.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ManagedKind {
    VolumeReplication,
    Deployment,
    StatefulSet,
    CronJob,
    HelmRelease,
    Kustomization,
    VirtualService,
}

impl ManagedKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VolumeReplication => "VolumeReplication",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::CronJob => "CronJob",
            Self::HelmRelease => "HelmRelease",
            Self::Kustomization => "Kustomization",
            Self::VirtualService => "VirtualService",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverPolicyStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Absent where the objects follow the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// How often its objects have been promoted. Never goes down.
    #[serde(default, skip_serializing_if = "Epoch::is_zero")]
    pub epoch: Epoch,
    /// The id of the last processed request. Its overrides apply only to the transition that it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_request: Option<String>,
    /// The running or blocked transition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition: Option<Transition>,
    /// The last 20 transitions, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ManagedResourceStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The state of one named object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedResourceStatus {
    pub kind: ManagedKind,
    pub name: String,
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Why the object does not have the role that the FailoverPolicy sets, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ManagedResourceReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ManagedResourceStatus {
    /// Whether the policy does not move it at all. One that was moved and does not conform is another matter.
    pub fn is_refused(&self) -> bool {
        self.reason
            .is_some_and(|reason| reason != ManagedResourceReason::NotConforming)
    }
}

/// Why an object does not have the role that a FailoverPolicy sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ManagedResourceReason {
    /// Another FailoverPolicy sets a different role; the current role stays in force.
    Conflict,
    /// It would become active on a site that is not primary, and no request allows that.
    Waiting,
    /// Its namespace is not enrolled.
    NotEnrolled,
    /// There is no such kind, or no such name.
    Invalid,
    /// It is exempt by its own label.
    Exempt,
    /// The namespace's annotation is full.
    NoRoom,
    /// It was swept and does not agree with its role.
    NotConforming,
    #[serde(untagged)]
    #[schemars(skip, !untagged)]
    Unknown(Unknown),
}

impl ManagedResourceReason {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Conflict => "Conflict",
            Self::Waiting => "Waiting",
            Self::NotEnrolled => "NotEnrolled",
            Self::Invalid => "Invalid",
            Self::Exempt => "Exempt",
            Self::NoRoom => "NoRoom",
            Self::NotConforming => "NotConforming",
            Self::Unknown(word) => word.as_str(),
        }
    }
}
