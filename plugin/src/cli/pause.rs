//! `pause` and `resume`.

use std::time::Duration;

use clap::{ArgAction, Args};

use super::duration;
use super::exit_codes::exit_codes;
use super::installation::DryRun;
use crate::output::Format;

/// Pause the site: a running transition stops where it is, and nothing is swept
///
/// Admission goes on as it is: what is passive stays passive. Nothing is turned back either. An order that is given meanwhile
/// is refused, but for --abort, which takes effect when the pause ends. A pause replaces the one before it.
#[derive(Args, Debug)]
#[command(after_long_help = PAUSE_HELP)]
pub struct PauseArgs {
    /// Reason; status shows it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,

    /// How long; the pause then ends by itself [default: until somebody resumes]
    #[arg(long = "for", id = "for", value_name = "DURATION", value_parser = duration::parse_some)]
    pub length: Option<Duration>,

    #[command(flatten)]
    pub write: PauseWriteArgs,
}

/// Resume a paused site
///
/// A transition continues from where it stopped. What was requested meanwhile is carried out.
#[derive(Args, Debug)]
#[command(after_long_help = RESUME_HELP)]
pub struct ResumeArgs {
    #[command(flatten)]
    pub write: PauseWriteArgs,
}

#[derive(Args, Clone, Debug)]
pub struct PauseWriteArgs {
    /// Change nothing: client shows what would change, server has the API server check it too
    #[arg(long, value_enum, default_value_t = DryRun::None, num_args = 0..=1, require_equals = true, default_missing_value = "client", value_name = "KIND")]
    pub dry_run: DryRun,

    /// Wait until the controller has observed it
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub wait: bool,

    /// How long to wait
    #[arg(long, default_value = "30s", value_parser = duration::parse_positive, value_name = "DURATION")]
    pub timeout: Duration,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

const PAUSE_HELP: &str = concat!(
    "\
Examples:
  # For the two hours of a storage upgrade
  kubectl failover pause --reason \"storage upgrade, CHG-77\" --for 2h

  # A transition goes wrong: pause it, investigate, then abort it
  kubectl failover pause --reason \"volumes look odd\"
  kubectl failover promote --abort --reason \"volumes of west were ahead\"
  kubectl failover resume

",
    exit_codes!()
);

const RESUME_HELP: &str = concat!(
    "\
Examples:
  kubectl failover resume

",
    exit_codes!()
);
