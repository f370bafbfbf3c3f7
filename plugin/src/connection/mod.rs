//! From kubectl's flags and files to a client.
//!
//! ```text
//!   --kubeconfig | $KUBECONFIG (several) | ~/.kube/config ──► merge ──┐
//!   flags ────────────────────────────────────────────────────────────┴─► one cluster, one user ──► kube::Config
//! ```
//!
//! The rules are those of kubectl, so that `kubectl failover X` reaches the same cluster as `kubectl X`: see
//! [`select`] for what a flag overrides. Errors name the flag or the file to check.

mod files;
mod select;

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, KubeconfigError};
use kube::{Client, Config};

pub use files::Environment;

use crate::cli::ConnectionFlags;

/// A connection that is not answered by then is not going to be.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where requests go, and under which name a person knows it.
#[derive(Clone)]
pub struct Connection {
    pub client: Client,
    /// The client's configuration, for further clients with other timeouts.
    pub config: Box<Config>,
    pub server: String,
    pub context: Option<String>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({self})")
    }
}

impl std::fmt::Display for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.context {
            Some(context) => write!(f, "context {context}, {}", self.server),
            None => f.write_str(&self.server),
        }
    }
}

/// Why there is no client. Nothing has been sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("cannot read {what}: {source}")]
    File {
        what: String,
        source: std::io::Error,
    },
    #[error("cannot read the kubeconfig {path}: {reason}")]
    Kubeconfig { path: PathBuf, reason: String },
    #[error("there is no {what} {name:?} in the kubeconfig{hint}")]
    Missing {
        what: &'static str,
        name: String,
        hint: String,
    },
    #[error(
        "no cluster to talk to: there is no kubeconfig, and this is not a pod; pass --kubeconfig, --context or --server, or set KUBECONFIG"
    )]
    NoCluster,
    #[error("cluster {cluster:?} has no server: set it in the kubeconfig, or pass --server")]
    NoServer { cluster: String },
    #[error("{value:?} is not an address of an API server: use https://HOST:PORT ({origin})")]
    Server { value: String, origin: &'static str },
    #[error(
        "--certificate-authority and --insecure-skip-tls-verify contradict each other: leave one out"
    )]
    AuthorityAndInsecure,
    #[error("--{given} needs --{missing}")]
    Incomplete {
        given: &'static str,
        missing: &'static str,
    },
    #[error("{0}")]
    Credentials(String),
}

/// Turns flags into a client. Reads files, but sends nothing.
pub async fn connect(
    flags: &ConnectionFlags,
    environment: &Environment,
) -> Result<Connection, ConnectionError> {
    let (mut config, context) = configure(flags, environment).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let request_timeout = Some(flags.request_timeout).filter(|timeout| !timeout.is_zero());
    config.read_timeout = request_timeout;
    config.write_timeout = request_timeout;
    // Otherwise the time a pooled connection sat idle counts against the next answer.
    config.reset_reader_on_write = true;
    // Fifteen attempts behind our back would hide an API server that is gone.
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    let client = failover_runtime::client(&config).map_err(|error| {
        ConnectionError::Credentials(failover_runtime::error_chain::causes(&error))
    })?;
    Ok(Connection {
        client,
        config: Box::new(config),
        server: server.trim_end_matches('/').to_owned(),
        context,
    })
}

async fn configure(
    flags: &ConnectionFlags,
    environment: &Environment,
) -> Result<(Config, Option<String>), ConnectionError> {
    let kubeconfig = files::load(flags.kubeconfig.as_deref(), environment)?;
    if kubeconfig.clusters.is_empty() && flags.server.is_none() && environment.in_cluster {
        let mut config = Config::incluster().map_err(|error| {
            ConnectionError::Credentials(failover_runtime::error_chain::causes(&error))
        })?;
        select::impersonate(&mut config.auth_info, flags);
        return Ok((config, None));
    }
    let selected = select::select(&kubeconfig, flags)?;
    let context = selected.context;
    let config = Config::from_custom_kubeconfig(selected.kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| describe(&error))?;
    Ok((config, context))
}

fn describe(error: &KubeconfigError) -> ConnectionError {
    ConnectionError::Credentials(failover_runtime::error_chain::causes(error))
}

#[cfg(test)]
mod tests;
