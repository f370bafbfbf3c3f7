//! `uninstall`: everything that `install` brought, in the order in which nothing is left hanging.
//!
//! The policies go first, then the webhook configuration, so that no write is refused by the ones or waits for the other
//! when the webhook is gone; what runs goes next; then the labels of namespaces, rights, the Site, the CRDs, and our own
//! namespaces last. Nothing of a user's is deleted: a CRD takes its objects with it, so those of FailoverPolicies and
//! RoleRules stay while there are any, the rules without our finalizer.

use std::time::Duration;

use failover_core::api::RoleRule;
use failover_core::names::IN_FORCE_FINALIZER;
use failover_core::transition::EnrolledNamespace;
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;
use serde::Serialize;
use tokio::time::Instant;

use super::leave_guards;
use super::site_view::effective_role;
use super::unenroll::unmark;
use crate::cli::{DryRun, UninstallArgs};
use crate::cluster::{ApiError, Manifest, enrolled_state};
use crate::error::Failure;
use crate::manifests::{self, Options};
use crate::output::age::took;
use crate::output::confirm::{Consent, declined};
use crate::output::progress::Progress;
use crate::output::{Report, Screen, Tone, counted};
use crate::plan::recorded;
use crate::session::Session;

const EVERY: Duration = Duration::from_millis(500);

/// The document `Uninstallation`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct UninstallationReport {
    dry_run: bool,
    deleted: Vec<String>,
    /// CRDs that stay, because there are objects of their kind.
    kept: Vec<String>,
    /// Namespaces from which our labels and annotations were removed.
    released: Vec<String>,
    /// Objects that still carry a record of what they were.
    records: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub async fn run(session: &Session<'_>, args: &UninstallArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let overrides = leave_guards::overrides(&args.overrides)?;
    let cluster = &session.cluster;
    let site = cluster.site().await?;
    let marked = cluster.marked_namespaces().await?;
    let enrolled: Vec<EnrolledNamespace> = marked.iter().filter_map(enrolled_state).collect();
    let survey = cluster.survey(&enrolled).await?;
    if let Some(unseen) = survey
        .unseen
        .iter()
        .find(|unseen| !unseen.what.starts_with("RoleRule"))
    {
        return Err(Failure::error(format!(
            "cannot check whether restore records are left, so nothing was changed: {}: {}",
            unseen.what, unseen.why
        )));
    }
    let records = recorded(&survey);
    let role = effective_role(site.as_ref(), &enrolled);
    leave_guards::check("uninstall", role, &records, &overrides)?;
    let kept = crds_in_use(session).await?;
    let mut report = UninstallationReport {
        dry_run: args.dry_run != DryRun::None,
        kept: kept.iter().map(|(crd, _)| (*crd).to_owned()).collect(),
        records: records.iter().map(ToString::to_string).collect(),
        reason: args.reason.clone(),
        ..UninstallationReport::default()
    };
    if args.dry_run == DryRun::None {
        ask(session, args, &marked_names(&marked), &kept).await?;
    }
    let progress = Progress::new(session.screen);
    let mut removals = removals(&report.kept);
    removals.extend(cluster.made_for_rules(None).await?);
    removals.sort_by_key(rank);
    // Namespaces are released between what runs and its rights.
    let rest = removals.split_off(
        removals
            .iter()
            .position(|m| rank(m) > WORKLOADS)
            .unwrap_or(removals.len()),
    );
    remove(session, args, &progress, &removals, &mut report).await?;
    for metadata in marked {
        let name = metadata.name.clone().unwrap_or_default();
        if args.dry_run == DryRun::None {
            progress.detail(&format!("removing our labels from namespace {name}"));
            unmark(session, metadata, None).await?;
        }
        report.released.push(name);
    }
    remove(session, args, &progress, &rest, &mut report).await?;
    if args.dry_run == DryRun::None {
        wait_until_gone(session, &progress, &rest, started, args.timeout).await?;
    }
    drop(progress);
    report.print(args.output, session.screen);
    Ok(())
}

/// Place in the order of removal.
const WORKLOADS: u8 = 3;

