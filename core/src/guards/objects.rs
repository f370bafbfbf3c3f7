//! Guards that are evaluated at the start for single objects. The CLI evaluates them before it writes a request, the
//! controller before it moves anything.

use super::{GuardId, Hold};
use crate::admission::refusal::Refuser;
use crate::api::Blocked;
use crate::checks::replication;
use crate::checks::uncovered::Uncovered;
use crate::checks::uncovered::traffic::Published;
use crate::names::{ENFORCE_LABEL, EXEMPT};

/// Each object that a demotion does not stop blocks it.
pub fn of_uncovered(found: &[Uncovered]) -> Vec<Hold> {
    found
        .iter()
        .map(|uncovered| {
            let object = uncovered.object.to_string();
            Hold {
                guard: GuardId::UncoveredWorkloads,
                message: format!("it keeps running and may write: {}", uncovered.why),
                hint: format!(
                    "stop it, apply a rule for its kind (kubectl failover rule apply), or pass --override uncovered-workloads={object} --reason TEXT"
                ),
                object: Some(object),
            }
        })
        .collect()
}

/// Each object whose names a standby keeps publishing blocks its demotion.
pub fn of_published(found: &[Published]) -> Vec<Hold> {
    found
        .iter()
        .map(|published| {
            let object = published.object.to_string();
            let ready = match published.rule {
                Some(rule) => format!("kubectl failover rule apply {rule}"),
                None => "there is no ready rule for it, see docs/rules.md".to_owned(),
            };
            Hold {
                guard: GuardId::UncoveredTraffic,
                message: format!("no rule covers it, so both sites would publish its names: {}", published.why),
                hint: format!(
                    "apply a rule for its kind ({ready}), label it {ENFORCE_LABEL}={EXEMPT} if both sites may publish them, or pass --override uncovered-traffic={object} --reason TEXT"
                ),
                object: Some(object),
            }
        })
        .collect()
}

/// A namespace that lost its enrolment label blocks a demotion: nothing in it would be made passive.
pub fn of_left(namespaces: &[String]) -> Vec<Hold> {
    namespaces
        .iter()
        .map(|name| {
            let object = format!("{name}/namespaces/{name}");
            Hold {
                guard: GuardId::NamespaceLeft,
                message: "it lost its label failover.dev/enforce without kubectl failover unenroll, so its workloads would keep running"
                    .to_owned(),
                hint: format!(
                    "see who owns its labels, then kubectl failover enroll {name}, or unenroll {name}, or pass --override namespace-left={object} --reason TEXT"
                ),
                object: Some(object),
            }
        })
        .collect()
}

/// Each object whose required write would be refused blocks a transition in either direction.
pub fn of_refused(object: &str, by: &Refuser, message: &str) -> Hold {
    let ask = match by {
        Refuser::Policy(name) => {
            format!("change the object, or exempt it from admission policy {name}")
        }
        Refuser::Webhook(name) => {
            format!("change the object, or exempt it from the rules of admission webhook {name}")
        }
        Refuser::SilentWebhook(name) => format!("make admission webhook {name} answer"),
        Refuser::Rights => "give the controller list and patch on its kind".to_owned(),
        Refuser::Validation => "correct the object".to_owned(),
        Refuser::Unnamed => "find what refuses it".to_owned(),
    };
    Hold {
        guard: GuardId::WriteRefused,
        object: Some(object.to_owned()),
        message: format!("the change would be refused by {by}: {message}"),
        hint: format!(
            "{ask}, or pass --override write-refused={object} --reason TEXT; if the write is still refused then, guard not-conforming blocks the transition"
        ),
    }
}

/// An object that no rewrite can make conform would stall a transition half way.
pub fn of_hopeless(object: &str, why: &str) -> Hold {
    Hold {
        guard: GuardId::NotConforming,
        object: Some(object.to_owned()),
        message: why.to_owned(),
        hint: format!(
            "correct it, or continue without it: --override not-conforming={object} --reason TEXT"
        ),
    }
}

