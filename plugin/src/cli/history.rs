//! `history`.

use clap::Args;

use crate::output::Format;

/// Show the last twenty transitions: who requested them, why, what was overridden, how long each step took, how they ended
///
/// Newest first. For older transitions, see the Events of the Site and the audit log of the API server.
#[derive(Args, Debug)]
#[command(after_help = HISTORY_EXAMPLES)]
pub struct HistoryArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

const HISTORY_EXAMPLES: &str = "\
Examples:
  # At a glance
  kubectl failover history

  # With the time that each step took
  kubectl failover history -o wide

  # Every promotion that a guard was overridden for
  kubectl failover history -o json | jq '.changes[] | select(.to == \"primary\" and .overrides != [])'";
