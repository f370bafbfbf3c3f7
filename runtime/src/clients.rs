//! Clients for the API server, with every timeout set.
//!
//! kube's defaults retry each request up to fifteen times and never give up reading; both hide an unavailable API
//! server. Here a request fails in bounded time and is logged. The caller, who knows whether that is safe, retries it.

use std::fmt;
use std::time::Duration;

use kube::{Client, Config};

use crate::client;

/// How long an API server may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    pub write: Duration,
    /// Until the answer to a request arrives; watches are not requests.
    pub read: Duration,
    /// How long one watch request stays open. A bookmark or the end of the request arrives within that time, so silence
    /// for longer means that the connection is dead.
    pub watch: Duration,
    /// On top of that, for a first list from a loaded API server.
    pub watch_slack: Duration,
}

impl Timeouts {
    /// [`Self::watch`] as the API takes it.
    pub fn watch_seconds(&self) -> u32 {
        u32::try_from(self.watch.as_secs()).unwrap_or(u32::MAX)
    }
}

/// Two clients, because a watch is silent for longer than a request may be.
#[derive(Clone)]
pub struct Clients {
    pub requests: Client,
    pub watches: Client,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clients")
    }
}

impl Clients {
    /// Clients by KUBECONFIG or, in a cluster, by the pod's ServiceAccount.
    ///
    /// # Errors
    ///
    /// There is neither, or it cannot be read.
    pub async fn infer(timeouts: &Timeouts) -> Result<Self, kube::Error> {
        let config = Config::infer().await.map_err(kube::Error::InferConfig)?;
        Self::new(&config, timeouts)
    }

    /// # Errors
    ///
    /// The credentials or the authority data cannot be read.
    pub fn new(config: &Config, timeouts: &Timeouts) -> Result<Self, kube::Error> {
        let watches = Timeouts {
            read: timeouts.watch + timeouts.watch_slack,
            ..*timeouts
        };
        Ok(Self {
            requests: client(&bounded(config, timeouts))?,
            watches: client(&bounded(config, &watches))?,
        })
    }
}

fn bounded(config: &Config, timeouts: &Timeouts) -> Config {
    let mut config = config.clone();
    config.connect_timeout = Some(timeouts.connect);
    config.write_timeout = Some(timeouts.write);
    config.read_timeout = Some(timeouts.read);
    // Otherwise the time a pooled connection sat idle counts against the next request's timeout.
    config.reset_reader_on_write = true;
    config.default_retry = false;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_can_hang_and_none_is_retried_behind_the_callers_back() {
        let seconds = Duration::from_secs;
        let timeouts = Timeouts {
            connect: seconds(1),
            write: seconds(2),
            read: seconds(3),
            watch: seconds(4),
            watch_slack: seconds(5),
        };
        let config = Config::new("https://127.0.0.1:6443".parse().unwrap());
        let config = bounded(&config, &timeouts);
        assert_eq!(config.connect_timeout, Some(seconds(1)));
        assert_eq!(config.write_timeout, Some(seconds(2)));
        assert_eq!(config.read_timeout, Some(seconds(3)));
        assert!(config.reset_reader_on_write && !config.default_retry);
        assert_eq!(timeouts.watch_seconds(), 4);
    }
}
