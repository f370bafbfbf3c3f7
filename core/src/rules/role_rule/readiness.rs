//! The conditions of a RoleRule: whether it is ready, and whether the written rule is the one in force.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::compile::RuleError;
use crate::api::{RoleRule, RoleRuleSpec};
use crate::names::GROUP;

/// Condition: the rule is valid, and everything that it needs exists.
pub const READY: &str = "Ready";
/// Condition: the rule in force is the written one.
pub const AS_WRITTEN: &str = "AsWritten";

/// The missing prerequisites of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Verbs that the controller may not use on the kind.
    pub rights: Vec<&'static str>,
    /// The webhook is not configured for the kind.
    pub webhook: bool,
    /// Admission policy, binding, or both.
    pub backstop: Vec<String>,
}

/// Whether a rule can be enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Accepted,
    /// Valid, but the cluster has no such kind: it is inert until there is one.
    NotServed,
    /// Invalid, or for a kind that already has a rule.
    Refused(RuleError),
    Missing(Missing),
}

impl Readiness {
    pub fn of(compiled: Result<(), RuleError>, is_served: bool, missing: Missing) -> Self {
        match compiled {
            Err(error) => Self::Refused(error),
            Ok(()) if missing != Missing::default() => Self::Missing(missing),
            Ok(()) if !is_served => Self::NotServed,
            Ok(()) => Self::Accepted,
        }
    }

    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Accepted | Self::NotServed)
    }

    /// The reason of the condition: the most severe first.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::NotServed => "NotServed",
            Self::Refused(RuleError::Taken(_)) => "Taken",
            Self::Refused(_) => "Invalid",
            Self::Missing(missing) if !missing.rights.is_empty() => "RightsMissing",
            Self::Missing(missing) if missing.webhook => "WebhookMissing",
            Self::Missing(_) => "BackstopMissing",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Accepted => "the rule is enforced".to_owned(),
            Self::NotServed => {
                "the cluster has no such kind: the rule waits for its CustomResourceDefinition"
                    .to_owned()
            }
            Self::Refused(error) => format!("{error}: correct or delete it"),
            Self::Missing(missing) => {
                let mut parts = Vec::new();
                if !missing.rights.is_empty() {
                    parts.push(format!(
                        "the controller may not {} the kind",
                        missing.rights.join(", ")
                    ));
                }
                if missing.webhook {
                    parts.push("the webhook configuration does not include the kind".to_owned());
                }
                if !missing.backstop.is_empty() {
                    parts.push(format!("{} is missing", missing.backstop.join(" and ")));
                }
                format!(
                    "{}: run kubectl failover rule apply --present",
                    parts.join("; ")
                )
            }
        }
    }
}

/// The conditions of a rule whose `enforced` is in force. A condition whose status is unchanged keeps its time.
pub fn conditions(
    role_rule: &RoleRule,
    enforced: Option<&RoleRuleSpec>,
    readiness: &Readiness,
    now: Timestamp,
) -> Vec<Condition> {
    let (as_written, reason, message) = as_written(role_rule, enforced);
    let before = role_rule.status.as_ref().map(|status| &status.conditions);
    [
        (
            READY,
            readiness.is_ready(),
            readiness.reason(),
            readiness.message(),
        ),
        (AS_WRITTEN, as_written, reason, message),
    ]
    .into_iter()
    .map(|(kind, holds, reason, message)| {
        let status = if holds { "True" } else { "False" };
        let same = before
            .into_iter()
            .flatten()
            .find(|condition| condition.type_ == kind && condition.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: role_rule.metadata.generation,
            last_transition_time: same.map_or(Time(now), |c| c.last_transition_time.clone()),
        }
    })
    .collect()
}

