//! The command line of `failover-controller`. Every flag can be given as an environment variable too.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use failover_core::names::{ENFORCER_NAMESPACE, SYSTEM_NAMESPACE};
use failover_core::transition::Deadlines;
use failover_runtime::leader::Terms;
use failover_runtime::logs::LogArgs;
use jiff::SignedDuration;

/// Carries the role of a site into its namespaces and objects, and owns the webhook's certificates.
#[derive(Clone, Debug, Parser)]
#[command(name = "failover-controller", version)]
pub struct Args {
    /// Address of the plain HTTP port for /metrics, /livez and /readyz
    #[arg(
        long,
        env = "FAILOVER_ADMIN_BIND",
        default_value = "0.0.0.0:8080",
        value_name = "ADDR"
    )]
    pub admin_bind: SocketAddr,

    /// Namespace of the leader Lease and of the certificates' Secret
    #[arg(long, env = "FAILOVER_NAMESPACE", default_value = SYSTEM_NAMESPACE)]
    pub namespace: String,

    /// Name of this replica, as the leader Lease and Events show it; the pod's name
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub name: String,

    #[command(flatten)]
    pub lease: LeaseArgs,

    #[command(flatten)]
    pub site: SiteArgs,

    #[command(flatten)]
    pub log: LogArgs,
}

/// Who leads.
#[derive(Clone, Debug, clap::Args)]
pub struct LeaseArgs {
    /// How long the leader Lease is valid without a renewal
    #[arg(long, env = "FAILOVER_LEASE_DURATION", default_value = "15s", value_parser = duration, value_name = "DURATION")]
    pub lease_duration: Duration,

    /// How often the leader renews its Lease; at most a third of its duration
    #[arg(long, env = "FAILOVER_RENEW_EVERY", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub renew_every: Duration,
}

impl LeaseArgs {
    pub fn terms(&self) -> Terms {
        Terms {
            duration: self.lease_duration,
            renew_every: self.renew_every,
        }
    }
}

impl LeaseArgs {
    /// The defaults, overridden by the environment.
    pub fn from_environment() -> Result<Self, clap::Error> {
        without_flags()
    }
}

/// How the role of the site is enforced.
#[derive(Clone, Debug, clap::Args)]
pub struct SiteArgs {
    /// Namespace in which webhook replicas report through their Leases
    #[arg(long, env = "FAILOVER_LEASE_NAMESPACE", default_value = ENFORCER_NAMESPACE, value_name = "NAMESPACE")]
    pub lease_namespace: String,

    /// How long a webhook replica's Lease may go without renewal before it is deleted
    #[arg(long, env = "FAILOVER_FORGET_AFTER", default_value = "10m", value_parser = duration, value_name = "DURATION")]
    pub forget_after: Duration,

    /// How often all objects are swept while the site is stable
    #[arg(long, env = "FAILOVER_SWEEP_EVERY", default_value = "60s", value_parser = duration, value_name = "DURATION")]
    pub sweep_every: Duration,

    /// How many requests a sweep has under way at once
    #[arg(long, env = "FAILOVER_SWEEP_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256), value_name = "N")]
    pub sweep_concurrency: u16,

    #[command(flatten)]
    pub waits: Waits,
}

impl SiteArgs {
    /// The defaults, overridden by the environment.
    pub fn from_environment() -> Result<Self, clap::Error> {
        without_flags()
    }
}

/// How long the steps of a transition wait before they count as stalled, and for what share of the workloads.
#[derive(Clone, Debug, clap::Args)]
pub struct Waits {
    /// How long a demotion waits for pods to end before it counts as stalled
    #[arg(long, env = "FAILOVER_PODS_GONE_DEADLINE", default_value = "2m", value_parser = duration, value_name = "DURATION")]
    pub pods_gone_deadline: Duration,

    /// How long a role change waits for volumes to be confirmed before it counts as stalled
    #[arg(long, env = "FAILOVER_REPLICATION_DEADLINE", default_value = "3m", value_parser = duration, value_name = "DURATION")]
    pub replication_deadline: Duration,