fn rank(manifest: &Manifest) -> u8 {
    match manifest.kind() {
        // What refuses goes before what would have rewritten.
        "ValidatingAdmissionPolicyBinding" => 0,
        "ValidatingAdmissionPolicy" => 1,
        "MutatingWebhookConfiguration" => 2,
        "Deployment" | "PodDisruptionBudget" | "Service" | "NetworkPolicy" => WORKLOADS,
        "ClusterRoleBinding" | "RoleBinding" => 4,
        "ClusterRole" | "Role" => 5,
        "Site" => 7,
        "CustomResourceDefinition" => 8,
        "Namespace" => 9,
        // Identities, the Secret, the Lease, the quota.
        _ => 6,
    }
}

/// Everything that is removed, in order.
fn removals(kept: &[String]) -> Vec<Manifest> {
    let site = Manifest::new(serde_json::json!({
        "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": {"name": "cluster"}
    }));
    let mut all: Vec<Manifest> = manifests::objects(&Options::default())
        .into_iter()
        .chain([site])
        .filter(|manifest| !kept.iter().any(|crd| crd == manifest.name()))
        .collect();
    all.sort_by_key(rank);
    all
}

/// CRDs whose kinds somebody uses, and how often.
async fn crds_in_use(session: &Session<'_>) -> Result<Vec<(&'static str, usize)>, ApiError> {
    let count = |answer: Result<usize, ApiError>| match answer {
        Err(error) if error.is_not_found() => Ok(0),
        other => other,
    };
    let cluster = &session.cluster;
    let policies = count(cluster.failover_policies().await.map(|all| all.total))?;
    let rules = count(cluster.role_rules().await.map(|all| all.total))?;
    Ok([
        ("failoverpolicies.failover.dev", policies),
        ("rolerules.failover.dev", rules),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .collect())
}

/// RoleRules that stay must be deletable without the controller. Returns those whose finalizer had to be removed: the
/// controller adds it again while it runs and has the right to.
async fn release_rules(session: &Session<'_>) -> Result<Vec<String>, ApiError> {
    let mut held = match session.cluster.role_rule_metadata().await {
        Err(error) if error.is_not_found() => return Ok(vec![]),
        other => other?,
    };
    held.retain(|rule| rule.finalizers().iter().any(|f| f == IN_FORCE_FINALIZER));
    for rule in &held {
        match session.cluster.release_rule(rule).await {
            // Written by a controller on its way out, or gone: it is read again.
            Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
            _ => {}
        }
    }
    let name = |rule: &PartialObjectMeta<RoleRule>| {
        format!("the finalizer of rolerule/{}", rule.name_any())
    };
    Ok(held.iter().map(name).collect())
}

fn marked_names(
    marked: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta],
) -> Vec<String> {
    marked
        .iter()
        .filter_map(|metadata| metadata.name.clone())
        .collect()
}

