//! The client for the API server, with every timeout set.
//!
//! kube's defaults retry each request up to fifteen times and never give up reading. A webhook that does not notice that it
//! is cut off answers from a cache that no longer follows.

use std::time::Duration;

use kube::{Client, Config};

/// How long one watch request is held open; its end, or a bookmark, arrives within that time.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(45);

/// A client for watches, and one for the Lease, which must fail fast.
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
        Ok(Self {
            watches: Client::try_from(bounded(
                config.clone(),
                WATCH_TIMEOUT + Duration::from_secs(15),
            ))?,
            lease: Client::try_from(bounded(config, Duration::from_secs(3)))?,
        })
    }
}

fn bounded(mut config: Config, read_timeout: Duration) -> Config {
    config.connect_timeout = Some(Duration::from_secs(3));
    config.write_timeout = Some(Duration::from_secs(3));
    config.read_timeout = Some(read_timeout);
    // Otherwise the time a pooled connection sat idle counts against the next request's timeout.
    config.reset_reader_on_write = true;
    config.default_retry = false;
    config
}