/// The possible data loss of a forced promotion of this volume blocks it. `object` is its reference, `volume` the
/// stored object.
pub fn of_volume(object: &str, volume: &serde_json::Value) -> Vec<Hold> {
    let hold = |guard: GuardId, message: String| Hold {
        guard,
        object: Some(object.to_owned()),
        message,
        hint: format!(
            "repair the volume first, or, if you accept losing the missing data, pass --override {guard}={object} --reason TEXT"
        ),
    };
    let degraded = replication::degraded(volume).map(|why| hold(GuardId::VolumeDegraded, why));
    let not_synced = replication::not_synced(volume).map(|why| hold(GuardId::VolumeNotSynced, why));
    degraded.into_iter().chain(not_synced).collect()
}

impl From<Hold> for Blocked {
    fn from(hold: Hold) -> Self {
        Self {
            guard: hold.guard.to_string(),
            object: hold.object,
            message: format!("{}; {}", hold.message, hold.hint),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::object::ObjectRef;

    #[rstest]
    #[case::a_policy(Refuser::Policy("min-replicas".into()), "admission policy min-replicas", "exempt it from admission policy min-replicas")]
    #[case::a_webhook(Refuser::Webhook("gatekeeper".into()), "admission webhook gatekeeper", "exempt it from the rules of admission webhook gatekeeper")]
    #[case::a_silent_webhook(Refuser::SilentWebhook("gatekeeper".into()), "admission webhook gatekeeper, which does not answer", "make admission webhook gatekeeper answer")]
    #[case::missing_rights(Refuser::Rights, "RBAC", "give the controller list and patch")]
    #[case::validation(
        Refuser::Validation,
        "validation by the API server",
        "correct the object"
    )]
    fn a_refused_write_names_who_refuses_it_and_the_remedy(
        #[case] by: Refuser,
        #[case] who: &str,
        #[case] remedy: &str,
    ) {
        let hold = of_refused("shop/deployments/web", &by, "not here");
        assert_eq!(hold.guard, GuardId::WriteRefused);
        assert_eq!(
            hold.message,
            format!("the change would be refused by {who}: not here")
        );
        assert!(hold.hint.contains(remedy), "{}", hold.hint);
        let override_it = "--override write-refused=shop/deployments/web --reason TEXT";
        assert!(hold.hint.contains(override_it), "{}", hold.hint);
    }

    #[test]
    fn each_uncovered_object_can_be_overridden_alone() {
        let bare = Uncovered {
            object: ObjectRef {
                namespace: "shop".into(),
                group: String::new(),
                resource: "pods".into(),
                name: "bare".into(),
            },
            why: "it has no controller".into(),
        };
        let hold = of_uncovered(&[bare]).remove(0);
        assert_eq!(hold.object.as_deref(), Some("shop/pods/bare"));
        assert!(
            hold.hint
                .contains("--override uncovered-workloads=shop/pods/bare --reason TEXT"),
            "{}",
            hold.hint
        );
        let blocked = Blocked::from(hold);
        assert!(
            blocked
                .message
                .starts_with("it keeps running and may write: it has no controller; stop it"),
            "{}",
            blocked.message
        );
    }

    #[test]
    fn each_published_object_names_the_rule_that_covers_it() {
        let published = |rule| Published {
            object: ObjectRef {
                namespace: "shop".into(),
                group: String::new(),
                resource: "services".into(),
                name: "web".into(),
            },
            why: "external-dns publishes shop.example.com".into(),
            rule,
        };
        let holds = of_published(&[published(Some("service-external-dns")), published(None)]);
        let guards: Vec<_> = holds.iter().map(|hold| hold.guard).collect();
        assert_eq!(guards, [GuardId::UncoveredTraffic; 2]);
        assert_eq!(holds[0].object.as_deref(), Some("shop/services/web"));
        for (hold, way_out) in holds.iter().zip([
            "kubectl failover rule apply service-external-dns",
            "docs/rules.md",
        ]) {
            assert!(hold.hint.contains(way_out), "{}", hold.hint);
            assert!(
                hold.hint
                    .contains("--override uncovered-traffic=shop/services/web --reason TEXT"),
                "{}",
                hold.hint
            );
        }
    }

    #[test]
    fn a_volume_without_conditions_is_not_known_to_be_in_sync() {
        let volume =
            json!({"metadata": {"generation": 2}, "spec": {"replicationState": "secondary"}});
        let guards: Vec<GuardId> = of_volume("shop/volumereplications/db", &volume)
            .into_iter()
            .map(|hold| hold.guard)
            .collect();
        assert_eq!(guards, [GuardId::VolumeNotSynced]);
    }
}
