//! `exempt`.

use std::time::Duration;

use clap::{ArgAction, Args};

use super::duration;
use super::installation::DryRun;
use crate::output::Format;

/// Exempt single objects from the role of the site, or undo that
///
/// Labels the object with failover.dev/enforce: disabled and puts that in force at once, which the label alone does only on
/// a primary. On a secondary the object becomes active here, while the other site may be live: what that means is shown
/// first, and you are asked. It stays exempt through every change of role for as long as it carries the label.
///
/// With --undo the object follows its namespace again: on a secondary it becomes passive. That also ends what a
/// FailoverPolicy that is gone has left in force.
#[derive(Args, Debug)]
#[command(after_help = EXEMPT_EXAMPLES)]
pub struct ExemptArgs {
    /// Objects, as kubectl names them: deployment/web
    #[arg(required = true, value_name = "TYPE/NAME")]
    pub objects: Vec<String>,

    /// Have the objects follow their namespace again
    #[arg(long)]
    pub undo: bool,

    /// Why; kept in an annotation of the object
    #[arg(long, value_name = "TEXT", conflicts_with = "undo")]
    pub reason: Option<String>,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Change nothing: client shows what would change, server has the API server check it too
    #[arg(long, value_enum, default_value_t = DryRun::None, num_args = 0..=1, require_equals = true, default_missing_value = "client", value_name = "KIND")]
    pub dry_run: DryRun,

    /// Wait until the change is in effect
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub wait: bool,

    /// How long to wait
    #[arg(long, default_value = "1m", value_parser = duration::parse_positive, value_name = "DURATION")]
    pub timeout: Duration,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

const EXEMPT_EXAMPLES: &str = "\
Examples:
  # The ingress controller runs on both sites
  kubectl failover exempt deployment/ingress -n edge --reason \"serves the error page\"

  # Back under the role of the site
  kubectl failover exempt deployment/ingress -n edge --undo

You need the right to patch the object, and to enforce (ClusterRole failover-operator) while the site is not primary.
The label can come from Git, too; it then takes effect once the site is primary.";
