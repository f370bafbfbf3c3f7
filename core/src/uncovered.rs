//! What no rule reaches: pods that run on a secondary all the same.

use serde_json::Value;

use crate::plan::ObjectRef;

/// Something that a demotion does not stop, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    pub object: ObjectRef,
    pub why: String,
}

/// Bare pods, DaemonSets, and pods under controllers that have no rule. Pods that have ended do not count.
pub fn uncovered(pods: &[Value], daemon_sets: &[Value], replica_sets: &[Value]) -> Vec<Uncovered> {
    let mut found: Vec<Uncovered> = daemon_sets
        .iter()
        .map(|set| Uncovered {
            object: reference("apps", "daemonsets", set),
            why: "a DaemonSet has no replicas to force".to_owned(),
        })
        .collect();
    for pod in pods.iter().filter(|pod| !has_ended(pod)) {
        let why = match controller(pod) {
            None => Some("it has no controller".to_owned()),
            Some(("DaemonSet", _)) => None, // named above
            Some(("StatefulSet" | "Job" | "ReplicationController", _)) => None,
            Some(("ReplicaSet", name)) => {
                let set = replica_sets.iter().find(|set| {
                    set["metadata"]["name"] == name
                        && set["metadata"]["namespace"] == pod["metadata"]["namespace"]
                });
                match set.and_then(controller) {
                    None | Some(("Deployment", _)) => None,
                    Some((kind, name)) => Some(no_rule(kind, name)),
                }
            }
            Some((kind, name)) => Some(no_rule(kind, name)),
        };
        found.extend(why.map(|why| Uncovered {
            object: reference("", "pods", pod),
            why,
        }));
    }
    found.sort_by(|a, b| a.object.cmp(&b.object));
    found
}

fn no_rule(kind: &str, name: &str) -> String {
    format!("its controller, {kind} {name}, has no rule")
}

fn controller(object: &Value) -> Option<(&str, &str)> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners
        .iter()
        .find(|o| o["controller"] == Value::Bool(true))?;
    Some((
        owner["kind"].as_str()?,
        owner["name"].as_str().unwrap_or_default(),
    ))
}

fn has_ended(pod: &Value) -> bool {
    matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    )
}

fn reference(group: &str, resource: &str, object: &Value) -> ObjectRef {
    let text = |key: &str| {
        object["metadata"][key]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    ObjectRef {
        namespace: text("namespace"),
        group: group.to_owned(),
        resource: resource.to_owned(),
        name: text("name"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(name: &str, kind: &str, owner: &str) -> Value {
        json!({"metadata": {"namespace": "shop", "name": name, "ownerReferences": [{"kind": kind, "name": owner, "controller": true}]}})
    }

    #[test]
    fn names_what_a_demotion_does_not_stop() {
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
        ];
        let sets = [
            owned("web", "Deployment", "web"),
            owned("canary", "Rollout", "canary"),
        ];
        let daemons = [json!({"metadata": {"namespace": "shop", "name": "agent"}})];
        let found: Vec<_> = uncovered(&pods, &daemons, &sets)
            .into_iter()
            .map(|u| format!("{}: {}", u.object, u.why))
            .collect();
        assert_eq!(
            found,
            [
                "shop/pods/bare: it has no controller",
                "shop/pods/canary-1: its controller, Rollout canary, has no rule",
                "shop/pods/db-pg: its controller, Cluster pg, has no rule",
                "shop/daemonsets/agent: a DaemonSet has no replicas to force",
            ]
        );
    }
}
