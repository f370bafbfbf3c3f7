//! The ruled kinds under all the names that kubectl takes for them.

use failover_core::{Rule, RuleSet};
use kube::client::APIGroupDiscovery;

use super::{ApiError, Cluster};

/// A ruled kind, and what else it is called.
#[derive(Clone, Debug)]
pub struct Kind {
    pub rule: Rule,
    /// Singular and short names.
    also: Vec<String>,
}

impl Kind {
    /// Whether `deploy`, `Deployment`, `deployments.apps` or `deployments.v1.apps` means this kind.
    pub fn is_called(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let (name, group) = match name.split_once('.') {
            Some((name, group)) => (name, Some(group)),
            None => (name.as_str(), None),
        };
        let rule = &self.rule;
        let group_fits = group.is_none_or(|group| {
            group == rule.group || *group == format!("{}.{}", rule.version, rule.group)
        });
        group_fits
            && (name == rule.resource
                || name == rule.kind.to_lowercase()
                || self.also.iter().any(|also| also == name))
    }
}

impl Cluster {
    /// The kinds of these rules that are served here.
    pub async fn kinds(&self, rules: &RuleSet) -> Result<Vec<Kind>, ApiError> {
        let groups = self.discovery().await?;
        let served = self.served(rules).await?;
        Ok(served
            .into_iter()
            .map(|rule| Kind {
                also: names(&rule, &groups),
                rule,
            })
            .collect())
    }
}

fn names(rule: &Rule, groups: &[APIGroupDiscovery]) -> Vec<String> {
    let of_group = groups.iter().filter(|group| {
        let name = group.metadata.as_ref().and_then(|m| m.name.as_deref());
        name.unwrap_or_default() == rule.group
    });
    of_group
        .flat_map(|group| &group.versions)
        .flat_map(|version| &version.resources)
        .filter(|resource| resource.resource.as_deref() == Some(&rule.resource))
        .flat_map(|resource| {
            let short = resource.short_names.iter().cloned();
            short.chain(resource.singular_resource.clone())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("deployments", true)]
    #[case("deployment", true)]
    #[case("Deployment", true)]
    #[case("deploy", true)]
    #[case("deployments.apps", true)]
    #[case("deployment.v1.apps", true)]
    #[case("deployment.extensions", false)]
    #[case("deploym", false)]
    #[case("statefulset", false)]
    fn kinds_are_called_as_kubectl_calls_them(#[case] name: &str, #[case] expected: bool) {
        let groups: Vec<APIGroupDiscovery> = serde_json::from_value(json!([
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
                {"resource": "deployments", "scope": "Namespaced", "singularResource": "deployment", "shortNames": ["deploy"]}]}]}
        ]))
        .unwrap();
        let rule = RuleSet::built_in()
            .find("apps", "deployments")
            .unwrap()
            .clone();
        let kind = Kind {
            also: names(&rule, &groups),
            rule,
        };
        assert_eq!(kind.is_called(name), expected);
    }
}
