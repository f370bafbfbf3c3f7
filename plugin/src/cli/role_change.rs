//! `promote`, `demote` and `plan`.

use std::time::Duration;

use clap::{ArgAction, Args};
use failover_core::Role;

use super::duration;
use super::installation::DryRun;
use crate::output::{Format, PlanFormat};

#[derive(Args, Clone, Debug)]
pub struct SwitchArgs {
    /// Why; kept in the site's history. Required with --override
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Let this guard not hold the change: ID, or ID=NAMESPACE/RESOURCE/NAME for one object; may be repeated
    #[arg(long = "override", id = "override", value_name = "ID[=OBJECT]", action = ArgAction::Append, requires = "reason")]
    pub overrides: Vec<String>,

    /// Do not ask. Skips the question only, never a guard
    #[arg(short, long)]
    pub yes: bool,

    /// Change nothing: client shows what would change, server has the API server check the order too
    #[arg(long, value_enum, default_value_t = DryRun::None, num_args = 0..=1, require_equals = true, default_missing_value = "client", value_name = "KIND")]
    pub dry_run: DryRun,

    /// Wait until the change is verified
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub wait: bool,

    /// How long to wait. The change goes on after that, too
    #[arg(long, default_value = "5m", value_parser = duration::parse_positive, value_name = "DURATION")]
    pub timeout: Duration,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// What an exit code means, for every command and every output format.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
    0  done, or there was nothing to do
    1  error; the message says whether anything was changed
    2  the command line is wrong, or nobody could be asked
    3  refused by a guard, nothing was changed
    4  not done in time; the order stands and is still being carried out
    5  partial: some objects do not agree with the role and will not by themselves
    6  the two sites contradict each other
  130  interrupted; what was ordered goes on"
    };
}

#[cfg(test)]
pub const EXIT_CODES: &str = exit_codes!();

pub(super) const PROMOTE_HELP: &str = concat!(
    "\
Examples:
  # See it first
  kubectl failover plan promote

  # Without a peer nobody can tell whether the other site is live: make sure that it is not
  kubectl failover promote --override peer-unknown --reason \"west is powered off, INC-1042\"

  # In a script: no question, ten minutes, a document on stdout
  kubectl failover promote --yes --override peer-unknown --reason \"drill\" --timeout 10m -o json

",
    exit_codes!()
);

pub(super) const DEMOTE_HELP: &str = concat!(
    "\
Examples:
  # See it first
  kubectl failover plan demote

  # Make this site passive
  kubectl failover demote --reason \"maintenance of the east site\"

  # Have the API server check the order without carrying it out
  kubectl failover demote --dry-run=server

",
    exit_codes!()
);

/// Show every object that a promotion or demotion would change, before and after
///
/// Runs the same function as the webhook on what is stored now. Also names the CronJobs that would start a missed run at
/// once, the Jobs that stay held, what no rule reaches, and the guards that would hold. Changes nothing.
#[derive(Args, Debug)]
#[command(after_help = PLAN_EXAMPLES)]
pub struct PlanArgs {
    /// The change to look at
    #[arg(value_enum)]
    pub direction: Direction,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = PlanFormat::Table)]
    pub output: PlanFormat,
}

const PLAN_EXAMPLES: &str = "\
Examples:
  # What would a demotion change?
  kubectl failover plan demote

  # In one namespace, as a diff of the objects
  kubectl failover plan promote -n shop -o diff

  # For a review
  kubectl failover plan demote -o yaml > plan.yaml

The exit code is 5 when a part of the enrolled objects could not be read: such a plan is not whole.";

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// This site becomes primary
    Promote,
    /// This site becomes secondary
    Demote,
}

impl Direction {
    pub fn role(self) -> Role {
        match self {
            Self::Promote => Role::Primary,
            Self::Demote => Role::Secondary,
        }
    }
}
