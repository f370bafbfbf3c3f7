//! Which ruled kinds this cluster serves.
//!
//! Asked before every sweep, two requests for everything there is: a CRD that was installed or removed is noticed without
//! a watch, and without the right to one. A kind that is not served has no objects, so its rule is inert.

use failover_core::{Rule, RuleSet};
use kube::Client;
use kube::client::APIGroupDiscovery;

#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error("cannot ask the API server which kinds it serves")]
    Request(#[source] kube::Error),
    /// Taking this for "no kinds" would call a cluster conforming that was never looked at.
    #[error(
        "the API server's discovery does not name {0}: aggregated discovery (Kubernetes 1.27 or later) is needed"
    )]
    Incomplete(String),
}

/// The rules whose kinds are served, each in a version that is.
pub async fn served(client: &Client, rules: &RuleSet) -> Result<Vec<Rule>, DiscoveryError> {
    Ok(select(rules, &groups(client).await?))
}

/// Everything that is served.
pub async fn groups(client: &Client) -> Result<Vec<APIGroupDiscovery>, DiscoveryError> {
    let (core, groups) = futures::try_join!(
        client.list_core_api_versions_aggregated(),
        client.list_api_groups_aggregated()
    )
    .map_err(DiscoveryError::Request)?;
    let all: Vec<APIGroupDiscovery> = core.items.into_iter().chain(groups.items).collect();
    if !names_deployments(&all) {
        return Err(DiscoveryError::Incomplete("deployments.apps".to_owned()));
    }
    Ok(all)
}

/// What every cluster serves, an answer that is complete must name.
fn names_deployments(groups: &[APIGroupDiscovery]) -> bool {
    RuleSet::built_in()
        .find("apps", "deployments")
        .is_some_and(|rule| of_rule(rule, groups).is_some())
}

fn select(rules: &RuleSet, groups: &[APIGroupDiscovery]) -> Vec<Rule> {
    rules
        .iter()
        .filter_map(|rule| {
            Some(Rule {
                version: of_rule(rule, groups)?.into(),
                ..rule.clone()
            })
        })
        .collect()
}

fn of_rule(rule: &Rule, groups: &[APIGroupDiscovery]) -> Option<String> {
    version(groups, &rule.group, &rule.resource, &rule.version)
}

/// This version of a kind where it is served, else the most preferred one: the fields are the same in all of them.
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
    let versions = || {
        group.versions.iter().filter_map(|version| {
            let found = version.resources.iter().any(|served| {
                served.resource.as_deref() == Some(resource)
                    && served.scope.as_deref() == Some("Namespaced")
            });
            version.version.as_deref().filter(|_| found)
        })
    };
    versions()
        .find(|version| *version == wanted)
        .or_else(|| versions().next())
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

    #[test]
    fn only_served_kinds_are_swept_each_in_a_version_that_is_served() {
        let found: Vec<_> = select(&RuleSet::built_in(), &groups())
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
