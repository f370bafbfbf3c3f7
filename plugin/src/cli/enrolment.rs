//! `enroll` and `unenroll`.

use std::time::Duration;

use clap::{ArgAction, Args};

use super::duration;
use crate::output::Format;

/// Put namespaces under the role of the site
///
/// On a primary nothing is changed, the namespace is only labelled. On a secondary this is a demotion of what runs there:
/// the plan is shown first, and you are asked. Namespaces that the cluster itself lives in are never enrolled; those of
/// Flux, cert-manager, KEDA, service meshes, networks and storage only with --force.
#[derive(Args, Debug)]
#[command(after_help = ENROLL_EXAMPLES)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct EnrollArgs {
    /// Namespaces
    #[arg(required = true, value_name = "NAMESPACE")]
    pub namespaces: Vec<String>,

    /// Only what a FailoverPolicy names, not everything in the namespace
    #[arg(long)]
    pub policy_only: bool,

    /// Enrol a namespace that other parts of the cluster depend on
    #[arg(long)]
    pub force: bool,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Wait until the namespaces have been taken over and verified
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub wait: bool,

    /// How long to wait
    #[arg(long, default_value = "2m", value_parser = duration::parse_positive, value_name = "DURATION")]
    pub timeout: Duration,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

const ENROLL_EXAMPLES: &str = "\
Examples:
  # Two namespaces
  kubectl failover enroll shop billing

  # Flux's own namespace: only what a FailoverPolicy names
  kubectl failover enroll flux-system --policy-only --force

Git can do the same, with the label failover.dev/enforce: enabled on the Namespace.";

/// Take namespaces out of enforcement
///
/// On a primary the labels and annotations of kubectl failover are removed from the namespace, provided that no object in
/// it still carries a record of what it was. On a secondary the standby would be opened: the next reconcile of Flux starts
/// everything that Git describes, while the other site may be live. That needs --override site-secondary and a reason.
/// The name of a namespace that was deleted is forgotten: one that is created under it again is not asked for any more.
#[derive(Args, Debug)]
#[command(after_help = UNENROLL_EXAMPLES)]
pub struct UnenrollArgs {
    /// Namespaces
    #[arg(required = true, value_name = "NAMESPACE")]
    pub namespaces: Vec<String>,

    /// Why. Required with --override
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Override this guard: site-secondary, records-left; may be repeated
    #[arg(long = "override", id = "override", value_name = "ID", action = ArgAction::Append, requires = "reason")]
    pub overrides: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

const UNENROLL_EXAMPLES: &str = "\
Examples:
  # On the primary site
  kubectl failover unenroll shop

  # Retired: deleted for good, and its name is free
  kubectl delete namespace old-shop && kubectl failover unenroll old-shop

  # On the secondary site: Flux will start what Git describes
  kubectl failover unenroll shop --override site-secondary --reason \"moved to its own cluster\"";
