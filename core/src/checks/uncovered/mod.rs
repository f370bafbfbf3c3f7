//! Objects that no rule reaches: pods that keep running on a secondary, and names that it keeps publishing.

pub mod external_dns;
pub mod traffic;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::names::{ENFORCE_LABEL, EXEMPT};
use crate::object::ObjectRef;
use crate::rules::set::RuleSet;

/// An object that a demotion does not stop, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    pub object: ObjectRef,
    pub why: String,
}

/// Bare pods, DaemonSets, and pods under controllers that have no rule. Pods that have ended do not count, nor do
/// exempt ones: an operator has allowed those to keep running.
///
/// Only for namespaces that are enrolled as a whole. Where only the objects of a policy are ruled, everything else
/// keeps running as it should.
pub fn uncovered(
    pods: &[Value],
    daemon_sets: &[Value],
    replica_sets: &[Value],
    rules: &RuleSet,
) -> Vec<Uncovered> {
    // Indexed, because each is looked up for every pod, and there may be ten thousand of both.
    let replica_sets: HashMap<(&str, &str), &Value> = replica_sets
        .iter()
        .map(|set| ((text(set, "namespace"), text(set, "name")), set))
        .collect();
    let ruled: HashSet<(&str, &str)> = rules
        .iter()
        .map(|rule| (rule.group.as_ref(), rule.kind.as_ref()))
        .collect();
    let mut found: Vec<Uncovered> = daemon_sets
        .iter()
        .filter(|set| !is_exempt(set))
        .map(|set| Uncovered {
            object: reference("apps", "daemonsets", set),
            why: noting_deletion(set, "a DaemonSet has no replicas to force".to_owned()),
        })
        .collect();
    let running = pods.iter().filter(|pod| !has_ended(pod) && !is_exempt(pod));
    for pod in running {
        let top = match controller(pod) {
            // Reported above.
            Some(owner) if owner["kind"] == "DaemonSet" => continue,
            Some(owner) if owner["kind"] == "ReplicaSet" => {
                let name = owner["name"].as_str().unwrap_or_default();
                let set = replica_sets.get(&(text(pod, "namespace"), name));
                Some(set.and_then(|set| controller(set)).unwrap_or(owner))
            }
            other => other,
        };
        let why = match top {
            None => "it has no controller".to_owned(),
            Some(owner) if ruled.contains(&kind_of(owner)) => continue,
            Some(owner) => format!(
                "its controller, {} {}, has no rule",
                owner["kind"].as_str().unwrap_or_default(),
                owner["name"].as_str().unwrap_or_default()
            ),
        };
        found.push(Uncovered {
            object: reference("", "pods", pod),
            why: noting_deletion(pod, why),
        });
    }
    found.sort_by(|a, b| a.object.cmp(&b.object));
    found
}

/// An object that is being deleted runs until it is gone: it still counts, and only has to be waited for.
fn noting_deletion(object: &Value, why: String) -> String {
    if object["metadata"]["deletionTimestamp"].is_string() {
        format!("{why}; it is being deleted, wait until it is gone")
    } else {
        why
    }
}

/// Group and kind of an owner.
fn kind_of(owner: &Value) -> (&str, &str) {
    let api_version = owner["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    (group, owner["kind"].as_str().unwrap_or_default())
}

fn is_exempt(object: &Value) -> bool {
    object["metadata"]["labels"][ENFORCE_LABEL] == EXEMPT
}

fn controller(object: &Value) -> Option<&Value> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners
        .iter()
        .find(|owner| owner["controller"] == Value::Bool(true))
}

fn has_ended(pod: &Value) -> bool {
    matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    )
}

fn reference(group: &str, resource: &str, object: &Value) -> ObjectRef {
    ObjectRef {
        namespace: text(object, "namespace").to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        name: text(object, "name").to_owned(),
    }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"][key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(name: &str, kind: &str, owner: &str) -> Value {
        let group = match kind {
            "Rollout" => "argoproj.io/v1alpha1",
            "Cluster" => "postgresql.cnpg.io/v1",
            _ => "apps/v1",
        };
        json!({"metadata": {"namespace": "shop", "name": name, "ownerReferences": [
            {"apiVersion": group, "kind": kind, "name": owner, "controller": true}
        ]}})
    }

    #[test]
    fn a_demotion_reports_what_it_does_not_stop() {
        let bare = json!({"metadata": {"namespace": "shop", "name": "bare"}});
        let ended = json!({"metadata": {"namespace": "shop", "name": "ended"}, "status": {"phase": "Succeeded"}});
        let pods = [
            bare,
            ended,
            owned("web-1", "ReplicaSet", "web"),
            owned("canary-1", "ReplicaSet", "canary"),
            owned("db-0", "StatefulSet", "db"),
            owned("agent-x", "DaemonSet", "agent"),
            owned("db-pg", "Cluster", "pg"),
            json!({"metadata": {"namespace": "shop", "name": "going", "deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            json!({"metadata": {"namespace": "shop", "name": "debug", "labels": {"failover.dev/enforce": "disabled"}}}),
            // Its ReplicaSet is gone, or newer than the list; a set of that name in another namespace is not its owner.
            owned("gone-1", "ReplicaSet", "canary-of-another"),
        ];
        let mut elsewhere = owned("canary-of-another", "Rollout", "canary");
        elsewhere["metadata"]["namespace"] = json!("other");
        let sets = [
            elsewhere,
            owned("web", "Deployment", "web"),
            owned("canary", "Rollout", "canary"),
        ];
        let daemons = [json!({"metadata": {"namespace": "shop", "name": "agent"}})];
        let found: Vec<_> = uncovered(&pods, &daemons, &sets, &RuleSet::built_in())
            .into_iter()
            .map(|u| format!("{}: {}", u.object, u.why))
            .collect();
        assert_eq!(
            found,
            [
                "shop/pods/bare: it has no controller",
                "shop/pods/canary-1: its controller, Rollout canary, has no rule",
                "shop/pods/db-pg: its controller, Cluster pg, has no rule",
                "shop/pods/going: it has no controller; it is being deleted, wait until it is gone",
                "shop/daemonsets/agent: a DaemonSet has no replicas to force",
            ]
        );
    }
}
