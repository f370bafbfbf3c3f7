//! `promote`, `demote` and `plan`.

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use failover_core::Role;
use failover_core::checks::batch::HeldJobs;

use super::duration;
use super::exit_codes::exit_codes;
use super::guards::GuardNames;
use super::installation::DryRun;
use crate::cli::batch::BatchConsent;
use crate::output::{Format, PlanFormat};

/// Make this site primary (live) and wait until that is verified
///
/// The layers move in the safe order, each step after the one before: volumes, replication confirmed, workloads and what
/// Flux applies, available, traffic. Every enrolled object gets back the values that were recorded when it was made
/// passive. Guards are checked first; if one fails, nothing is changed and the exit code is 3. A transition that is blocked
/// is followed until --timeout; it continues by itself once the cause is removed. Success is reported only after every
/// object has been listed again and matches the new role. A site that is primary already is not changed: exit code 0.
#[derive(Args, Debug)]
#[command(after_long_help = PROMOTE_HELP)]
#[command(mut_arg("override", |arg| arg.value_parser(GuardNames(Role::Primary))))]
pub struct Promote {
    #[command(flatten)]
    pub switch: SwitchArgs,

    #[command(flatten)]
    pub batch: BatchArgs,
}

/// Make this site secondary (passive) and wait until that is verified
///
/// The layers move in the safe order, each step after the one before: traffic, gitops, workloads, pods gone, volumes,
/// replication confirmed. Every enrolled object is forced into its passive form; its former values are recorded on it. Guards
/// are checked first; if one fails, nothing is changed and the exit code is 3. A transition that is blocked is followed until
/// --timeout; it continues by itself once the cause is removed. Success is reported only after every object has been listed
/// again and matches the new role. A site that is secondary already is not changed: exit code 0.
#[derive(Args, Debug)]
#[command(after_long_help = DEMOTE_HELP)]
#[command(mut_arg("override", |arg| arg.value_parser(GuardNames(Role::Secondary))))]
pub struct Demote {
    #[command(flatten)]
    pub switch: SwitchArgs,
}

#[derive(Args, Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags, each with a meaning of its own"
)]
pub struct SwitchArgs {
    /// Why; kept in the site's history. Required with --override, --abort and --mode unsafe
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Abort the running transition: go back to the role it came from
    #[arg(long, requires = "reason")]
    pub abort: bool,

    /// Override this guard: ID, or ID=NAMESPACE/RESOURCE/NAME for one object; may be repeated. A guard of a later step is
    /// still waited for until its deadline; once that step is blocked, the override lets the transition continue at once
    #[arg(long = "override", id = "override", value_name = "ID[=OBJECT]", action = ArgAction::Append, requires = "reason")]
    pub overrides: Vec<String>,

    /// Whether each layer is waited for before the next moves [default: safe]
    #[arg(long, value_enum, value_name = "MODE", requires_if("unsafe", "reason"))]
    pub mode: Option<Mode>,

    /// Do not ask. Skips the question only, never a guard
    #[arg(short, long)]
    pub yes: bool,

    /// Change nothing: client shows what would change, server has the API server check the order too
    #[arg(long, value_enum, default_value_t = DryRun::None, num_args = 0..=1, require_equals = true, default_missing_value = "client", value_name = "KIND")]
    pub dry_run: DryRun,

    /// No controller is alive: run the same steps from here, with your own rights. The transition continues only as
    /// long as this command runs
    #[arg(long)]
    pub break_glass: bool,

    /// Wait until the change is verified
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub wait: bool,

    /// How long to wait. The transition continues after that
    #[arg(long, default_value = "15m", value_parser = duration::parse_positive, value_name = "DURATION")]
    pub timeout: Duration,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// The consents to what only a promotion starts.
#[derive(Args, Clone, Debug, Default)]
pub struct BatchArgs {
    /// Let CronJobs start the run they missed while the site was secondary. Otherwise they wait for the next one
    #[arg(long)]
    pub run_missed: bool,

