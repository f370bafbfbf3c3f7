//! The client for the API server, with every timeout set.
//!
//! kube's defaults retry each request up to fifteen times and never give up reading. A webhook that does not notice that it
//! is cut off answers from a cache that no longer follows.

use std::time::Duration;

use failover_runtime::client;
use kube::{Client, Config};

/// How long one watch request is held open; its end, or a bookmark, arrives within that time. Silence for longer means a
/// dead connection, and until that is noticed a change of roles waits for this replica. To resume a watch is cheap.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Beyond that: for a first list from a loaded API server.
const WATCH_SLACK: Duration = Duration::from_secs(5);
/// For what must fail fast.
const SHORT: Duration = Duration::from_secs(3);

/// A client for watches, and one for the Lease.
#[expect(missing_debug_implementations, reason = "a Client has none")]
#[derive(Clone)]
pub struct Clients {
    pub watches: Client,
    pub lease: Client,
}

impl Clients {
    /// By KUBECONFIG or, in a cluster, by the pod's ServiceAccount.
    pub async fn infer() -> kube::Result<Self> {
        let config = Config::infer().await.map_err(kube::Error::InferConfig)?;
        let watches = bounded(config.clone(), WATCH_TIMEOUT + WATCH_SLACK);
        Ok(Self {
            watches: client(&watches)?,
            lease: client(&bounded(config, SHORT))?,
        })
    }
}

fn bounded(mut config: Config, read_timeout: Duration) -> Config {
    config.connect_timeout = Some(SHORT);
    config.write_timeout = Some(SHORT);
    config.read_timeout = Some(read_timeout);
    // Otherwise the time a pooled connection sat idle counts against the next request's timeout.
    config.reset_reader_on_write = true;
    config.default_retry = false;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_can_hang_and_none_is_retried_behind_our_back() {
        let config = Config::new("https://127.0.0.1:6443".parse().unwrap());
        let config = bounded(config, SHORT);
        assert_eq!(config.read_timeout, Some(SHORT));
        assert!(config.connect_timeout.is_some() && config.write_timeout.is_some());
        assert!(config.reset_reader_on_write && !config.default_retry);
    }
}