async fn ask(
    session: &Session<'_>,
    args: &UninstallArgs,
    marked: &[String],
    kept: &[(&'static str, usize)],
) -> Result<(), Failure> {
    let screen = session.screen;
    screen.note(&format!(
        "Uninstalling from {}",
        session.cluster.connection()
    ));
    if !marked.is_empty() {
        screen.note(&format!("  enforcement ends in {}", marked.join(", ")));
    }
    for (crd, count) in kept {
        screen.note(&format!(
            "  {crd} stays: {} of its kind, yours",
            counted(*count, "object")
        ));
    }
    let consent = Consent::of(args.yes, screen.terminal().interactive, "uninstall")?;
    if consent
        .obtain(screen, "Remove webhook, controller, Site and CRDs?")
        .await?
    {
        Ok(())
    } else {
        Err(declined())
    }
}

async fn remove(
    session: &Session<'_>,
    args: &UninstallArgs,
    progress: &Progress<'_>,
    manifests: &[Manifest],
    report: &mut UninstallationReport,
) -> Result<(), Failure> {
    for manifest in manifests {
        let reference = manifest.reference();
        let there = match args.dry_run {
            DryRun::Client => session.cluster.stored(manifest).await?.is_some(),
            // Its deletion is allowed in writing first, which a dry run does not do.
            DryRun::Server if manifest.kind() == "Site" => {
                session.cluster.stored(manifest).await?.is_some()
            }
            DryRun::Server => session.cluster.remove(manifest, true).await?,
            DryRun::None => {
                progress.detail(&format!("deleting {reference}"));
                if manifest.kind() == "Site" {
                    session.cluster.allow_site_deletion().await?;
                }
                let there = session.cluster.remove(manifest, false).await?;
                session.is_underway(
                    "a part is removed already",
                    "run kubectl failover uninstall again to remove the rest",
                );
                there
            }
        };
        if there {
            report.deleted.push(reference);
        }
    }
    Ok(())
}

/// CRDs and namespaces take a moment, and a finalizer of somebody else's may keep them for ever.
async fn wait_until_gone(
    session: &Session<'_>,
    progress: &Progress<'_>,
    manifests: &[Manifest],
    started: Instant,
    timeout: Duration,
) -> Result<(), Failure> {
    loop {
        let mut left = Vec::new();
        for manifest in manifests {
            if session.cluster.stored(manifest).await?.is_some() {
                left.push(manifest.reference());
            }
        }
        // Once nobody has the rights to put it back.
        if left.is_empty() {
            left.extend(release_rules(session).await?);
        }
        if left.is_empty() {
            return Ok(());
        }
        progress.now(&format!("waiting until {} is gone", left.join(", ")));
        if started.elapsed() >= timeout {
            return Err(Failure::timed_out(format!(
                "deleted, but after {} this is still there: {}",
                took(timeout.try_into().unwrap_or_default()),
                left.join(", ")
            ))
            .next("see metadata.finalizers and status of each; run it again to wait on"));
        }
        tokio::time::sleep(EVERY).await;
    }
}

impl Report for UninstallationReport {
    const KIND: &'static str = "Uninstallation";

    fn names(&self) -> Vec<String> {
        self.deleted.clone()
    }

    fn text(&self, _wide: bool, screen: &Screen) {
        let would = if self.dry_run { " (dry run)" } else { "" };
        for object in &self.deleted {
            screen.data(&format!("{object} deleted{would}"));
        }
        for namespace in &self.released {
            screen.data(&format!("namespace/{namespace} released{would}"));
        }
        for crd in &self.kept {
            screen.data(&format!(
                "customresourcedefinition.apiextensions.k8s.io/{crd} kept"
            ));
        }
        match (self.deleted.is_empty(), self.dry_run) {
            (true, _) => screen.say(Tone::Good, "nothing is installed: nothing to do"),
            (false, true) => {}
            (false, false) => screen.say(Tone::Good, "kubectl failover is uninstalled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_hanging_on_the_way() {
        let order: Vec<_> = removals(&[]).iter().map(|m| m.kind().to_owned()).collect();
        let first = |kind: &str| order.iter().position(|k| k == kind).unwrap();
        let last = |kind: &str| order.iter().rposition(|k| k == kind).unwrap();
        assert_eq!(first("ValidatingAdmissionPolicyBinding"), 0);
        assert!(last("ValidatingAdmissionPolicyBinding") < first("ValidatingAdmissionPolicy"));
        assert!(last("ValidatingAdmissionPolicy") < first("MutatingWebhookConfiguration"));
        assert!(last("MutatingWebhookConfiguration") < first("Deployment"));
        assert!(last("Deployment") < first("ClusterRoleBinding"));
        assert!(last("ClusterRole") < first("Site"));
        assert!(first("Site") < first("CustomResourceDefinition"));
        assert!(last("CustomResourceDefinition") < first("Namespace"));
        assert_eq!(
            order.len(),
            manifests::objects(&Options::default()).len() + 1
        );
    }

    #[test]
    fn a_crd_in_use_stays() {
        let kept = ["rolerules.failover.dev".to_owned()];
        let names: Vec<_> = removals(&kept).iter().map(Manifest::reference).collect();
        assert!(
            !names
                .iter()
                .any(|name| name.ends_with("rolerules.failover.dev"))
        );
        assert!(
            names
                .iter()
                .any(|name| name.ends_with("sites.failover.dev"))
        );
    }
}
