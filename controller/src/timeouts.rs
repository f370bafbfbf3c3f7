//! How long the API server may take to answer the controller.

use std::time::Duration;

use failover_runtime::clients::Timeouts;

/// A page of 250 objects takes a fraction of the time to read; a webhook that hangs costs a write 1 s.
pub(crate) const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    write: Duration::from_secs(10),
    read: Duration::from_secs(15),
    watch: Duration::from_secs(45),
    watch_slack: Duration::from_secs(15),
};
