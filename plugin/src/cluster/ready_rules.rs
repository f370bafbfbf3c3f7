//! Kinds that are there, for which a ready rule comes with us, and of which no rule is in force.

use failover_core::api::RoleRule;
use failover_core::namespace::Enforcement;
use failover_core::object::ObjectRef;
use failover_core::transition::EnrolledNamespace;
use failover_core::{Layer, Rule, RuleSet};
use serde::Serialize;

use super::{ApiError, Cluster};
use crate::rules::{Source, all_shipped};

/// The objects of such a kind in enrolled namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithoutRule {
    /// The ready rule.
    pub rule: String,
    pub kind: String,
    pub objects: Vec<ObjectRef>,
}

impl WithoutRule {
    pub fn command(&self) -> String {
        format!("kubectl failover rule apply {}", self.rule)
    }
}

/// As documents have it.
#[derive(Debug, Serialize)]
pub struct WithoutRuleReport {
    rule: String,
    kind: String,
    objects: Vec<String>,
}

impl From<&WithoutRule> for WithoutRuleReport {
    fn from(without: &WithoutRule) -> Self {
        Self {
            rule: without.rule.clone(),
            kind: without.kind.clone(),
            objects: without.objects.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Cluster {
    /// Looks for them. This is a hint, so what cannot be listed is left out.
    pub async fn without_rule(
        &self,
        namespaces: &[EnrolledNamespace],
    ) -> Result<Vec<WithoutRule>, ApiError> {
        let role_rules = match self.role_rules().await {
            Ok(role_rules) => role_rules.items,
            Err(error) if error.is_not_found() => Vec::new(),
            Err(error) if error.is_forbidden() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let missing = missing(all_shipped(), &role_rules);
        let kinds: Vec<Rule> = missing.iter().map(|source| source.rule.clone()).collect();
        let served = self.served_of(&kinds).await?;
        if served.is_empty() {
            return Ok(Vec::new());
        }
        let whole: Vec<EnrolledNamespace> = namespaces
            .iter()
            .filter(|namespace| namespace.state.enforcement == Some(Enforcement::Enabled))
            .cloned()
            .collect();
        let survey = match self.survey_of(&whole, served).await {
            Ok(survey) => survey,
            Err(error @ ApiError::Unreachable { .. }) => return Err(error),
            Err(_) => return Ok(Vec::new()),
        };
        let without = missing.into_iter().map(|source| {
            let of_kind = survey
                .found
                .iter()
                .filter(|found| source.rule.is_of(&found.rule.group, &found.rule.resource));
            let reference = of_kind
                .map(|found| ObjectRef::of(&found.rule, &found.namespace.name, &found.object));
            WithoutRule {
                rule: source.name,
                kind: source.rule.kind.to_string(),
                objects: reference.collect(),
            }
        });
        Ok(without
            .filter(|without| !without.objects.is_empty())
            .collect())
    }
}

/// The ready rules for kinds of which there is no rule. What publishes names is left to the guard of traffic: most of it does
/// not.
fn missing(shipped: Vec<Source>, role_rules: &[RoleRule]) -> Vec<Source> {
    let built_in = RuleSet::built_in();
    let has_rule = |rule: &Rule| {
        built_in.find(&rule.group, &rule.resource).is_some()
            || role_rules
                .iter()
                .any(|other| rule.is_of(&other.spec.group, &other.spec.resource))
    };
    let mut missing = shipped;
    missing.retain(|source| source.rule.layer != Layer::Traffic && !has_rule(&source.rule));
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Manifest;
    use crate::manifests;

    #[test]
    fn a_ready_rule_is_missing_until_there_is_a_rule_for_its_kind() {
        let names = |role_rules: &[RoleRule]| -> Vec<String> {
            let missing = missing(all_shipped(), role_rules);
            missing.into_iter().map(|source| source.name).collect()
        };
        let all = names(&[]);
        assert!(all.contains(&"flagger-canary".to_owned()), "{all:?}");
        assert!(
            all.iter().all(|name| !name.ends_with("external-dns")),
            "{all:?}"
        );
        let canary = all_shipped()
            .into_iter()
            .find(|source| source.name == "flagger-canary");
        let mut own = canary.unwrap().role_rule;
        own.metadata.name = Some("our-own".into());
        assert!(!names(&[own]).contains(&"flagger-canary".to_owned()));
    }

    #[test]
    fn whoever_may_plan_may_list_what_a_ready_rule_would_reach() {
        for role in ["failover-viewer", "failover-operator"] {
            let manifests = manifests::objects(&manifests::Options::default());
            let is_role = |m: &&Manifest| {
                m.object()["kind"] == "ClusterRole" && m.object()["metadata"]["name"] == role
            };
            let rules = manifests.iter().find(is_role).unwrap().object()["rules"].clone();
            for source in missing(all_shipped(), &[]) {
                let is_listed = rules.as_array().unwrap().iter().any(|rule| {
                    let has = |key: &str, value: &str| {
                        rule[key]
                            .as_array()
                            .is_some_and(|all| all.iter().any(|v| v == value))
                    };
                    has("apiGroups", &source.rule.group)
                        && has("resources", &source.rule.resource)
                        && has("verbs", "list")
                });
                assert!(
                    is_listed,
                    "{role} may not list what {} is about",
                    source.name
                );
            }
        }
    }
}
