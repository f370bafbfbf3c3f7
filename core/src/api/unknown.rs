//! Reading what a later version has written.
//!
//! An upgrade may be rolled back, and a command line tool may be older than the controller. So:
//!
//! - An unknown word in a *status* is kept: reporting continues, and the word is written back unchanged. No decision
//!   depends on it.
//! - An unknown word in a *spec* makes the object unreadable: a request is never carried out in part. Readers read each
//!   object by itself ([`read`]), continue with the others, and report what they could not read.

use std::collections::BTreeSet;

use arrayvec::ArrayString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{RoleRule, RoleRuleSpec, RoleRuleStatus};

/// A word of a status that this version does not know. A longer one makes the object unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unknown(ArrayString<63>);

impl Unknown {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An object that this version cannot read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreadable {
    /// `Kind name`, or `Kind namespace/name`.
    pub object: String,
    pub why: String,
    /// The namespaces whose objects it may concern.
    pub namespaces: BTreeSet<String>,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { object, why, .. } = self;
        write!(
            f,
            "{object} cannot be read, a later version may have written it: {why}"
        )
    }
}

/// Reads an object of the API.
pub fn read<K: DeserializeOwned>(kind: &str, object: &Value) -> Result<K, Unreadable> {
    K::deserialize(object).map_err(|error| Unreadable {
        object: format!("{kind} {}", name_of(object)),
        why: error.to_string(),
        namespaces: namespaces_of(object),
    })
}

fn name_of(object: &Value) -> String {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// The namespaces that an object may concern, readable or not: its own, and those that a FailoverPolicy names.
pub fn namespaces_of(object: &Value) -> BTreeSet<String> {
    let named = object["spec"]["managedResources"].as_array();
    let named = named.into_iter().flatten();
    std::iter::once(&object["metadata"]["namespace"])
        .chain(named.map(|resource| &resource["namespace"]))
        .filter_map(|namespace| namespace.as_str().map(str::to_owned))
        .collect()
}

/// The adopted rule of a RoleRule that cannot be read: it stays in force until it is released, whatever the rest says.
/// `None`: this version finds no rule in force.
pub fn adopted(object: &Value) -> Option<RoleRule> {
    let enforced = RoleRuleSpec::deserialize(&object["status"]["enforced"]).ok()?;
    Some(RoleRule {
        metadata: Deserialize::deserialize(&object["metadata"]).ok()?,
        spec: enforced.clone(),
        status: Some(RoleRuleStatus {
            enforced: Some(enforced),
            ..RoleRuleStatus::default()
        }),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::super::{FailoverPolicy, FailoverPolicyStatus, Site, SiteStatus};
    use super::*;

    #[test]
    fn a_later_site_status_is_read_and_written_back_unchanged() {
        let stored = json!({
            "phase": "Draining", "layers": {}, "revision": 4,
            "transition": {
                "id": "a", "to": "secondary", "epoch": 1, "mode": "safe", "planned": true, "startedAt": "2026-01-01T00:00:00Z",
                "steps": [{ "name": "snapshots", "state": "Postponed", "total": 0, "done": 0, "changed": 0 }]
            },
            "history": [{
                "id": "b", "to": "primary", "epoch": 1, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z",
                "objects": 0, "outcome": "RolledBack", "steps": [{ "name": "snapshots", "seconds": 3 }]
            }]
        });
        let status: SiteStatus = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(status.phase.as_ref().unwrap().as_str(), "Draining");
        assert_eq!(status.history[0].outcome.as_str(), "RolledBack");
        assert!(status.transition.as_ref().unwrap().steps[0].is_unknown());
        assert_eq!(serde_json::to_value(status).unwrap(), stored);
    }

    #[test]
    fn a_later_policy_status_is_read_and_written_back_unchanged() {
        let stored = json!({
            "phase": "Draining",
            "resources": [{ "kind": "Deployment", "name": "web", "namespace": "shop", "reason": "Quarantined" }]
        });
        let status: FailoverPolicyStatus = serde_json::from_value(stored.clone()).unwrap();
        assert!(status.resources[0].is_refused());
        assert_eq!(serde_json::to_value(status).unwrap(), stored);
    }

    #[test]
    fn a_spec_with_an_unknown_word_is_unreadable() {
        let site = json!({
            "metadata": { "name": "cluster" }, "spec": { "siteName": "east", "role": "observer", "epoch": 1 }
        });
        let error = read::<Site>("Site", &site).unwrap_err();
        assert_eq!(error.object, "Site cluster");
        assert!(error.to_string().contains("observer"), "{error}");
    }

    #[test]
    fn an_unreadable_policy_names_the_namespaces_that_it_may_concern() {
        let policy = json!({
            "metadata": { "namespace": "shop", "name": "db" },
            "spec": { "managedResources": [{ "kind": "Widget", "name": "a", "namespace": "billing" }, { "kind": 7 }] }
        });
        let error = read::<FailoverPolicy>("FailoverPolicy", &policy).unwrap_err();
        assert_eq!(error.object, "FailoverPolicy shop/db");
        assert_eq!(
            error.namespaces,
            BTreeSet::from(["billing".into(), "shop".into()])
        );
    }

    #[rstest]
    #[case::adopted("workloads", true)]
    #[case::adopted_is_unreadable_too("quarantine", false)]
    fn an_adopted_rule_stays_in_force(#[case] layer: &str, #[case] stays: bool) {
        let rule = |layer: &str| {
            json!({
                "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": layer,
                "fields": [{ "pointer": "/spec/on", "type": "boolean", "passive": false }]
            })
        };
        let object = json!({
            "metadata": { "name": "widgets" }, "spec": rule("quarantine"), "status": { "enforced": rule(layer) }
        });
        assert!(read::<RoleRule>("RoleRule", &object).is_err());
        let rules: Vec<_> = adopted(&object).into_iter().collect();
        let (rules, errors) = crate::RuleSet::with_role_rules(&rules);
        assert!(errors.is_empty());
        assert_eq!(rules.find("example.com", "widgets").is_some(), stays);
    }
}
