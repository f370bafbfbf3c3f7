//! Guards that are asked at the start about single objects. The CLI asks them before it writes an order, the controller
//! before it moves anything.

use super::{GuardId, Hold};
use crate::api::Blocked;
use crate::uncovered::Uncovered;
use crate::waits::replication;

/// What a demotion does not stop holds it, each by itself.
pub fn of_uncovered(found: &[Uncovered]) -> Vec<Hold> {
    found
        .iter()
        .map(|uncovered| {
            let object = uncovered.object.to_string();
            Hold {
                guard: GuardId::UncoveredWorkloads,
                message: format!("it runs on, and may write: {}", uncovered.why),
                hint: format!(
                    "stop it, have it ruled (kubectl failover rule apply), or pass --override uncovered-workloads={object} --reason TEXT"
                ),
                object: Some(object),
            }
        })
        .collect()
}

/// A namespace that lost its enrolment label holds a demotion: nothing in it would be made passive.
pub fn of_left(namespaces: &[String]) -> Vec<Hold> {
    namespaces
        .iter()
        .map(|name| {
            let object = format!("{name}/namespaces/{name}");
            Hold {
                guard: GuardId::NamespaceLeft,
                message: "it lost its label failover.dev/enforce without being unenrolled, so what runs in it would run on"
                    .to_owned(),
                hint: format!(
                    "see who owns its labels, then kubectl failover enroll {name}, or unenroll {name}, or pass --override namespace-left={object} --reason TEXT"
                ),
                object: Some(object),
            }
        })
        .collect()
}

/// What a forced promotion of this volume may lose holds it. `object` is its reference, `volume` the object as it is stored.
pub fn of_volume(object: &str, volume: &serde_json::Value) -> Vec<Hold> {
    let hold = |guard: GuardId, message: String| Hold {
        guard,
        object: Some(object.to_owned()),
        message,
        hint: format!(
            "have it put right first, or, if what is missing may be lost, pass --override {guard}={object} --reason TEXT"
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
    use serde_json::json;

    use super::*;
    use crate::plan::ObjectRef;

    #[test]
    fn each_thing_that_runs_on_can_be_overridden_by_itself() {
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
                .starts_with("it runs on, and may write: it has no controller; stop it"),
            "{}",
            blocked.message
        );
    }

    #[test]
    fn a_volume_of_which_nothing_is_told_is_not_known_to_be_in_sync() {
        let volume =
            json!({"metadata": {"generation": 2}, "spec": {"replicationState": "secondary"}});
        let guards: Vec<GuardId> = of_volume("shop/volumereplications/db", &volume)
            .into_iter()
            .map(|hold| hold.guard)
            .collect();
        assert_eq!(guards, [GuardId::VolumeNotSynced]);
    }
}
