//! [`Site`]: the role of this cluster, as ordered (spec) and as carried out (status).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::transition::{HistoryEntry, Transition};
use super::unknown::Unknown;
use crate::checks::batch::HeldJobs;
use crate::role::Mode;
use crate::role::{Epoch, Role, Roles};

/// The role of this cluster among two that run the same applications.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "failover.dev",
    version = "v1alpha1",
    kind = "Site",
    plural = "sites",
    status = "SiteStatus",
    derive = "PartialEq",
    doc = "Site holds the role of this cluster: primary (live) or secondary (on standby).",
    category = "failover",
    validation = ("self.metadata.name == 'cluster'", "the only allowed name of a Site is 'cluster'"),
    printcolumn(name = "Site", type_ = "string", json_path = ".spec.siteName"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".spec.epoch"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = ("self.siteName == oldSelf.siteName", "siteName is immutable"),
    validation = ("self.epoch >= oldSelf.epoch", "epoch never goes down"),
    validation = ("self.role == oldSelf.role || self.role == 'secondary' || self.epoch > oldSelf.epoch", "a change to primary must raise the epoch"),
    validation = ("self.role == oldSelf.role || (has(self.request) && (!has(oldSelf.request) || self.request.id != oldSelf.request.id))", "a change of role needs a request with a new id: use kubectl failover promote or demote")
)]
#[serde(rename_all = "camelCase")]
pub struct SiteSpec {
    /// Name of this site, for people and for the peer. Immutable.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub site_name: String,
    /// The role that this site should have.
    pub role: Role,
    /// Orders claims to be primary across sites. Never goes down; a change to primary must raise it.
    #[serde(default)]
    pub epoch: Epoch,
    /// Whether a transition waits between the layers.
    #[serde(default)]
    pub mode: Mode,
    /// The request for the current role. It is replaced as a whole, so nothing of an older request remains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RoleRequest>,
    /// Stops transitions and sweeps; admission continues unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// The other site. Refused in this version: nothing asks a peer yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
}

/// One order to change the role: who, why, and which guards are overridden.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleRequest {
    /// Unique to the order.
    #[schemars(length(min = 1, max = 63))]
    pub id: String,
    /// The user as the API server knows the caller.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub requested_by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Guards that must not block this request: `ID` or `ID=namespace/resource/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    pub overrides: Vec<String>,
    /// The peer is unreachable and is not contacted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unplanned: bool,
    /// How the old site was fenced, so that it no longer writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub fenced_by: Option<String>,
    /// Let CronJobs start the run they missed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_missed: bool,
    /// Let all Jobs run that have been held since they were created.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_held_jobs: bool,
    /// Of those Jobs, the ones to let run: `NAMESPACE/NAME`. Ignored with `runHeldJobs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(
            length(max = 317),
            regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
        )
    )]
    pub held_jobs_to_run: Vec<String>,
}

impl RoleRequest {
    /// Which of the Jobs that were forced at their creation it lets run.
    pub fn held_jobs(&self) -> HeldJobs {
        HeldJobs::new(self.run_held_jobs, &self.held_jobs_to_run)
    }
}

/// Why, by whom and until when nothing moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub by: String,
    /// When the pause ends by itself; absent: when somebody resumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// The other site and how to reach it. Refused in this version: nothing asks a peer yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "false", "message": "this version does not query a peer: leave spec.peer out"}]))]
pub struct Peer {
    #[schemars(length(min = 1, max = 63))]
    pub site_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig_secret: Option<SecretReference>,
}

/// A Secret in our own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The observed state of the site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The role that the controller has set for each layer. A new enrolled Namespace gets these roles.
    #[serde(default)]
    pub layers: Roles,
    /// Revision of the effective roles. It rises by one with every change of them; webhook replicas report which they have seen.
    #[serde(default)]
    pub revision: i64,
    /// When the revision last rose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_at: Option<Time>,
    /// The names of all enrolled namespaces, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Namespaces that lost their enrolment label although nobody unenrolled them, sorted. The role of the site does not reach
    /// them. Label them again (`kubectl failover enroll`), or let them go (`kubectl failover unenroll`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// The names under which enrolled namespaces were deleted, those that went last at the end. One that comes back without its
    /// enrolment label has left. A primary remembers the last 1,000; `kubectl failover unenroll NAME` forgets one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<String>,
    /// Those of all the above that are, or were, enrolled as `policy`, sorted: so they come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_only: Vec<String>,
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
    pub enforcers: Vec<EnforcerStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// In one word, what the site is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Role and objects agree.
    Stable,
    Demoting,
    Promoting,
    /// A guard blocks, or objects do not conform; `transition.steps` says which.
    Stalled,
    Paused,
    #[serde(untagged)]
    #[schemars(skip, !untagged)]
    Unknown(Unknown),
}

impl Phase {
    /// All phases that this version knows.
    pub const ALL: [Self; 5] = [
        Self::Stable,
        Self::Demoting,
        Self::Promoting,
        Self::Stalled,
        Self::Paused,
    ];

    pub fn as_str(&self) -> &str {
        match self {
            Self::Stable => "Stable",
            Self::Demoting => "Demoting",
            Self::Promoting => "Promoting",
            Self::Stalled => "Stalled",
            Self::Paused => "Paused",
            Self::Unknown(word) => word.as_str(),
        }
    }
}

/// One live webhook replica and the revision it has observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnforcerStatus {
    pub name: String,
    /// The lowest revision it has seen over all enrolled namespaces.
    pub revision: i64,
    /// How many enrolled namespaces it sees.
    pub namespaces: i64,
    pub last_seen: Time,
}

/// What is known of the other site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    #[serde(default)]
    pub reachable: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub site_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    #[serde(default)]
    pub epoch: Epoch,
    #[serde(default)]
    pub highest_epoch_seen: Epoch,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<PeerVolume>,
}

/// The last time a volume of the peer is known to have been replicated to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerVolume {
    #[serde(rename = "ref")]
    pub reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    pub observed_at: Time,
}

/// Types of [`SiteStatus::conditions`].
pub mod condition {
    /// Phase is Stable and everything is enforced.
    pub const READY: &str = "Ready";
    /// Every ruled object conforms and something holds it there.
    pub const ENFORCED: &str = "Enforced";
    /// A transition is under way.
    pub const PROGRESSING: &str = "Progressing";
    /// The peer's claim and ours do not contradict.
    pub const PEER_CONSISTENT: &str = "PeerConsistent";
}
