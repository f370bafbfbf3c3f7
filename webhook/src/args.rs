//! The command line of `failover-webhook`. Every flag can be given as an environment variable too.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use failover_core::names::ENFORCER_NAMESPACE;
use failover_runtime::logs::LogArgs;

/// Answers the API server's admission reviews: forces what must be passive on a secondary site.
#[derive(Clone, Debug, Parser)]
#[command(name = "failover-webhook", version)]
pub struct Args {
    #[command(flatten)]
    pub serving: Serving,
    #[command(flatten)]
    pub lease: Lease,
    #[command(flatten)]
    pub log: LogArgs,
}

/// What to serve, and where.
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

    /// Folder with tls.crt and tls.key; checked every 2 s
    #[arg(
        long,
        env = "FAILOVER_TLS_DIR",
        default_value = "/etc/failover/tls",
        value_name = "DIR"
    )]
    pub tls_dir: PathBuf,

    /// How long to keep serving after SIGTERM, until the API servers have noticed
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

/// `10s`, `500ms`, `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is not a duration such as 10s, 500ms or 1m30s"))?;
    Duration::try_from(span).map_err(|_| format!("{text:?} is negative"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use failover_runtime::logs::LogFormat;

    use super::*;

    #[test]
    fn only_the_pod_name_is_required() {
        let args = Args::try_parse_from(["failover-webhook", "--name", "a"]).unwrap();
        assert_eq!(args.serving.bind, "0.0.0.0:8443".parse().unwrap());
        assert_eq!(args.serving.admin_bind, "0.0.0.0:8080".parse().unwrap());
        assert_eq!(args.serving.tls_dir, PathBuf::from("/etc/failover/tls"));
        assert_eq!(args.serving.drain, Duration::from_secs(10));
        assert_eq!(args.lease.lease_namespace, "failover-enforcers");
        assert_eq!(args.log.log_format, LogFormat::Json);
    }

    #[rstest]
    #[case("10s", Ok(Duration::from_secs(10)))]
    #[case("1m30s", Ok(Duration::from_secs(90)))]
    #[case("0s", Ok(Duration::ZERO))]
    #[case("10", Err("\"10\" is not a duration such as 10s, 500ms or 1m30s"))]
    #[case("-5s", Err("\"-5s\" is negative"))]
    fn durations_have_a_unit(#[case] text: &str, #[case] expected: Result<Duration, &str>) {
        assert_eq!(duration(text), expected.map_err(str::to_owned));
    }
}
