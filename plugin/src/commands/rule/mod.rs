//! `rule`: RoleRules, and what their kinds need of the cluster.

mod apply;
mod delete;
mod effect;
mod list;
mod reconcile;

use failover_core::api::RoleRule;

use super::consent;
use crate::cli::{DryRun, RuleApplyArgs, RuleArgs, RuleCommand};
use crate::cluster::{ApiError, Cluster, Listed};
use crate::error::Failure;
use crate::manifests::print_rendered;
use crate::output::{Screen, Terminal};
use crate::rules::{self, Source};
use crate::session::Session;

pub use reconcile::{Made, for_present_rules, policies_of_present_rules};

pub fn check_usage(args: &RuleArgs, terminal: Terminal) -> Result<(), Failure> {
    match &args.command {
        RuleCommand::Apply(args) => {
            sources(args)?;
            consent(args.yes, args.dry_run, terminal, "rule apply")
        }
        RuleCommand::List(_) => Ok(()),
        RuleCommand::Delete(args) => consent(args.yes, args.dry_run, terminal, "rule delete"),
    }
}

pub async fn run(session: &Session<'_>, args: &RuleArgs) -> Result<(), Failure> {
    match &args.command {
        RuleCommand::Apply(args) => Box::pin(apply::run(session, args)).await,
        RuleCommand::List(args) => list::run(session, args).await,
        RuleCommand::Delete(args) => Box::pin(delete::run(session, args)).await,
    }
}

/// Whether rules are only to be printed, for which no cluster is needed.
pub fn is_rendering(args: &RuleArgs) -> bool {
    matches!(&args.command, RuleCommand::Apply(args) if args.dry_run == DryRun::Client && !args.present)
}

/// Prints what would be applied, but for the webhook's entry: that is made of all rules of a cluster, and of its address.
pub fn render(args: &RuleArgs, screen: &Screen) -> Result<(), Failure> {
    let RuleCommand::Apply(args) = &args.command else {
        return Ok(());
    };
    let objects: Vec<_> = sources(args)?
        .iter()
        .flat_map(|source| {
            let mut objects = rules::rights(&source.name, &source.rule);
            objects.push(source.manifest());
            objects.extend(rules::policies(&source.name, &source.rule));
            objects
        })
        .collect();
    print_rendered(&objects, args.output, screen);
    screen.note("the webhook's entry for these kinds is not shown: in the cluster, rule apply writes it (--present alone, where the rest comes from Git)");
    Ok(())
}

/// The rules that are asked for, each checked.
fn sources(args: &RuleApplyArgs) -> Result<Vec<Source>, Failure> {
    let mut sources = rules::shipped(&args.names)?;
    sources.extend(rules::in_files(&args.filename)?);
    for (i, source) in sources.iter().enumerate() {
        let same = |other: &&Source| {
            other.name == source.name || other.rule.group_resource() == source.rule.group_resource()
        };
        if let Some(other) = sources[i + 1..].iter().find(same) {
            return Err(Failure::usage(format!(
                "{}: RoleRule {} for {} is there twice: see {}; nothing was changed",
                other.origin,
                other.name,
                other.rule.group_resource(),
                source.origin
            ))
            .next("a kind has one rule: leave one of them out"));
        }
    }
    Ok(sources)
}

/// The RoleRules of a cluster in which kubectl failover is installed.
async fn listed(cluster: &Cluster) -> Result<Listed<RoleRule>, Failure> {
    match cluster.role_rules().await {
        Err(ApiError::NotFound { .. }) => Err(not_installed(cluster)),
        other => Ok(other?),
    }
}

/// As [`listed`], for those who change what is made for rules: what is made for one that they cannot read would go.
async fn present(cluster: &Cluster) -> Result<Vec<RoleRule>, Failure> {
    Ok(listed(cluster).await?.complete("read the RoleRules")?)
}

fn not_installed(cluster: &Cluster) -> Failure {
    Failure::error(format!(
        "kubectl failover is not installed in this cluster ({})",
        cluster.connection()
    ))
    .next("install it first: kubectl failover install")
}
