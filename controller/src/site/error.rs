//! Why a reconcile failed.

use super::journal::status::StatusError;
use crate::sweep::SweepError;

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error("cannot label namespace {namespace}")]
    Label {
        namespace: String,
        source: kube::Error,
    },
    #[error("the sweep was cut short")]
    Sweep(#[from] SweepError),
}

impl ReconcileError {
    /// The decision was made on a stale version: not a failure, only a reason to decide again.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Status(StatusError::Conflict) => true,
            Self::Label {
                source: kube::Error::Api(status),
                ..
            } => status.code == 409,
            Self::Status(StatusError::Request(_)) | Self::Label { .. } | Self::Sweep(_) => false,
        }
    }
}
