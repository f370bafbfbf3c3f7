//! Failures that keep us from taking part in leader election, logged without filling the log.

use std::time::Duration;

use failover_core::names::LEADER_LEASE;
use tokio::time::Instant;

use crate::error_chain::causes;

/// The same failure is logged again after this long.
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

/// Logs a failure once, and again once a minute while it lasts.
#[derive(Debug, Default)]
pub(super) struct LeaseFailures {
    logged: Option<(String, Instant)>,
}

impl LeaseFailures {
    pub(super) fn report(&mut self, error: &LeaseError) {
        let text = causes(error);
        if self
            .logged
            .as_ref()
            .is_some_and(|(logged, at)| *logged == text && at.elapsed() < REPORT_EVERY)
        {
            return;
        }
        tracing::error!(
            error = text,
            "cannot take part in leader election; trying again"
        );
        self.logged = Some((text, Instant::now()));
    }

    pub(super) fn over(&mut self) {
        if self.logged.take().is_some() {
            tracing::info!("the Lease answers again");
        }
    }
}
