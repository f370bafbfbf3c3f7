//! How a review ended, and what it was about.

use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReviewOutcome {
    Unchanged,
    Changed,
    Denied,
    /// The cache does not know the namespace: refused, or on a primary site allowed.
    UnknownNamespace,
    /// A decision panicked: refused, or on a primary site allowed.
    Fault,
    /// Not a review that can be answered.
    BadRequest,
    /// Not ready: no certificate, no cache, or cut off from the API server.
    Unavailable,
}

impl EncodeLabelValue for ReviewOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(match self {
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Denied => "denied",
            Self::BadRequest => "bad_request",
            Self::UnknownNamespace => "unknown_namespace",
            Self::Fault => "fault",
            Self::Unavailable => "unavailable",
        })
    }
}

/// The subject of a decision, without the object's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub namespace: String,
    /// `deployments` or `deployments/scale`; empty where it could not be read.
    pub resource: String,
    pub name: String,
    pub operation: String,
    /// Whether a rule covers the resource: only such names are counted one by one.
    pub is_ruled: bool,
}
