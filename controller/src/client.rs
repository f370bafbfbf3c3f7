//! Clients for the API server, with every timeout set.
//!
//! kube's defaults retry each request up to fifteen times and never give up reading; both hide an API server that is gone.
//! Here a request fails in bounded time, is retried by the one who knows whether that is safe, and says so in the log.

use std::time::Duration;

use failover_runtime::client;
use kube::{Client, Config};

/// How long one watch request is held open. A bookmark or the end of the request arrives within that time, so silence for
/// longer means that the connection is dead.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(45);

/// Everything but watches. A page of 250 objects takes a fraction of this; a webhook that hangs costs a write 1 s.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Two clients, because a watch is silent for longer than a request may be.
#[derive(Clone)]
pub struct Clients {
    pub requests: Client,
    pub watches: Client,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

impl Clients {
    /// Clients by KUBECONFIG or, in a cluster, by the pod's ServiceAccount.
    pub async fn infer() -> Result<Self, kube::Error> {
        Self::new(&Config::infer().await.map_err(kube::Error::InferConfig)?)
    }

    pub fn new(config: &Config) -> Result<Self, kube::Error> {
        Ok(Self {
            requests: client(&bounded(config, READ_TIMEOUT))?,
            watches: client(&bounded(config, WATCH_TIMEOUT + READ_TIMEOUT))?,
        })
    }
}

fn bounded(config: &Config, read_timeout: Duration) -> Config {
    let mut config = config.clone();
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
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
        let config = bounded(
            &Config::new("https://127.0.0.1:6443".parse().unwrap()),
            READ_TIMEOUT,
        );
        assert_eq!(config.read_timeout, Some(READ_TIMEOUT));
        assert!(config.connect_timeout.is_some() && config.write_timeout.is_some());
        assert!(config.reset_reader_on_write && !config.default_retry);
    }
}
