//! What rules need of a cluster: rights, the webhook's entry, policies. One by one, and for all that are there.

use failover_core::Rule;
use failover_core::api::RoleRule;
use failover_core::rules::role_rule::{in_force, rendered, written};
use kube::ResourceExt as _;
use serde_json::Value;

use crate::cluster::{ApiError, Applied, Cluster, Manifest};
use crate::rules;

/// What was applied: reference and result.
pub type Made = Vec<(String, Applied)>;

/// The rule that will hold once this is written, on top of what holds now. What is looser waits for a primary, and so must
/// what is made for it.
pub(super) fn to_be_in_force(present: Option<&RoleRule>, new: &RoleRule) -> Option<Rule> {
    let enforced = present
        .and_then(|rule| rule.status.as_ref())
        .and_then(|status| status.enforced.as_ref());
    Rule::try_from(&in_force::next(enforced, &new.spec, false)?).ok()
}

/// The rules that hold, with their names: of the sound ones, the first for each kind.
pub(super) fn in_force_now(present: &[RoleRule]) -> Vec<(String, Rule)> {
    let (set, errors) = failover_core::RuleSet::with_role_rules(present);
    present
        .iter()
        .filter(|rule| !errors.iter().any(|(name, _)| *name == rule.name_any()))
        .filter_map(|rule| {
            let holds =
                to_be_in_force(Some(rule), rule).or_else(|| written(in_force::spec(rule)).ok())?;
            set.find(&holds.group, &holds.resource)?;
            Some((rule.name_any(), holds))
        })
        .collect()
}

/// Rules of the webhook's entry for these.
pub(super) fn webhook_rules(rules: &[(String, Rule)]) -> Vec<Value> {
    let mut rules: Vec<_> = rules.iter().collect();
    rules.sort_by(|a, b| a.0.cmp(&b.0));
    rules
        .iter()
        .map(|(_, rule)| rendered::webhook_rule(rule))
        .collect()
}

/// Applies manifests in their order.
pub(super) async fn apply(
    cluster: &Cluster,
    manifests: Vec<Manifest>,
    force: bool,
    dry_run: bool,
    made: &mut Made,
) -> Result<(), ApiError> {
    for manifest in manifests {
        let applied = cluster.apply(&manifest, force, dry_run).await?;
        made.push((manifest.reference(), applied));
    }
    Ok(())
}

/// The admission policies of the RoleRules in the cluster.
pub async fn policies_of_present_rules(cluster: &Cluster) -> Result<Vec<Manifest>, ApiError> {
    let present = match cluster.role_rules().await {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        other => other?,
    };
    // One that cannot be read is reported where it is applied; what cannot be rendered cannot be compiled either.
    let rules = in_force_now(&present.items);
    Ok(rules
        .iter()
        .flat_map(|(name, rule)| rules::policies(name, rule))
        .collect())
}

/// Makes everything that the RoleRules in the cluster need: after an install, which knows only the built-in kinds.
pub async fn for_present_rules(
    cluster: &Cluster,
    force: bool,
    dry_run: bool,
) -> Result<Made, ApiError> {
    let present = match cluster.role_rules().await {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        other => other?.complete("read the RoleRules")?,
    };
    let rules = in_force_now(&present);
    let mut made = Vec::new();
    for (name, rule) in &rules {
        apply(
            cluster,
            rules::rights(name, rule),
            force,
            dry_run,
            &mut made,
        )
        .await?;
    }
    made.extend(ask_webhook(cluster, &rules, dry_run).await?);
    for (name, rule) in &rules {
        apply(
            cluster,
            rules::policies(name, rule),
            force,
            dry_run,
            &mut made,
        )
        .await?;
    }
    Ok(made)
}

/// Has the webhook asked about just these kinds; `None` where nothing is installed.
pub(super) async fn ask_webhook(
    cluster: &Cluster,
    rules: &[(String, Rule)],
    dry_run: bool,
) -> Result<Option<(String, Applied)>, ApiError> {
    let Some(webhook) = cluster.rules_webhook().await? else {
        return Ok(None);
    };
    let applied = cluster
        .ask_webhook(&webhook, &webhook_rules(rules), dry_run)
        .await?;
    let reference = "mutatingwebhookconfiguration.admissionregistration.k8s.io/failover.dev";
    Ok(Some((reference.to_owned(), applied)))
}
