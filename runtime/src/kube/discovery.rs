//! Which kinds of rules this cluster serves.
//!
//! Runs before every sweep, with two requests for everything: an installed or removed CRD is noticed without a watch,
//! and without the right to one. A kind that is not served has no objects, so its rule is inert.

use failover_core::{Rule, RuleSet};
use kube::Client;
use kube::client::{APIGroupDiscovery, APIVersionDiscovery};

#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error("cannot ask the API server which kinds it serves")]
    Request(#[source] kube::Error),
    /// Treating this as "no kinds" would report an unchecked cluster as conforming.
    #[error(
        "the API server's discovery does not name {0}: aggregated discovery (Kubernetes 1.27 or later) is needed"
    )]
    Incomplete(String),
}

/// The rules whose kinds are served, each in a version that is.
pub async fn served(client: &Client, rules: &RuleSet) -> Result<Vec<Rule>, DiscoveryError> {
    Ok(select(rules.iter(), &groups(client).await?))
}

/// Everything that is served.
pub async fn groups(client: &Client) -> Result<Vec<APIGroupDiscovery>, DiscoveryError> {
    let (core, groups) = futures::try_join!(
        client.list_core_api_versions_aggregated(),
        client.list_api_groups_aggregated()
    )
    .map_err(DiscoveryError::Request)?;
    let all: Vec<APIGroupDiscovery> = core.items.into_iter().chain(groups.items).collect();
    if !is_complete(&all) {
        return Err(DiscoveryError::Incomplete("deployments.apps".to_owned()));
    }
    Ok(all)
}

/// Whether an answer can be complete: it contains a kind that every cluster serves.
pub fn is_complete(groups: &[APIGroupDiscovery]) -> bool {
    RuleSet::built_in()
        .find("apps", "deployments")
        .is_some_and(|rule| of_rule(rule, groups).is_some())
}

/// The rules whose kinds are served, each in a version that is.
pub fn select<'a>(
    rules: impl IntoIterator<Item = &'a Rule>,
    groups: &[APIGroupDiscovery],
) -> Vec<Rule> {
    rules
        .into_iter()
        .filter_map(|rule| {
            Some(Rule {
                version: of_rule(rule, groups)?.into(),
                ..rule.clone()
            })
        })
        .collect()
}

/// How the API server marks a version that it could not query: an aggregated API that is unavailable.
const STALE: &str = "Stale";

fn of_rule(rule: &Rule, groups: &[APIGroupDiscovery]) -> Option<String> {
    version(groups, &rule.group, &rule.resource, &rule.version)
}

/// This version of a kind if it is served, else the most preferred one: the fields are the same in all of them. If it
/// is unknown what a group serves, its kinds count as served: listing them shows that they cannot be listed.
pub fn version(
    groups: &[APIGroupDiscovery],
    group: &str,
    resource: &str,
    wanted: &str,
) -> Option<String> {
    let group = groups.iter().find(|served| {
        let metadata = served.metadata.as_ref();
        let name = metadata.and_then(|metadata| metadata.name.as_deref());
        name.unwrap_or_default() == group
    })?;
    let is_stale = |version: &APIVersionDiscovery| version.freshness.as_deref() == Some(STALE);
    let versions = |stale: bool| {
        let versions = group.versions.iter();
        let versions = versions.filter(move |version| is_stale(version) == stale);
        versions.filter_map(|version| {
            let found = version.resources.iter().any(|served| {
                served.resource.as_deref() == Some(resource)
                    && served.scope.as_deref() == Some("Namespaced")
            });
            version.version.as_deref().filter(|_| found)
        })
    };
    let served = |stale| {
        versions(stale)
            .find(|version| *version == wanted)
            .or_else(|| versions(stale).next())
    };
    let unknown = || {
        let is_unknown = group.versions.iter().any(is_stale);
        is_unknown.then_some(wanted)
    };
    served(false)
        .or_else(|| served(true))
        .or_else(unknown)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn groups() -> Vec<APIGroupDiscovery> {
        let version = |name: &str, resources: &[(&str, &str)]| {
            let resources: Vec<_> = resources
                .iter()
                .map(|(resource, scope)| json!({ "resource": resource, "scope": scope }))
                .collect();
            json!({ "version": name, "resources": resources })
        };
        serde_json::from_value(json!([
            { "metadata": { "name": "" }, "versions": [version("v1", &[("replicationcontrollers", "Namespaced")])] },
            { "metadata": { "name": "apps" }, "versions": [version("v1", &[("deployments", "Namespaced")])] },
            { "metadata": { "name": "networking.istio.io" }, "versions": [
                version("v1beta1", &[("virtualservices", "Namespaced")]),
                version("v1alpha3", &[("virtualservices", "Namespaced")])
            ] },
            { "metadata": { "name": "helm.toolkit.fluxcd.io" }, "versions": [
                version("v2beta2", &[("helmreleases", "Namespaced")]),
                version("v2", &[("helmreleases", "Namespaced")])
            ] },
            { "metadata": { "name": "batch" }, "versions": [version("v1", &[("cronjobs", "Cluster")])] }
        ]))
        .unwrap()
    }

    #[rstest::rstest]
    #[case::another_group_is_away("metrics.k8s.io", json!([{ "version": "v1beta1", "freshness": "Stale" }]), None)]
    #[case::never_asked("example.com", json!([{ "version": "v1", "freshness": "Stale" }]), Some("v1"))]
    #[case::asked_once("example.com", json!([
        { "version": "v2", "freshness": "Stale", "resources": [{ "resource": "widgets", "scope": "Namespaced" }] },
    ]), Some("v2"))]
    #[case::another_version_answers("example.com", json!([
        { "version": "v1", "freshness": "Stale", "resources": [{ "resource": "widgets", "scope": "Namespaced" }] },
        { "version": "v1alpha1", "freshness": "Current", "resources": [{ "resource": "widgets", "scope": "Namespaced" }] },
    ]), Some("v1alpha1"))]
    #[case::it_says_that_there_are_none("example.com", json!([{ "version": "v1", "freshness": "Current" }]), None)]
    fn an_unavailable_aggregated_api_affects_only_its_own_kinds(
        #[case] group: &str,
        #[case] versions: serde_json::Value,
        #[case] expected: Option<&str>,
    ) {
        let mut groups = groups();
        let away = json!({ "metadata": { "name": group }, "versions": versions });
        groups.push(serde_json::from_value(away).unwrap());
        let deployments = RuleSet::built_in();
        let deployments = deployments.find("apps", "deployments").unwrap();
        let rule = Rule {
            group: "example.com".into(),
            resource: "widgets".into(),
            ..deployments.clone()
        };
        assert_eq!(of_rule(&rule, &groups).as_deref(), expected);
        assert_eq!(of_rule(deployments, &groups).as_deref(), Some("v1"));
    }

    #[test]
    fn only_served_kinds_are_selected_each_in_a_served_version() {
        let found: Vec<_> = select(RuleSet::built_in().iter(), &groups())
            .into_iter()
            .map(|rule| format!("{} {}", rule.resource, rule.api_version()))
            .collect();
        assert_eq!(
            found,
            [
                "deployments apps/v1",
                "replicationcontrollers v1",
                "helmreleases helm.toolkit.fluxcd.io/v2",
                "virtualservices networking.istio.io/v1beta1",
            ]
        );
    }
}
