//! `rule apply`: check, show, ask, write, wait.

use std::time::Duration;

use failover_core::api::RoleRule;
use failover_core::rules::role_rule::readiness::READY;
use failover_core::{Rule, RuleSet};
use kube::ResourceExt as _;
use serde::Serialize;
use tokio::time::Instant;

use super::effect::{Effect, effect};
use super::reconcile::{Made, apply, ask_webhook, in_force_now, to_be_in_force};
use super::{not_installed, present, sources};
use crate::cli::{DryRun, RuleApplyArgs};
use crate::cluster::{ApiError, Applied};
use crate::commands::preflight::preflight;
use crate::error::Failure;
use crate::output::age::took;
use crate::output::confirm::{Consent, declined};
use crate::output::progress::Progress;
use crate::output::{Report, Screen, Tone};
use crate::rules::{self, Source};
use crate::session::Session;

const EVERY: Duration = Duration::from_millis(500);

/// The document `RuleApplication`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleApplicationReport {
    dry_run: bool,
    rules: Vec<Effect>,
    objects: Vec<Object>,
    /// The controller has taken the rules over and finds nothing missing.
    ready: bool,
}

#[derive(Debug, Serialize)]
struct Object {
    object: String,
    result: &'static str,
}

/// One rule to apply: as it will hold, and the RoleRule to be written, unless that is somebody else's.
struct Wanted {
    name: String,
    rule: Rule,
    source: Option<Source>,
}

pub(super) async fn run(session: &Session<'_>, args: &RuleApplyArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let cluster = &session.cluster;
    let present = present(cluster).await?;
    let wanted = wanted(args, &present)?;
    if cluster.rules_webhook().await?.is_none() {
        return Err(not_installed(cluster));
    }
    let enrolled = cluster.enrolled().await?;
    let mut effects = Vec::new();
    for wanted in &wanted {
        effects.push(effect(cluster, &enrolled, &wanted.name, &wanted.rule).await?);
    }
    if args.dry_run == DryRun::None && !wanted.is_empty() {
        ask(session, args, &effects).await?;
    }
    let progress = Progress::new(session.screen);
    progress.now("applying rules");
    let mut made = Made::new();
    if args.dry_run != DryRun::Client {
        let policies: Vec<_> = wanted
            .iter()
            .flat_map(|wanted| rules::policies(&wanted.name, &wanted.rule))
            .collect();
        preflight(session, &policies, args.force_conflicts).await?;
        let outcome = write(session, args, &present, &wanted, &mut made).await;
        outcome.map_err(|error| not_applied(error, &made))?;
    }
    let ready = args.wait && args.dry_run == DryRun::None;
    if ready {
        let names: Vec<_> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
        wait(session, &progress, &names, started, args.timeout).await?;
    }
    drop(progress);
    let report = RuleApplicationReport {
        dry_run: args.dry_run != DryRun::None,
        rules: effects,
        objects: made
            .into_iter()
            .map(|(object, applied)| Object {
                object,
                result: applied.as_str(),
            })
            .collect(),
        ready,
    };
    report.print(args.output, session.screen);
    Ok(())
}

/// What is asked for, held against what is there.
fn wanted(args: &RuleApplyArgs, present: &[RoleRule]) -> Result<Vec<Wanted>, Failure> {
    if args.present {
        return Ok(in_force_now(present)
            .into_iter()
            .map(|(name, rule)| Wanted {
                name,
                rule,
                source: None,
            })
            .collect());
    }
    let sources = sources(args)?;
    let mut after: Vec<RoleRule> = present
        .iter()
        .filter(|rule| !sources.iter().any(|source| source.name == rule.name_any()))
        .cloned()
        .collect();
    for source in &sources {
        let mut rule = source.role_rule.clone();
        if let Some(twin) = present.iter().find(|rule| rule.name_any() == source.name) {
            check_same_kind(source, twin)?;
            rule.status.clone_from(&twin.status);
        }
        after.push(rule);
    }
    let (_, errors) = RuleSet::with_role_rules(&after);
    sources
        .into_iter()
        .map(|source| {
            if let Some((_, error)) = errors.iter().find(|(name, _)| *name == source.name) {
                return Err(Failure::refused(format!(
                    "{}: RoleRule {}: {error}; nothing was changed",
                    source.origin, source.name
                ))
                .next("a kind has one rule: see kubectl failover rule list"));
            }
            let twin = present.iter().find(|rule| rule.name_any() == source.name);
            let rule = to_be_in_force(twin, &source.role_rule).unwrap_or(source.rule.clone());
            Ok(Wanted {
                name: source.name.clone(),
                rule,
                source: Some(source),
            })
        })
        .collect()
}

fn check_same_kind(source: &Source, present: &RoleRule) -> Result<(), Failure> {
    let (old, new) = (&present.spec, &source.role_rule.spec);
    if present.metadata.deletion_timestamp.is_some() {
        return Err(Failure::refused(format!(
            "RoleRule {} is being deleted, and stays in force until its layer is primary; nothing was changed",
            source.name
        ))
        .next("apply it under another name once it has gone"));
    }
    if (&old.group, &old.resource) != (&new.group, &new.resource) {
        return Err(Failure::refused(format!(
            "{}: RoleRule {} is about {}.{} in the cluster, and cannot be turned to another kind; nothing was changed",
            source.origin, source.name, old.resource, old.group
        ))
        .next("give the new rule another name"));
    }
    Ok(())
}

