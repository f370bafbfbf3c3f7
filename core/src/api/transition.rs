//! The journal of a [`Site`](super::Site) and of a [`FailoverPolicy`](super::FailoverPolicy): the current transition,
//! and those that have ended.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unknown::Unknown;
use crate::checks::batch::HeldJobs;
use crate::role::Mode;
use crate::role::{Epoch, Role, Roles};

/// The journal of a transition from one role to the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// The id of the request behind it, `birth-<site>` for the taking over of a new site, `enrol-<revision>` for that of
    /// namespaces that came later, or `generation-<number>` of a policy without a request.
    pub id: String,
    /// Absent where the roles were not known before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Role>,
    pub to: Role,
    pub epoch: Epoch,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub requested_by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
    /// CronJobs start the run they missed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_missed: bool,
    /// All Jobs run that have been held since they were created.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_held_jobs: bool,
    /// Of those Jobs, the ones that run: `NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_jobs_to_run: Vec<String>,
    /// Namespaces being taken over; empty means the whole site.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The roles set for the layers of these namespaces, or of the objects of a FailoverPolicy; for a whole site, see `status.layers`.
    #[serde(default, skip_serializing_if = "Roles::is_unknown")]
    pub layers: Roles,
    pub started_at: Time,
    #[serde(default)]
    pub planned: bool,
    pub steps: Vec<Step>,
}

impl Transition {
    /// Which of the Jobs that were forced at their creation it lets run.
    pub fn held_jobs(&self) -> HeldJobs {
        HeldJobs::new(self.run_held_jobs, &self.held_jobs_to_run)
    }
}

/// One step of the transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub name: StepName,
    pub state: StepState,
    /// How many things this step is about: guards, objects, or the enforcers that are waited for.
    #[serde(default)]
    pub total: i64,
    #[serde(default)]
    pub done: i64,
    /// What the step does now; absent while it is pending, and once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<StepActivity>,
    /// What the step waits for, or what blocks it once it is Blocked; at most ten entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub blocked: Vec<Blocked>,
    /// Objects that the step does not wait for, since nothing brings them up; at most ten entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub not_waited_for: Vec<NotWaitedFor>,
    /// The revision with which it changed the roles of its layers; absent where they were so already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Objects that were changed by it.
    #[serde(default)]
    pub changed: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

impl Step {
    /// Whether a later version has written it: its name or its state is unknown to this version.
    pub fn is_unknown(&self) -> bool {
        matches!(self.name, StepName::Unknown(_)) || matches!(self.state, StepState::Unknown(_))
    }
}

/// The steps that a transition may have. Which it has, and in what order, follows from where it goes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum StepName {
    /// Guards are asked.
    Guards,
    Traffic,
    Gitops,
    /// On the way to primary together with `gitops`, which then applies what it has.
    Workloads,
    /// Nothing runs any more that could write.
    PodsGone,
    Volumes,
    /// Every volume is confirmed to be what it was ordered to be.
    Replication,
    /// CronJobs skip the runs they missed.
    CronJobs,
    /// Jobs that were held since they were created run.
    Jobs,
    /// What was restored is available.
    Available,
    /// All layers at once.
    Layers,
    #[serde(untagged)]
    #[schemars(skip, !untagged)]
    Unknown(Unknown),
}

impl StepName {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Guards => "guards",
            Self::Traffic => "traffic",
            Self::Gitops => "gitops",
            Self::Workloads => "workloads",
            Self::PodsGone => "podsGone",
            Self::Volumes => "volumes",
            Self::Replication => "replication",
            Self::CronJobs => "cronJobs",
            Self::Jobs => "jobs",
            Self::Available => "available",
            Self::Layers => "layers",
            Self::Unknown(word) => word.as_str(),
        }
    }
}

/// The state of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepState {
    Pending,
    Running,
    /// A person has to act; `blocked` says why.
    Blocked,
    Done,
    #[serde(untagged)]
    #[schemars(skip, !untagged)]
    Unknown(Unknown),
}

/// What a step does while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepActivity {
    /// Guards are evaluated.
    EvaluatingGuards,
    /// Namespaces get the roles that were ordered.
    LabellingNamespaces,
    /// Webhook replicas have not all reported the revision yet.
    WaitingForWebhooks,
    /// Objects of its layers are brought in line and listed again.
    Sweeping,
    /// What it waits for is being read.
    Checking,
    /// What it waits for has not come about yet.
    Waiting,
    /// A sweep or a check failed, and is tried again.
    Retrying,
    /// Of a FailoverPolicy: the transition of the site goes first.
    WaitingForSite,
    /// Of a FailoverPolicy: a volume that it names is refused to it.
    WaitingForVolumes,
    /// Of a FailoverPolicy: the roles of its objects are not in force yet.
    ApplyingRoles,
    #[serde(untagged)]
    #[schemars(skip, !untagged)]
    Unknown(Unknown),
}

impl StepActivity {
    /// All activities that this version knows.
    pub const ALL: [Self; 10] = [
        Self::EvaluatingGuards,
        Self::LabellingNamespaces,
        Self::WaitingForWebhooks,
        Self::Sweeping,
        Self::Checking,
        Self::Waiting,
        Self::Retrying,
        Self::WaitingForSite,
        Self::WaitingForVolumes,
        Self::ApplyingRoles,
    ];

    /// In a few words.
    pub fn phrase(&self) -> &str {
        match self {
            Self::EvaluatingGuards => "evaluating the guards",
            Self::LabellingNamespaces => "labelling the namespaces",
            Self::WaitingForWebhooks => "waiting for every webhook replica to report the revision",
            Self::Sweeping => "sweeping the objects",
            Self::Checking => "checking",
            Self::Waiting => "waiting",
            Self::Retrying => "retrying",
            Self::WaitingForSite => "waiting for the transition of the site to end",
            Self::WaitingForVolumes => "waiting for volumes that are refused to it",
            Self::ApplyingRoles => "applying the object roles",
            Self::Unknown(word) => word.as_str(),
        }
    }
}

/// One thing that blocks a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// The guard that can be overridden by this name.
    pub guard: String,
    /// `namespace/resource/name`, where the guard is about an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Why it holds and what to do about it.
    pub message: String,
}

/// An object that a step does not wait for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotWaitedFor {
    /// `namespace/resource/name`
    pub object: String,
    /// Why it is not waited for.
    pub message: String,
}

/// One past transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Role>,
    pub to: Role,
    pub epoch: Epoch,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub requested_by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
    /// CronJobs started the run they missed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_missed: bool,
    /// All Jobs ran that had been held since they were created.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_held_jobs: bool,
    /// Of those Jobs, the ones that ran: `NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_jobs_to_run: Vec<String>,
    /// The namespaces that it took over, where it was about those alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    pub started_at: Time,
    pub finished_at: Time,
    /// Objects that were changed by it.
    #[serde(default)]
    pub objects: i64,
    /// How long each step took that came to its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepDuration>,
    pub outcome: Outcome,
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepDuration {
    pub name: StepName,
    pub seconds: i64,
}

/// How a transition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    Succeeded,
    /// A newer request replaced it before it was done.
    Superseded,
    #[serde(untagged)]
    #[schemars(skip, !untagged)]
    Unknown(Unknown),
}

impl Outcome {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Superseded => "Superseded",
            Self::Unknown(word) => word.as_str(),
        }
    }
}
