//! What rules would change on the objects that are there, under the roles that these have now.

use failover_core::namespace::ExemptLabel;
use failover_core::object::ObjectRef;
use failover_core::plan::plan_object;
use failover_core::transition::EnrolledNamespace;
use failover_core::{Rule, RuleSet};
use serde::Serialize;

use crate::cluster::{ApiError, Cluster};
use crate::output::{Screen, Tone, clean, counted};

/// How many objects are listed: no other command would list them before.
const LISTED: usize = 20;

/// One rule and what it would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Effect {
    pub name: String,
    pub kind: String,
    pub layer: failover_core::Layer,
    /// The cluster has this kind.
    pub served: bool,
    /// Objects of the kind in enrolled namespaces.
    pub objects: usize,
    pub changes: Vec<Change>,
    /// Objects that cannot be brought to agree with their role, and why.
    pub hopeless: Vec<String>,
    /// What could not be checked.
    pub unseen: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Change {
    pub object: String,
    pub changes: Vec<String>,
}

pub(super) async fn effect(
    cluster: &Cluster,
    enrolled: &[EnrolledNamespace],
    name: &str,
    rule: &Rule,
) -> Result<Effect, ApiError> {
    let served = cluster.served(&RuleSet::only(rule.clone())).await?;
    let mut effect = Effect {
        name: name.to_owned(),
        kind: rule.group_resource(),
        layer: rule.layer,
        served: !served.is_empty(),
        objects: 0,
        changes: Vec::new(),
        hopeless: Vec::new(),
        unseen: Vec::new(),
    };
    let survey = cluster.survey_of(enrolled, served).await?;
    for found in &survey.found {
        let name = found.object["metadata"]["name"]
            .as_str()
            .unwrap_or_default();
        let Some(role) = found.namespace.state.role_for(
            &found.rule,
            name,
            ExemptLabel::of(&found.rule, &found.object),
        ) else {
            continue;
        };
        effect.objects += 1;
        match plan_object(&found.rule, role, &found.namespace.name, &found.object) {
            Ok(Some(item)) if !item.rewrite.is_empty() => effect.changes.push(Change {
                object: item.object.to_string(),
                changes: item
                    .rewrite
                    .changes
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
            }),
            Ok(_) => {}
            Err(error) => {
                let object = ObjectRef::of(&found.rule, &found.namespace.name, &found.object);
                effect.hopeless.push(format!("{object}: {error}"));
            }
        }
    }
    effect.unseen = survey
        .unseen
        .iter()
        .map(|unseen| format!("{}: {}", unseen.what, unseen.why))
        .collect();
    Ok(effect)
}

impl Effect {
    pub(super) fn tell(&self, screen: &Screen) {
        let what = format!(
            "RoleRule {} ({}, layer {})",
            self.name, self.kind, self.layer
        );
        if !self.served {
            screen.note(&format!(
                "{what}: the cluster does not serve this kind yet; the rule waits for it"
            ));
            return;
        }
        let tone = if self.changes.is_empty() {
            Tone::Good
        } else {
            Tone::Warning
        };
        screen.tell(
            tone,
            &format!(
                "{what}: changes {} of {}",
                self.changes.len(),
                counted(self.objects, "object")
            ),
        );
        for change in self.changes.iter().take(LISTED) {
            screen.note(&clean(&format!(
                "  {} {}",
                change.object,
                change.changes.join(", ")
            )));
        }
        if self.changes.len() > LISTED {
            screen.note(&format!("  and {} more", self.changes.len() - LISTED));
        }
        for (prefix, lines) in [
            ("cannot be made passive", &self.hopeless),
            ("could not be read", &self.unseen),
        ] {
            for line in lines {
                screen.note(&clean(&format!("  {prefix}: {line}")));
            }
        }
    }
}
