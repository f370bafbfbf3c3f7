//! What keeps us from taking part in the election, told without filling the log.

use std::time::Duration;

use failover_core::names::LEADER_LEASE;
use tokio::time::Instant;

use crate::error_chain::causes;

/// The same trouble is told again after this long.
const REPORT_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub(super) enum LeaseError {
    #[error(
        "Lease {namespace}/{LEADER_LEASE} is missing, and the controller may not create it: run `kubectl failover install`"
    )]
    Missing { namespace: String },
    #[error("cannot {verb} Lease {namespace}/{LEADER_LEASE}")]
    Request {
        verb: &'static str,
        namespace: String,
        source: kube::Error,
    },
    #[error(
        "cannot {verb} Lease {namespace}/{LEADER_LEASE}: no answer within {:.1?}",
        after
    )]
    Silent {
        verb: &'static str,
        namespace: String,
        after: Duration,
    },
}

/// Tells what is wrong once, and again once a minute while it lasts.
#[derive(Debug, Default)]
pub(super) struct LeaseFailures {
    told: Option<(String, Instant)>,
}

impl LeaseFailures {
    pub(super) fn report(&mut self, error: &LeaseError) {
        let text = causes(error);
        if self
            .told
            .as_ref()
            .is_some_and(|(told, at)| *told == text && at.elapsed() < REPORT_EVERY)
        {
            return;
        }
        tracing::error!(
            error = text,
            "cannot take part in leader election; trying again"
        );
        self.told = Some((text, Instant::now()));
    }

    pub(super) fn over(&mut self) {
        if self.told.take().is_some() {
            tracing::info!("the Lease answers again");
        }
    }
}
