//! `rule delete`: the RoleRule first, and when it has gone, what was made for it.

use std::time::Duration;

use failover_core::Role;
use failover_core::api::RoleRule;
use failover_core::guards::{GuardId, Hold};
use failover_core::rules::role_rule::in_force;
use failover_core::transition::EnrolledNamespace;
use kube::ResourceExt as _;
use serde::Serialize;
use tokio::time::Instant;

use super::present;
use super::reconcile::{ask_webhook, in_force_now};
use crate::cli::{DryRun, RuleDeleteArgs};
use crate::cluster::{Cluster, Manifest};
use crate::error::Failure;
use crate::output::age::took;
use crate::output::confirm::{Consent, declined};
use crate::output::progress::Progress;
use crate::output::{Report, Screen, Tone};
use crate::session::Session;

const EVERY: Duration = Duration::from_millis(500);

/// The document `RuleDeletion`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleDeletionReport {
    dry_run: bool,
    deleted: Vec<String>,
    /// Deleted, and in force until their layer is primary.
    leaving: Vec<String>,
}

/// A rule that is to go.
struct Leaving {
    name: String,
    rule: Option<RoleRule>,
    /// Its layer is not primary everywhere: it cannot go now.
    is_held: bool,
}

pub(super) async fn run(session: &Session<'_>, args: &RuleDeleteArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let cluster = &session.cluster;
    let present = present(cluster).await?;
    let enrolled = cluster.enrolled().await?;
    let leaving = leaving(cluster, args, &present, &enrolled).await?;
    let held: Vec<Hold> = leaving
        .iter()
        .filter(|leaving| leaving.is_held)
        .map(hold)
        .collect();
    if !held.is_empty() && !args.when_primary {
        return Err(Failure::held("the deletion", held));
    }
    if args.dry_run == DryRun::None {
        ask(session, args, &leaving).await?;
    }
    let progress = Progress::new(session.screen);
    let mut report = RuleDeletionReport {
        dry_run: args.dry_run != DryRun::None,
        ..RuleDeletionReport::default()
    };
    for leaving in leaving {
        delete(session, args, &progress, leaving, started, &mut report).await?;
    }
    drop(progress);
    report.print(args.output, session.screen);
    Ok(())
}

async fn leaving(
    cluster: &Cluster,
    args: &RuleDeleteArgs,
    present: &[RoleRule],
    enrolled: &[EnrolledNamespace],
) -> Result<Vec<Leaving>, Failure> {
    let mut names = args.names.clone();
    names.sort();
    names.dedup();
    let mut all = Vec::new();
    for name in names {
        let rule = present.iter().find(|rule| rule.name_any() == name);
        if rule.is_none() && cluster.made_for_rules(Some(&name)).await?.is_empty() {
            return Err(Failure::error(format!(
                "there is no RoleRule {name}: nothing was changed"
            ))
            .next("see kubectl failover rule list"));
        }
        all.push(Leaving {
            is_held: rule.is_some_and(|rule| !is_primary(rule, enrolled)),
            rule: rule.cloned(),
            name,
        });
    }
    Ok(all)
}

/// As the controller decides it; nothing of a rule that was never adopted is held.
fn is_primary(rule: &RoleRule, enrolled: &[EnrolledNamespace]) -> bool {
    let states = enrolled.iter().map(|namespace| &namespace.state);
    in_force::is_primary_everywhere(in_force::spec(rule), states)
}

fn hold(leaving: &Leaving) -> Hold {
    Hold {
        guard: GuardId::SiteSecondary,
        object: None,
        message: format!(
            "RoleRule {} keeps objects passive that Flux would start without it, and its layer is not {} everywhere",
            leaving.name,
            Role::Primary
        ),
        hint: "promote the site first, or pass --when-primary: the rule then goes with the next promotion".to_owned(),
    }
}

async fn ask(
    session: &Session<'_>,
    args: &RuleDeleteArgs,
    leaving: &[Leaving],
) -> Result<(), Failure> {
    let screen = session.screen;
    let names: Vec<_> = leaving
        .iter()
        .map(|leaving| leaving.name.as_str())
        .collect();
    screen.note(&format!("From {}", session.cluster.connection()));
    let consent = Consent::of(args.yes, screen.terminal().interactive, "rule delete")?;
    let question = format!("Delete RoleRule {}?", names.join(", "));
    if consent.obtain(screen, &question).await? {
        Ok(())
    } else {
        Err(declined())
    }
}

async fn delete(
    session: &Session<'_>,
    args: &RuleDeleteArgs,
    progress: &Progress<'_>,
    leaving: Leaving,
    started: Instant,
    report: &mut RuleDeletionReport,
) -> Result<(), Failure> {
    let cluster = &session.cluster;
    let manifest = Manifest::new(serde_json::json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "RoleRule", "metadata": {"name": leaving.name}
    }));
    let dry_run = args.dry_run == DryRun::Server;
    let made = cluster.made_for_rules(Some(&leaving.name)).await?;
    if args.dry_run == DryRun::Client {
        if leaving.rule.is_some() {
            report.deleted.push(manifest.reference());
        }
        report.deleted.extend(made.iter().map(Manifest::reference));
        return Ok(());
    }
    if leaving.rule.is_some() {
        progress.now(&format!("deleting RoleRule {}", leaving.name));
        cluster.remove(&manifest, dry_run).await?;
        if leaving.is_held {
            report.leaving.push(leaving.name);
            return Ok(());
        }
        if !dry_run {
            session.is_underway(
                format!("RoleRule {} is being deleted", leaving.name),
                "run the same command again to remove what was made for it",
            );
            until_gone(session, progress, &manifest, started, args.timeout).await?;
        }
        report.deleted.push(manifest.reference());
    }
    for made in made {
        if cluster.remove(&made, dry_run).await? {
            report.deleted.push(made.reference());
        }
    }
    let left: Vec<_> = present(cluster)
        .await?
        .into_iter()
        .filter(|rule| rule.name_any() != leaving.name)
        .collect();
    ask_webhook(cluster, &in_force_now(&left), dry_run).await?;
    Ok(())
}

/// The controller gives back what the rule holds, and lets it go.
async fn until_gone(
    session: &Session<'_>,
    progress: &Progress<'_>,
    manifest: &Manifest,
    started: Instant,
    timeout: Duration,
) -> Result<(), Failure> {
    while let Some(rule) = session.cluster.stored(manifest).await? {
        progress.now(&format!(
            "waiting for the controller to restore the objects of RoleRule {}",
            manifest.name()
        ));
        if started.elapsed() >= timeout {
            let finalizers = &rule["metadata"]["finalizers"];
            return Err(Failure::timed_out(format!(
                "RoleRule {} is deleted, but after {} still in force (finalizers {finalizers})",
                manifest.name(),
                took(timeout.try_into().unwrap_or_default())
            ))
            .next("see kubectl failover rule list; run it again to wait on"));
        }
        tokio::time::sleep(EVERY).await;
    }
    Ok(())
}

impl Report for RuleDeletionReport {
    const KIND: &'static str = "RuleDeletion";

    fn names(&self) -> Vec<String> {
        self.deleted.clone()
    }

    fn text(&self, _wide: bool, screen: &Screen) {
        let dry = if self.dry_run { " (dry run)" } else { "" };
        for object in &self.deleted {
            screen.data(&format!("{object} deleted{dry}"));
        }
        for name in &self.leaving {
            screen.say(
                Tone::Warning,
                &format!("RoleRule {name} stays in force until its layer is primary{dry}; run it again then, to remove what was made for it"),
            );
        }
    }
}
