//! Which kinds this cluster serves: a rule for a kind that it does not is inert.

use failover_core::{Rule, RuleSet};
use kube::client::{APIGroupDiscovery, APIVersionDiscovery};

use super::{ApiError, Cluster};

const ACTION: &str = "ask the API server which kinds it serves";

impl Cluster {
    /// Everything that is served.
    pub(super) async fn discovery(&self) -> Result<Vec<APIGroupDiscovery>, ApiError> {
        let client = self.client();
        let (core, groups) = futures::try_join!(
            self.read(ACTION, || client.list_core_api_versions_aggregated()),
            self.read(ACTION, || client.list_api_groups_aggregated())
        )?;
        Ok(core.items.into_iter().chain(groups.items).collect())
    }

    /// The rules whose kinds are served, each in a version that is.
    pub async fn served(&self, rules: &RuleSet) -> Result<Vec<Rule>, ApiError> {
        Ok(select(rules.iter(), &self.complete_discovery().await?))
    }

    /// Everything that is served, or an error where the answer cannot be all.
    pub(super) async fn complete_discovery(&self) -> Result<Vec<APIGroupDiscovery>, ApiError> {
        let groups = self.discovery().await?;
        // Taking an answer without Deployments for the truth would call a cluster conforming that was never looked at.
        if names_deployments(&groups) {
            Ok(groups)
        } else {
            Err(ApiError::Refused {
                action: ACTION.to_owned(),
                message:
                    "its discovery does not name deployments.apps; Kubernetes 1.27 or later is needed"
                        .to_owned(),
            })
        }
    }

    /// Those of these rules whose kinds are served, each in a version that is.
    pub async fn served_of(&self, rules: &[Rule]) -> Result<Vec<Rule>, ApiError> {
        Ok(select(rules, &self.discovery().await?))
    }
}

fn names_deployments(groups: &[APIGroupDiscovery]) -> bool {
    RuleSet::built_in()
        .find("apps", "deployments")
        .is_some_and(|rule| of_rule(rule, groups).is_some())
}

fn select<'a>(
    rules: impl IntoIterator<Item = &'a Rule>,
    groups: &[APIGroupDiscovery],
) -> Vec<Rule> {
    rules
        .into_iter()
        .filter_map(|rule| {
            let version = of_rule(rule, groups)?;
            Some(Rule {
                version: version.into(),
                ..rule.clone()
            })
        })
        .collect()
}

/// What the API server says of a version that it could not ask about: an aggregated API that is away.
const STALE: &str = "Stale";

fn of_rule(rule: &Rule, groups: &[APIGroupDiscovery]) -> Option<String> {
    version(groups, &rule.group, &rule.resource, &rule.version)
}

/// This version of a kind where it is served, else the one that the API server prefers. Where nobody can say what a group serves,
/// its kinds count as served: listing them tells that they cannot be.
pub(super) fn version(
    groups: &[APIGroupDiscovery],
    group: &str,
    resource: &str,
    wanted: &str,
) -> Option<String> {
    let of_group = |served: &&APIGroupDiscovery| {
        let metadata = served.metadata.as_ref();
        let name = metadata.and_then(|metadata| metadata.name.as_deref());
        name.unwrap_or_default() == group
    };
    let group = groups.iter().find(of_group)?;
    let is_stale = |version: &APIVersionDiscovery| version.freshness.as_deref() == Some(STALE);
    let served = |stale: bool| {
        let versions = group.versions.iter();
        let served: Vec<&str> = versions
            .filter(|version| is_stale(version) == stale)
            .filter(|version| {
                version.resources.iter().any(|served| {
                    served.resource.as_deref() == Some(resource)
                        && served.scope.as_deref() == Some("Namespaced")
                })
            })
            .filter_map(|version| version.version.as_deref())
            .collect();
        let preferred = served.iter().find(|version| **version == wanted);
        preferred.or(served.first()).map(ToString::to_string)
    };
    let unknown = || {
        let is_unknown = group.versions.iter().any(is_stale);
        is_unknown.then(|| wanted.to_owned())
    };
    served(false).or_else(|| served(true)).or_else(unknown)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_aggregated_api_that_is_away_concerns_its_own_kinds_alone() {
        let groups: Vec<APIGroupDiscovery> = serde_json::from_value(json!([
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "freshness": "Current", "resources": [
                {"resource": "deployments", "scope": "Namespaced"}]}]},
            {"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1beta1", "freshness": "Stale"}]},
            {"metadata": {"name": "example.com"}, "versions": [{"version": "v1", "freshness": "Stale"}]}
        ]))
        .unwrap();
        let rules = RuleSet::built_in();
        let deployments = rules.find("apps", "deployments").unwrap();
        let of = |group: &'static str| Rule {
            group: group.into(),
            ..deployments.clone()
        };
        let version = |group| of_rule(&of(group), &groups);
        assert_eq!(version("apps").as_deref(), Some("v1"));
        assert!(version("example.com").is_some(), "not known, so not none");
        assert_eq!(version("elsewhere.com"), None);
    }

    #[test]
    fn kinds_that_are_not_served_are_left_out_and_others_read_as_they_are_served() {
        let groups: Vec<APIGroupDiscovery> = serde_json::from_value(json!([
            {"metadata": {"name": ""}, "versions": [{"version": "v1", "resources": [
                {"resource": "replicationcontrollers", "scope": "Namespaced"}]}]},
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
                {"resource": "deployments", "scope": "Namespaced"}]}]},
            {"metadata": {"name": "networking.istio.io"}, "versions": [
                {"version": "v1beta1", "resources": [{"resource": "virtualservices", "scope": "Namespaced"}]},
                {"version": "v1alpha3", "resources": [{"resource": "virtualservices", "scope": "Namespaced"}]}]},
            {"metadata": {"name": "batch"}, "versions": [{"version": "v1", "resources": [
                {"resource": "cronjobs", "scope": "Cluster"}]}]}
        ]))
        .unwrap();
        let served: Vec<_> = select(RuleSet::built_in().iter(), &groups)
            .iter()
            .map(|rule| format!("{} {}", rule.resource, rule.api_version()))
            .collect();
        assert_eq!(
            served,
            [
                "deployments apps/v1",
                "replicationcontrollers v1",
                "virtualservices networking.istio.io/v1beta1"
            ]
        );
    }
}
