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
    let filter: EnvFilter = log_level.parse().with_context(|| {
        format!(
            "--log-level {log_level:?} is not a level (error, warn, info, debug, trace) or filter"
        )
    })?;
    let filter = filter.add_directive(NOT_FROM_KUBE.parse().expect("a constant directive"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
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
