//! `rule list`: what there is, what of it is in force, and what it misses.

use failover_core::Layer;
use failover_core::api::{RoleRule, Unreadable};
use failover_core::rules::role_rule::in_force;
use failover_core::rules::role_rule::readiness::{AS_WRITTEN, READY};
use kube::ResourceExt as _;
use serde::Serialize;

use super::listed;
use crate::cli::RuleListArgs;
use crate::error::Failure;
use crate::output::{Report, Screen, Table};
use crate::session::Session;

/// The document `Rules`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RulesReport {
    rules: Vec<Entry>,
    /// Names of rules that have gone and left behind what was made for them.
    left_behind: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: String,
    kind: String,
    layer: Layer,
    fields: Vec<String>,
    in_force: String,
    /// `True`, `False`, or `Unknown` if the controller has not reconciled it yet.
    ready: String,
    reason: String,
    message: String,
}

pub(super) async fn run(session: &Session<'_>, args: &RuleListArgs) -> Result<(), Failure> {
    let listed = listed(&session.cluster).await?;
    for unreadable in &listed.unreadable {
        session.screen.warn(&unreadable.to_string());
    }
    let mut present = listed.items;
    present.sort_by_key(kube::ResourceExt::name_any);
    let report = RulesReport {
        left_behind: left_behind(session, &present, &listed.unreadable).await,
        rules: present.iter().map(entry).collect(),
    };
    report.print(args.output, session.screen);
    Ok(())
}

/// Best effort: a user who may only read rules sees the rules.
async fn left_behind(
    session: &Session<'_>,
    present: &[RoleRule],
    unreadable: &[Unreadable],
) -> Vec<String> {
    let is_unreadable = |name: &str| {
        let object = format!("RoleRule {name}");
        unreadable.iter().any(|found| found.object == object)
    };
    let Ok(made) = session.cluster.made_for_rules(None).await else {
        return Vec::new();
    };
    let mut names: Vec<String> = made
        .iter()
        .filter_map(|manifest| {
            let labels = &manifest.object()["metadata"]["labels"];
            Some(
                labels[failover_core::names::ROLE_RULE_LABEL]
                    .as_str()?
                    .to_owned(),
            )
        })
        .filter(|name| !present.iter().any(|rule| rule.name_any() == *name))
        .filter(|name| !is_unreadable(name))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn entry(rule: &RoleRule) -> Entry {
    let spec = in_force::spec(rule);
    let status = rule.status.clone().unwrap_or_default();
    let condition = |kind: &str| {
        let found = status.conditions.iter().find(|c| c.type_ == kind);
        found.map_or_else(
            || {
                (
                    "Unknown".to_owned(),
                    "NotLookedAt".to_owned(),
                    "the controller has not reconciled it yet".to_owned(),
                )
            },
            |c| (c.status.clone(), c.reason.clone(), c.message.clone()),
        )
    };
    let (ready, reason, message) = condition(READY);
    let (_, in_force, waiting) = condition(AS_WRITTEN);
    let message = match in_force.as_str() {
        "WaitsForPrimary" | "Leaving" => format!("{message}; {waiting}"),
        _ => message,
    };
    Entry {
        name: rule.name_any(),
        kind: if spec.group.is_empty() {
            spec.resource.clone()
        } else {
            format!("{}.{}", spec.resource, spec.group)
        },
        layer: spec.layer,
        fields: spec
            .fields
            .iter()
            .map(|field| field.pointer.clone())
            .collect(),
        in_force,
        ready,
        reason,
        message,
    }
}

impl Report for RulesReport {
    const KIND: &'static str = "Rules";

    fn names(&self) -> Vec<String> {
        let names = self.rules.iter().map(|rule| &rule.name);
        names
            .map(|name| format!("rolerule.failover.dev/{name}"))
            .collect()
    }

    fn text(&self, wide: bool, screen: &Screen) {
        let mut header = vec!["NAME", "KIND", "LAYER", "IN FORCE", "READY", "WHY"];
        if wide {
            header.push("FIELDS");
        }
        let mut table = Table::new(&header);
        for rule in &self.rules {
            let why = if rule.reason == "Accepted" && rule.in_force == "AsWritten" {
                String::new()
            } else {
                format!("{}: {}", rule.reason, rule.message)
            };
            let mut row = vec![
                rule.name.clone(),
                rule.kind.clone(),
                rule.layer.to_string(),
                rule.in_force.clone(),
                rule.ready.clone(),
                why,
            ];
            if wide {
                row.push(rule.fields.join(", "));
            }
            table.row(row);
        }
        if table.is_empty() {
            screen.note("there are no RoleRules: only the built-in kinds are ruled");
            screen
                .note("rules that come with kubectl failover: kubectl failover rule apply --help");
        } else {
            screen.data(&table.to_string());
        }
        for name in &self.left_behind {
            screen.warn(&format!(
            "RoleRule {name} has gone, and what was made for it is still there: kubectl failover rule delete {name}"
        ));
        }
    }
}
