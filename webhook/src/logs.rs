//! Log lines on standard error: JSON for machines, text for people. Object bodies never get into them.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::args::{Log, LogFormat};

/// kube logs the whole text of an answer it cannot parse.
const NOT_FROM_KUBE: &str = "kube_client::client=off";

pub fn init(log: &Log) -> anyhow::Result<()> {
    let Log {
        log_format,
        log_level,
    } = log;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(log_level)?)
        .with_writer(std::io::stderr);
    match log_format {
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
        for level in ["info", "trace", "failover_webhook=debug"] {
            let filter = filter(level).unwrap().to_string();
            assert!(filter.contains(NOT_FROM_KUBE), "{level}: {filter}");
        }
    }

    #[test]
    fn a_wrong_level_is_an_error_that_names_the_flag() {
        let error = filter("failover=loud").unwrap_err().to_string();
        assert!(error.contains("--log-level"), "{error}");
    }
}
