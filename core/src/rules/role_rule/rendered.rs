//! The objects that the API server needs for a RoleRule besides the RoleRule: RBAC, and the webhook configuration.
//!
//! The CLI writes these with the rights of its user, because no component of ours may widen its own rights; the
//! controller only checks whether they exist.

use serde_json::{Value, json};

use crate::names::ROLE_RULE_LABEL;
use crate::rules::rule::Rule;

/// The verbs of the controller on objects of the kind. It reads a single one only after a write conflict.
pub const CONTROLLER_VERBS: [&str; 4] = ["get", "list", "watch", "patch"];
/// The verbs of `plan`, `status` and the verification after a transition.
pub const VIEWER_VERBS: [&str; 1] = ["list"];

/// Label that aggregates a ClusterRole into `failover-controller-rules`.
pub const TO_CONTROLLER_LABEL: &str = "failover.dev/aggregate-to-controller";
/// Label that aggregates a ClusterRole into `failover-rules-viewer`.
pub const TO_VIEWER_LABEL: &str = "failover.dev/aggregate-to-rules-viewer";

/// The rights on the kind, aggregated into the shipped roles.
pub fn cluster_roles(name: &str, rule: &Rule) -> [Value; 2] {
    [
        cluster_role(
            &format!("failover-rule-{name}"),
            name,
            rule,
            TO_CONTROLLER_LABEL,
            &CONTROLLER_VERBS,
        ),
        cluster_role(
            &format!("failover-rule-{name}-viewer"),
            name,
            rule,
            TO_VIEWER_LABEL,
            &VIEWER_VERBS,
        ),
    ]
}

fn cluster_role(name: &str, role_rule: &str, rule: &Rule, to: &str, verbs: &[&str]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {
            "app.kubernetes.io/name": "kubectl-failover",
            "app.kubernetes.io/component": "role-rule",
            ROLE_RULE_LABEL: role_rule,
            to: "true",
        }},
        "rules": [{"apiGroups": [rule.group], "resources": [rule.resource], "verbs": verbs}],
    })
}

/// The rule of a webhook configuration that calls the webhook for the kind.
pub fn webhook_rule(rule: &Rule) -> Value {
    let mut resources = vec![rule.resource.to_string()];
    if rule.scale {
        resources.push(format!("{}/scale", rule.resource));
    }
    json!({
        "apiGroups": [rule.group],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "scope": "Namespaced",
        "resources": resources,
    })
}

/// Whether the rules of a configuration call the webhook for everything that the rule needs.
pub fn is_asked(rule: &Rule, configured: &[Value]) -> bool {
    let wanted = webhook_rule(rule);
    let names = |rule: &Value, key: &str, value: &Value| {
        rule[key]
            .as_array()
            .is_some_and(|all| all.contains(value) || all.contains(&json!("*")))
    };
    let covers = |rule: &Value, resource: &Value| {
        names(rule, "apiGroups", &wanted["apiGroups"][0])
            && names(rule, "resources", resource)
            && ["CREATE", "UPDATE"]
                .iter()
                .all(|operation| names(rule, "operations", &json!(operation)))
    };
    let mut resources = wanted["resources"].as_array().into_iter().flatten();
    resources.all(|resource| configured.iter().any(|rule| covers(rule, resource)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuleSet;

    #[test]
    fn the_webhook_must_be_called_for_scale_too() {
        let rules = RuleSet::built_in();
        let rule = rules.find("apps", "deployments").unwrap();
        let mut configured = webhook_rule(rule);
        assert!(is_asked(rule, std::slice::from_ref(&configured)));
        configured["resources"] = json!(["deployments"]);
        assert!(!is_asked(rule, &[configured]));
        assert!(!is_asked(rule, &[]));
    }
}
