//! Log lines on standard error: JSON for machines, text for people. Object bodies are never logged.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// kube logs the whole text of an answer it cannot parse, which may be a Secret; and each failed connection, without
/// its purpose. Both also come back as errors, and the caller logs them.
const NOT_FROM_KUBE: &str = "kube_client::client=off";

/// How logs are written.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// Form of the log lines
    #[arg(
        long,
        env = "FAILOVER_LOG_FORMAT",
        default_value = "json",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,

    /// Level, or filter such as info,failover_core=debug
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

#[derive(Debug, thiserror::Error)]
#[error("--log-level {level:?} is not a level (error, warn, info, debug, trace) or filter")]
pub struct LogLevelError {
    level: String,
    source: ParseError,
}

/// Installs the logger, once per process.
///
/// # Errors
///
/// The level is invalid.
pub fn init(args: &LogArgs) -> Result<(), LogLevelError> {
    let LogArgs {
        log_format,
        log_level,
    } = args;
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

fn filter(level: &str) -> Result<EnvFilter, LogLevelError> {
    let filter: EnvFilter = level.parse().map_err(|source| LogLevelError {
        level: level.to_owned(),
        source,
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