fn as_written(
    role_rule: &RoleRule,
    enforced: Option<&RoleRuleSpec>,
) -> (bool, &'static str, String) {
    let layer = enforced.unwrap_or(&role_rule.spec).layer;
    match enforced {
        None => (
            false,
            "NotInForce",
            "nothing of this rule is in force".to_owned(),
        ),
        Some(_) if role_rule.metadata.deletion_timestamp.is_some() => (
            false,
            "Leaving",
            format!(
                "deleted; it stays in force until {GROUP}/{layer} is primary in every enrolled namespace and its restore records are applied"
            ),
        ),
        Some(enforced) if *enforced == role_rule.spec => (
            true,
            "AsWritten",
            "the rule is in force as written".to_owned(),
        ),
        Some(_) => (
            false,
            "WaitsForPrimary",
            format!(
                "the loosened part is deferred until {GROUP}/{layer} is primary in every enrolled namespace; status.enforced stays in force until then"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn role_rule() -> RoleRule {
        serde_json::from_value(json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "RoleRule", "metadata": {"name": "widgets", "generation": 3},
            "spec": {
                "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads",
                "fields": [{"pointer": "/spec/on", "type": "boolean", "passive": false}],
            },
        }))
        .unwrap()
    }

    fn missing(rights: &[&'static str], webhook: bool, backstop: &[&str]) -> Missing {
        Missing {
            rights: rights.to_vec(),
            webhook,
            backstop: backstop.iter().map(ToString::to_string).collect(),
        }
    }

    #[rstest]
    #[case(Ok(()), true, missing(&[], false, &[]), "Accepted", true)]
    #[case(Ok(()), false, missing(&[], false, &[]), "NotServed", true)]
    #[case(Ok(()), true, missing(&["patch"], true, &["policy x"]), "RightsMissing", false)]
    #[case(Ok(()), false, missing(&[], true, &["policy x"]), "WebhookMissing", false)]
    #[case(Ok(()), true, missing(&[], false, &["policy x"]), "BackstopMissing", false)]
    #[case(Err(RuleError::Taken("x".into())), true, missing(&["patch"], true, &[]), "Taken", false)]
    #[case(Err(RuleError::FieldCount(0)), true, missing(&[], false, &[]), "Invalid", false)]
    fn a_rule_is_ready_once_its_prerequisites_exist(
        #[case] compiled: Result<(), RuleError>,
        #[case] served: bool,
        #[case] missing: Missing,
        #[case] reason: &str,
        #[case] ready: bool,
    ) {
        let readiness = Readiness::of(compiled, served, missing);
        assert_eq!((readiness.reason(), readiness.is_ready()), (reason, ready));
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut rule = role_rule();
        let first = conditions(&rule, Some(&rule.spec), &Readiness::Accepted, at(10));
        rule.status.get_or_insert_default().conditions = first;
        let bare = Readiness::Missing(missing(&["patch"], false, &[]));
        let second = conditions(&rule, Some(&rule.spec), &bare, at(20));
        let times: Vec<_> = second
            .iter()
            .map(|c| {
                (
                    c.type_.as_str(),
                    c.status.as_str(),
                    c.last_transition_time.0,
                )
            })
            .collect();
        assert_eq!(
            times,
            [(READY, "False", at(20)), (AS_WRITTEN, "True", at(10))]
        );
        assert_eq!(second[0].observed_generation, Some(3));
    }

    #[test]
    fn a_change_that_waits_for_a_primary_is_reported() {
        let mut rule = role_rule();
        let reason =
            |rule: &RoleRule, enforced: Option<&RoleRuleSpec>| as_written(rule, enforced).1;
        let mut stricter = rule.spec.clone();
        stricter.fields[0].pointer = "/spec/run".into();
        assert_eq!(reason(&rule, None), "NotInForce");
        assert_eq!(reason(&rule, Some(&rule.spec)), "AsWritten");
        assert_eq!(reason(&rule, Some(&stricter)), "WaitsForPrimary");
        rule.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(reason(&rule, Some(&stricter)), "Leaving");
    }
}