    /// How long a promotion waits for workloads to be available before it counts as stalled
    #[arg(long, env = "FAILOVER_AVAILABLE_DEADLINE", default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub available_deadline: Duration,

    /// Percentage of the restored workloads that must be available before a promotion moves traffic
    #[arg(long, env = "FAILOVER_AVAILABLE_PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    pub available_percent: u8,
}

impl Waits {
    pub fn deadlines(&self) -> Deadlines {
        let signed =
            |length: Duration| SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
        Deadlines {
            pods_gone: signed(self.pods_gone_deadline),
            replication: signed(self.replication_deadline),
            available: signed(self.available_deadline),
        }
    }
}

impl Args {
    /// Checks across flags: the Lease must survive one lost renewal, and its loss must still be noticed in time.
    pub fn check(&self) -> Result<(), String> {
        if self.lease.renew_every * 3 > self.lease.lease_duration {
            return Err(format!(
                "--renew-every {:?} is too long for --lease-duration {:?}: at most a third of it, so that one lost renewal is not a lost leader",
                self.lease.renew_every, self.lease.lease_duration
            ));
        }
        Ok(())
    }
}

/// The values of a group of flags when none is given: its defaults, overridden by the environment.
fn without_flags<A: clap::Args>() -> Result<A, clap::Error> {
    let command = A::augment_args(clap::Command::new(env!("CARGO_PKG_NAME")));
    A::from_arg_matches(&command.try_get_matches_from([""])?)
}

/// `15s`, `2m`, `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is not a duration such as 15s, 2m or 1m30s"))?;
    let duration = Duration::try_from(parsed).map_err(|_| format!("{text:?} is negative"))?;
    if duration < Duration::from_millis(100) {
        return Err(format!("{text:?} is too short: at least 100ms"));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use failover_runtime::logs::LogFormat;

    use super::*;

    #[test]
    fn only_the_pod_name_is_required() {
        let args = Args::try_parse_from(["failover-controller", "--name", "a"]).unwrap();
        assert_eq!(args.namespace, "failover-system");
        assert_eq!(args.site.lease_namespace, "failover-enforcers");
        assert_eq!(args.lease.lease_duration, Duration::from_secs(15));
        assert_eq!(args.site.sweep_every, Duration::from_secs(60));
        assert_eq!(args.site.sweep_concurrency, 16);
        assert_eq!(args.site.waits.deadlines(), Deadlines::default());
        assert_eq!(args.site.waits.available_percent, 100);
        assert_eq!(args.log.log_format, LogFormat::Json);
        args.check().unwrap();
    }

    #[test]
    fn an_invalid_value_from_the_environment_is_an_error_and_does_not_exit() {
        // Stands in for a value from the environment.
        #[derive(Debug, clap::Args)]
        struct Wrong {
            #[arg(long, default_value = "15", value_parser = duration)]
            every: Duration,
        }
        let error = without_flags::<Wrong>()
            .map(|wrong| wrong.every)
            .unwrap_err();
        assert!(error.to_string().contains("is not a duration"), "{error}");
    }

    #[rstest]
    #[case("15s", Ok(Duration::from_secs(15)))]
    #[case("1m30s", Ok(Duration::from_secs(90)))]
    #[case("500ms", Ok(Duration::from_millis(500)))]
    #[case("15", Err("\"15\" is not a duration such as 15s, 2m or 1m30s"))]
    #[case("-5s", Err("\"-5s\" is negative"))]
    #[case("0s", Err("\"0s\" is too short: at least 100ms"))]
    fn durations_have_a_unit_and_a_length(
        #[case] text: &str,
        #[case] expected: Result<Duration, &str>,
    ) {
        assert_eq!(duration(text), expected.map_err(str::to_owned));
    }

    #[test]
    fn a_lease_survives_one_failed_renewal() {
        let parse = |renew: &str| {
            Args::try_parse_from([
                "c",
                "--name",
                "a",
                "--lease-duration",
                "15s",
                "--renew-every",
                renew,
            ])
            .unwrap()
        };
        parse("5s").check().unwrap();
        assert!(parse("6s").check().unwrap_err().contains("--renew-every"));
    }
}
