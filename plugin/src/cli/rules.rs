//! `rule apply`, `rule list` and `rule delete`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args, Subcommand};

use super::DryRun;
use super::duration;
use crate::output::Format;
use crate::shipped_rules::RULES;

/// Rules for kinds that are not built in
///
/// A RoleRule says which fields make an object of some kind passive. Besides the RoleRule itself its kind needs rights for
/// the controller, an entry in the webhook's configuration, and an admission policy with its binding: nothing in the
/// cluster gives itself those, so they are written from here, with your rights.
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct RuleArgs {
    #[command(subcommand)]
    pub command: RuleCommand,
}

#[derive(Subcommand, Debug)]
pub enum RuleCommand {
    Apply(RuleApplyArgs),
    List(RuleListArgs),
    Delete(RuleDeleteArgs),
}

/// Put rules in force, with everything that their kinds need
///
/// NAME is a rule that comes with kubectl failover; -f reads rules of your own. Rules are checked first, then what they
/// would change on the present objects is shown, and you are asked. Where a rule is in force already, what is tighter
/// takes effect at once, and what is looser only when its layer is primary everywhere.
#[derive(Args, Debug)]
#[command(after_help = APPLY_EXAMPLES)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct RuleApplyArgs {
    /// A rule that comes with kubectl failover
    #[arg(value_name = "NAME", value_parser = shipped_names(), required_unless_present_any = ["filename", "present"])]
    pub names: Vec<String>,

    /// A file of RoleRules in YAML or JSON, or a folder of such files; may be repeated
    #[arg(short, long, value_name = "FILE")]
    pub filename: Vec<PathBuf>,

    /// What the RoleRules in the cluster still need, as when they come from Git; they themselves are not written
    #[arg(long, conflicts_with_all = ["names", "filename"])]
    pub present: bool,

    /// Take over fields that another field manager has changed
    #[arg(long)]
    pub force_conflicts: bool,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Change nothing: client prints what would be applied, server has the API server check it
    #[arg(long, value_enum, default_value_t = DryRun::None, num_args = 0..=1, require_equals = true, default_missing_value = "client", value_name = "KIND")]
    pub dry_run: DryRun,

    /// Wait until the controller has taken the rules over and finds nothing missing
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub wait: bool,

    /// How long to wait
    #[arg(long, default_value = "2m", value_parser = duration::parse_positive, value_name = "DURATION")]
    pub timeout: Duration,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

const APPLY_EXAMPLES: &str = "\
Examples:
  # KEDA and Argo Rollouts
  kubectl failover rule apply keda-scaledobject argo-rollout

  # Rules of your own
  kubectl failover rule apply -f rules/

  # The rules come from Git: add what their kinds need
  kubectl failover rule apply --present

  # Show only, or keep it in Git (but for the webhook's entry)
  kubectl failover rule apply keda-scaledobject --dry-run=client -o yaml";

/// Show the rules, what of them is in force, and what they miss
#[derive(Args, Debug)]
pub struct RuleListArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// Take rules out of force, and remove what was made for them
///
/// On a primary the objects of the kind are given back what they were first. While the layer is not primary a rule cannot
/// go, because Flux would start what it holds: that is refused, or, with --when-primary, noted and carried out by the next
/// promotion.
#[derive(Args, Debug)]
#[command(after_help = DELETE_EXAMPLES)]
pub struct RuleDeleteArgs {
    /// Names of RoleRules
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,

    /// Where the layer is not primary: delete the rule as soon as it is
    #[arg(long)]
    pub when_primary: bool,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Change nothing: client names what would be removed, server has the API server check it
    #[arg(long, value_enum, default_value_t = DryRun::None, num_args = 0..=1, require_equals = true, default_missing_value = "client", value_name = "KIND")]
    pub dry_run: DryRun,

    /// How long to wait until a rule has gone
    #[arg(long, default_value = "2m", value_parser = duration::parse_positive, value_name = "DURATION")]
    pub timeout: Duration,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

const DELETE_EXAMPLES: &str = "\
Examples:
  # On the primary site
  kubectl failover rule delete keda-scaledobject

  # On the secondary site: it goes with the next promotion, run it again then to remove the rest
  kubectl failover rule delete keda-scaledobject --when-primary";

/// Names that `rule apply` takes.
fn shipped_names() -> PossibleValuesParser {
    PossibleValuesParser::new(RULES.map(|(name, _)| name))
}