    /// Let Jobs run that were created while the site was secondary, and never ran: all of them, or the one that is named; may
    /// be repeated. Otherwise they stay held
    #[arg(long, value_name = "NAMESPACE/NAME", action = ArgAction::Append, num_args = 0..=1, require_equals = true, default_missing_value = ALL_JOBS, value_parser = held_job)]
    pub run_held_jobs: Vec<String>,
}

/// What `--run-held-jobs` means without a value.
const ALL_JOBS: &str = "*";

fn held_job(text: &str) -> Result<String, String> {
    let is_name = |name: &str| {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        !name.is_empty() && name.chars().all(known)
    };
    let named = text
        .split_once('/')
        .is_some_and(|(namespace, name)| is_name(namespace) && is_name(name));
    if named || text == ALL_JOBS {
        Ok(text.to_owned())
    } else {
        Err("use NAMESPACE/NAME of a Job, or leave the value out for all".to_owned())
    }
}

impl BatchArgs {
    pub fn consent(&self) -> BatchConsent {
        let all = self.run_held_jobs.iter().any(|job| job == ALL_JOBS);
        BatchConsent {
            run_missed: self.run_missed,
            held_jobs: HeldJobs::new(all, &self.run_held_jobs),
        }
    }
}

/// Whether each layer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Each layer is waited for before the next moves
    Safe,
    /// All layers change at once, without waiting: data may be lost. Guards are still checked
    Unsafe,
}

impl From<Mode> for failover_core::api::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Safe => Self::Safe,
            Mode::Unsafe => Self::Unsafe,
        }
    }
}

const PROMOTE_HELP: &str = concat!(
    "\
Examples:
  # See it first
  kubectl failover plan promote

  # Nothing checks whether the other site is live: make sure that it is not
  kubectl failover promote --override peer-unknown --reason \"west is powered off, INC-1042\"

  # It is blocked, and the cause cannot be removed: continue without
  kubectl failover promote --override workloads-unavailable --reason \"the shop is enough for now\"

  # Of the Jobs that came while this site stood by, run one
  kubectl failover promote --override peer-unknown --reason \"drill\" --run-held-jobs=shop/import

  # It goes wrong: back
  kubectl failover promote --abort --reason \"the volumes of west were ahead\"

  # No controller lives, and none can be brought up
  kubectl failover promote --break-glass --override peer-unknown --reason \"the nodes of failover-system are gone\"

  # In a script: no question, twenty minutes, a document on stdout
  kubectl failover promote --yes --override peer-unknown --reason \"drill\" --timeout 20m -o json

",
    exit_codes!()
);

const DEMOTE_HELP: &str = concat!(
    "\
Examples:
  # See it first
  kubectl failover plan demote

  # Make this site passive
  kubectl failover demote --reason \"maintenance of the east site\"

  # A pod of a StatefulSet does not end, and its node is known to be off: continue without it
  kubectl failover demote --override pods-running=shop/statefulsets/db --reason \"node n7 is off\"

  # After all, stay live
  kubectl failover demote --abort --override peer-unknown --reason \"west did not come up\"

  # Have the API server check the order without carrying it out
  kubectl failover demote --dry-run=server

",
    exit_codes!()
);

/// Show every object that a promotion or demotion would change, before and after
///
/// Runs the same function as the webhook on what is stored now. Also names the CronJobs that missed a run and the Jobs that
/// are held, and which of them the promotion would run; what no rule reaches; and the guards that would hold, as the
/// controller judges them. Changes nothing.
#[derive(Args, Debug)]
#[command(after_help = PLAN_EXAMPLES)]
pub struct PlanArgs {
    /// The transition to show
    #[arg(value_enum)]
    pub direction: Direction,

    #[command(flatten)]
    pub batch: BatchArgs,

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

  # What would run that was missed or held?
  kubectl failover plan promote --run-missed --run-held-jobs

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
