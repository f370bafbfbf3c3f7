//! The command line of `failover-webhook`. Every flag can be given as an environment variable too.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use failover_core::names::ENFORCER_NAMESPACE;

/// Answers the API server's admission reviews: forces what must be passive on a secondary site.
#[derive(Clone, Debug, Parser)]
#[command(name = "failover-webhook", version)]
pub struct Args {
    #[command(flatten)]
    pub serving: Serving,
    #[command(flatten)]
    pub lease: Lease,
    #[command(flatten)]
    pub log: Log,
}

/// What is served where.
#[derive(Clone, Debug, clap::Args)]
pub struct Serving {
    /// Address of the TLS port that the API server calls
    #[arg(
        long,
        env = "FAILOVER_BIND",
        default_value = "0.0.0.0:8443",
        value_name = "ADDR"
    )]
    pub bind: SocketAddr,

    /// Address of the plain HTTP port for /metrics, /livez and /readyz
    #[arg(
        long,
        env = "FAILOVER_ADMIN_BIND",
        default_value = "0.0.0.0:8080",
        value_name = "ADDR"
    )]
    pub admin_bind: SocketAddr,

    /// Folder with tls.crt and tls.key; looked at every 2 s
    #[arg(
        long,
        env = "FAILOVER_TLS_DIR",
        default_value = "/etc/failover/tls",
        value_name = "DIR"
    )]
    pub tls_dir: PathBuf,

    /// How long to serve on after SIGTERM, until API servers have noticed
    #[arg(long, env = "FAILOVER_DRAIN", default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub drain: Duration,
}

/// How this replica reports to the controller.
#[derive(Clone, Debug, clap::Args)]
pub struct Lease {
    /// Name of this replica and of its Lease; the pod's name
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub name: String,

    /// Namespace of the Lease
    #[arg(long, env = "FAILOVER_LEASE_NAMESPACE", default_value = ENFORCER_NAMESPACE, value_name = "NAMESPACE")]
    pub lease_namespace: String,
}

/// How logs are written.
#[derive(Clone, Debug, clap::Args)]
pub struct Log {
    /// Form of the log lines
    #[arg(
        long,
        env = "FAILOVER_LOG_FORMAT",
        default_value = "json",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,

    /// Level, or filter such as info,failover_webhook=debug
    #[arg(
        long,
        env = "FAILOVER_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub log_level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

/// `10s`, `500ms`, `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|error: jiff::Error| error.to_string())?;
    Duration::try_from(span).map_err(|_| "a duration cannot be negative".to_owned())
}
