//! Log lines on standard error: JSON for machines, text for people. Object bodies never get into them.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::args::{Log, LogFormat};

/// kube logs the whole text of an answer it cannot parse, which may be a Secret; and each connection that fails, without
/// saying what for. Both come back as errors, and are logged by the one who asked.
const NOT_FROM_KUBE: &str = "kube_client::client=off";

pub fn init(log: &Log) -> anyhow::Result<()> {
    let filter = filter(&log.log_level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match log.log_format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    Ok(())
}

fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let filter: EnvFilter = level.parse().with_context(|| {
        format!("--log-level {level:?} is not a level (error, warn, info, debug, trace) or filter")
    })?;
    Ok(filter.add_directive(NOT_FROM_KUBE.parse().expect("a constant directive")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_level_lets_kube_print_what_it_could_not_parse() {
        for level in ["info", "trace", "failover_controller=debug"] {
            assert!(
                filter(level).unwrap().to_string().contains(NOT_FROM_KUBE),
                "{level}"
            );
        }
    }

    #[test]
    fn a_wrong_level_is_an_error_that_names_the_flag() {
        assert!(
            filter("failover=loud")
                .unwrap_err()
                .to_string()
                .contains("--log-level")
        );
    }
}
