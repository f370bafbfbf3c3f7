//! How long the API server may take to answer the webhook.

use std::time::Duration;

use failover_runtime::clients::Timeouts;

/// Short: a webhook that does not notice that it is cut off answers from a stale cache, and transitions wait for it.
/// Resuming a watch is cheap.
pub(crate) const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(3),
    write: Duration::from_secs(3),
    read: Duration::from_secs(3),
    watch: Duration::from_secs(30),
    watch_slack: Duration::from_secs(5),
};
