//! Why a turn of the loop failed, and how long until the next.

use std::time::Duration;

use backon::BackoffBuilder as _;

use super::journal::status::StatusError;
use super::sweep::SweepError;

/// A failed turn is tried again after half a second, then ever later up to about ten (this and as much again at random),
/// and sooner when something changes; but never sooner than the first.
pub const SHORTEST_BACKOFF: Duration = Duration::from_millis(500);
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
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

impl TurnError {
    /// What was decided on is out of date: not a failure, only a reason to decide again.
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

/// The delays of one run of failures.
pub fn backoff() -> backon::ExponentialBackoff {
    backon::ExponentialBuilder::default()
        .with_min_delay(SHORTEST_BACKOFF)
        .with_max_delay(LONGEST_BACKOFF)
        .with_jitter()
        .without_max_times()
        .build()
}
