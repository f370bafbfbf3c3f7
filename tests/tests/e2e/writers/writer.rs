//! All writers.

use failover_core::api::ManagedResource;
use failover_core::rules::rule::Rule;
use serde_json::json;
use testbed::site::Output;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// Flux.
    ServerSideApply,
    /// `kubectl apply`, which stores the last applied manifest in an annotation.
    ClientSideApply,
    /// PUT by a client that drops the record.
    Replace,
    JsonPatch,
    MergePatch,
    /// `kubectl scale`.
    ScaleCommand,
    ScaleSubresource,
    /// The real HorizontalPodAutoscaler controller, by `minReplicas`.
    Autoscaler,
    RolloutRestart,
    /// Brings back the annotations of an older ReplicaSet.
    RolloutUndo,
    /// `kubectl create job --from=cronjob/...`
    JobFromCronJob,
    /// Deletes the object and creates it from the manifest.
    Recreate,
    /// Deletes the Namespace with its content and creates it, at first without its label.
    RecreateNamespace,
    /// Removes the record.
    RecordRemoved,
    /// Flux, by a commit with the label that requests an exemption.
    ExemptLabel,
    /// Flux, and a user who may edit Namespaces, by the labels of the Namespace.
    OpenNamespace,
    /// Flux, by a commit without the FailoverPolicy that alone enrols the objects.
    PolicyDeleted,
    /// ... or one that names less.
    PolicyShrunk,
}

/// The answer to a writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    /// 403.
    Refused,
    /// Anything else: on a 422 Flux deletes and recreates, and the cluster's own controllers give up.
    Failed(String),
}

impl Writer {
    pub(super) const ALL: [Self; 18] = [
        Self::ServerSideApply,
        Self::ClientSideApply,
        Self::Replace,
        Self::JsonPatch,
        Self::MergePatch,
        Self::ScaleCommand,
        Self::ScaleSubresource,
        Self::Autoscaler,
        Self::RolloutRestart,
        Self::RolloutUndo,
        Self::JobFromCronJob,
        Self::Recreate,
        Self::RecreateNamespace,
        Self::RecordRemoved,
        Self::ExemptLabel,
        Self::OpenNamespace,
        Self::PolicyDeleted,
        Self::PolicyShrunk,
    ];

    /// The namespace of its row.
    pub(super) fn namespace(self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    }

    pub(super) fn writes(self, rule: &Rule) -> bool {
        match self {
            Self::ScaleCommand | Self::ScaleSubresource | Self::Autoscaler => rule.scale,
            Self::RolloutRestart | Self::RolloutUndo => {
                matches!(&*rule.kind, "Deployment" | "StatefulSet")
            }
            Self::JobFromCronJob => rule.kind == "Job",
            Self::PolicyDeleted | Self::PolicyShrunk => {
                let named = json!({"kind": rule.kind, "name": "any"});
                serde_json::from_value::<ManagedResource>(named).is_ok()
            }
            Self::ServerSideApply
            | Self::ClientSideApply
            | Self::Replace
            | Self::JsonPatch
            | Self::MergePatch
            | Self::Recreate
            | Self::RecreateNamespace
            | Self::RecordRemoved
            | Self::ExemptLabel
            | Self::OpenNamespace => true,
        }
    }

    /// How many replicas there are after a promotion, if there was one at first and the writer has asked for so many since.
    pub(super) fn after_promotion(self, asked: i64, answer: &Answer) -> i64 {
        match self {
            // The autoscaler asks again by itself.
            Self::Autoscaler => asked,
            _ if *answer == Answer::Accepted && self.defines_the_object() => asked,
            _ => 1,
        }
    }

    /// ... and after the writer has asked for so many on a primary.
    pub(super) fn after_asking(self, asked: i64, before: i64) -> i64 {
        match self {
            Self::RolloutRestart | Self::RolloutUndo | Self::RecordRemoved => before,
            _ => asked,
        }
    }

    /// Whether its write defines the object, so that a promotion restores exactly that.
    fn defines_the_object(self) -> bool {
        match self {
            // A Scale carries no record; the last three do not set a count.
            Self::ScaleCommand
            | Self::ScaleSubresource
            | Self::Autoscaler
            | Self::RolloutRestart
            | Self::RolloutUndo
            | Self::RecordRemoved => false,
            Self::ServerSideApply
            | Self::ClientSideApply
            | Self::Replace
            | Self::JsonPatch
            | Self::MergePatch
            | Self::JobFromCronJob
            | Self::Recreate
            | Self::RecreateNamespace
            | Self::ExemptLabel
            | Self::OpenNamespace
            | Self::PolicyDeleted
            | Self::PolicyShrunk => true,
        }
    }
}

impl Answer {
    pub(super) fn of<T>(result: kube::Result<T>) -> Self {
        match result {
            Ok(_) => Self::Accepted,
            Err(kube::Error::Api(status)) if status.code == 403 => Self::Refused,
            Err(error) => Self::Failed(error.to_string()),
        }
    }

    pub(super) fn of_kubectl(output: &Output) -> Self {
        let denied = "is forbidden: ValidatingAdmissionPolicy";
        match output.code {
            0 => Self::Accepted,
            _ if output.stderr.contains(denied) => Self::Refused,
            _ => Self::Failed(output.stderr.clone()),
        }
    }
}