async fn ask(
    session: &Session<'_>,
    args: &RuleApplyArgs,
    effects: &[Effect],
) -> Result<(), Failure> {
    let screen = session.screen;
    screen.note(&format!(
        "Rules for {} (with rights for the controller, the webhook's entry and admission policies)",
        session.cluster.connection()
    ));
    for effect in effects {
        effect.tell(screen);
    }
    let consent = Consent::of(args.yes, screen.terminal().interactive, "rule apply")?;
    if consent.obtain(screen, "Apply?").await? {
        Ok(())
    } else {
        Err(declined())
    }
}

/// Rights first, or the controller could not do what the rule says; the policies last, since what the webhook rewrites they
/// would refuse.
async fn write(
    session: &Session<'_>,
    args: &RuleApplyArgs,
    present: &[RoleRule],
    wanted: &[Wanted],
    made: &mut Made,
) -> Result<(), ApiError> {
    let cluster = &session.cluster;
    let (force, dry_run) = (args.force_conflicts, args.dry_run == DryRun::Server);
    if !dry_run {
        session.is_underway(
            "a part of the rules is applied",
            "run the same command again to complete it",
        );
    }
    for wanted in wanted {
        let rights = rules::rights(&wanted.name, &wanted.rule);
        apply(cluster, rights, force, dry_run, made).await?;
        let itself = wanted.source.as_ref().map(Source::manifest);
        apply(cluster, itself.into_iter().collect(), force, dry_run, made).await?;
    }
    let mut all = in_force_now(present);
    all.retain(|(name, _)| !wanted.iter().any(|wanted| wanted.name == *name));
    all.extend(wanted.iter().map(|w| (w.name.clone(), w.rule.clone())));
    made.extend(ask_webhook(cluster, &all, dry_run).await?);
    for wanted in wanted {
        let policies = rules::policies(&wanted.name, &wanted.rule);
        apply(cluster, policies, force, dry_run, made).await?;
    }
    Ok(())
}

fn not_applied(error: ApiError, made: &Made) -> Failure {
    let (conflict, forbidden) = (error.is_conflict(), error.is_forbidden());
    let mut failure = Failure::from(error);
    let touched = made
        .iter()
        .any(|(_, applied)| *applied != Applied::Unchanged);
    failure.message.push_str(if touched {
        "; what came before it was applied, run it again to complete it"
    } else {
        "; nothing was changed"
    });
    if conflict {
        failure.next = Some(
            "see who changed these fields; to take them over, run it again with --force-conflicts"
                .to_owned(),
        );
    }
    if forbidden {
        failure.next = Some(
            "rules are written with your rights: on RoleRules, ClusterRoles, admission policies, the webhook configuration, and on the kind itself; cluster-admin has them"
                .to_owned(),
        );
    }
    failure
}

/// Until each is Ready at its present generation. One that the controller refuses will not be by waiting.
async fn wait(
    session: &Session<'_>,
    progress: &Progress<'_>,
    names: &[&str],
    started: Instant,
    timeout: Duration,
) -> Result<(), Failure> {
    loop {
        let left = match session.cluster.role_rules().await {
            Ok(all) => not_ready(&all.items, names)?,
            Err(error) if error.is_passing() => Some(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let Some(left) = left else { return Ok(()) };
        progress.now(&left);
        if started.elapsed() >= timeout {
            return Err(Failure::timed_out(format!(
                "applied, but not ready after {}: {left}",
                took(timeout.try_into().unwrap_or_default())
            ))
            .next(
                "see kubectl failover rule list, and kubectl failover status for the controller",
            ));
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What is still to come; an error where nothing will.
fn not_ready(all: &[RoleRule], names: &[&str]) -> Result<Option<String>, Failure> {
    for name in names {
        let Some(rule) = all.iter().find(|rule| rule.name_any() == *name) else {
            return Err(Failure::partial(format!(
                "RoleRule {name} has gone: somebody has deleted it meanwhile"
            )));
        };
        let status = rule.status.clone().unwrap_or_default();
        let looked_at = status.observed_generation == rule.metadata.generation;
        let ready = status.conditions.iter().find(|c| c.type_ == READY);
        match ready.filter(|_| looked_at) {
            Some(ready) if ready.status == "True" => {}
            Some(ready) if ["Invalid", "Taken"].contains(&ready.reason.as_str()) => {
                return Err(Failure::partial(format!(
                    "RoleRule {name} is not used ({}): {}",
                    ready.reason, ready.message
                )));
            }
            Some(ready) => return Ok(Some(format!("RoleRule {name}: {}", ready.message))),
            None => {
                return Ok(Some(format!(
                    "waiting for the controller to take over RoleRule {name}"
                )));
            }
        }
    }
    Ok(None)
}

impl Report for RuleApplicationReport {
    const KIND: &'static str = "RuleApplication";

    fn names(&self) -> Vec<String> {
        let objects = self.objects.iter();
        objects.map(|object| object.object.clone()).collect()
    }

    fn text(&self, _wide: bool, screen: &Screen) {
        if self.dry_run {
            for effect in &self.rules {
                effect.tell(screen);
            }
        }
        let dry = if self.dry_run { " (dry run)" } else { "" };
        for Object { object, result } in &self.objects {
            screen.data(&format!("{object} {result}{dry}"));
        }
        if self.ready {
            for effect in &self.rules {
                screen.say(Tone::Good, &format!("RoleRule {} is in force", effect.name));
            }
        }
    }
}
