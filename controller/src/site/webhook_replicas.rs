//! Which webhook replicas are alive, judged by this process's own monotonic clock.
//!
//! A replica renews its Lease every few seconds. Times written in a Lease are another machine's wall clock, so they are
//! not compared with ours: a replica is alive while its Lease *changes*. One that has not changed for its own duration,
//! as seen from here, is dead. A process that has just started gives every Lease that much time once.

use std::collections::HashMap;
use std::time::Duration;

use failover_core::names::{NAMESPACES_ANNOTATION, REVISION_ANNOTATION};
use failover_core::transition::Enforcer;
use failover_runtime::error_chain::causes;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Preconditions};
use tokio::time::Instant;

/// For a Lease without a duration; the webhook's own value.
const DEFAULT_DURATION: Duration = Duration::from_secs(15);

/// When each Lease was last seen to change.
#[derive(Debug)]
pub struct Enforcers {
    seen: HashMap<String, LastChange>,
    /// A Lease without renewal for this long is abandoned: a live replica would have renewed it many times.
    forget_after: Duration,
}

#[derive(Debug)]
struct LastChange {
    resource_version: Option<String>,
    changed: Instant,
    changed_at: Timestamp,
}

/// The live replicas, and the Leases of those that are long dead.
#[derive(Debug, Default)]
pub struct LiveReplicas {
    /// Sorted by name.
    pub enforcers: Vec<Enforcer>,
    /// When the first of them counts as dead unless it renews.
    pub until: Option<Instant>,
    /// Leases to delete.
    pub forgotten: Vec<Forgotten>,
}

/// The Lease of a replica that ended without releasing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    pub name: String,
    /// The version that has not changed; a replica that comes back at the last moment has another.
    pub resource_version: Option<String>,
}

impl Enforcers {
    pub fn new(forget_after: Duration) -> Self {
        Self {
            seen: HashMap::new(),
            forget_after,
        }
    }

    /// Observes the current Leases.
    pub fn observe<'a>(
        &mut self,
        leases: impl IntoIterator<Item = &'a Lease>,
        now: Instant,
        wall: Timestamp,
    ) -> LiveReplicas {
        let mut present = HashMap::new();
        let mut live = LiveReplicas::default();
        for lease in leases {
            let name = lease.name_any();
            let resource_version = lease.resource_version();
            let seen = match self.seen.remove(&name) {
                Some(seen) if seen.resource_version == resource_version => seen,
                _ => LastChange {
                    resource_version,
                    changed: now,
                    changed_at: wall,
                },
            };
            let dies = seen.changed + duration(lease);
            if now < dies {
                live.until = Some(live.until.map_or(dies, |until| until.min(dies)));
                live.enforcers.push(Enforcer {
                    name: name.clone(),
                    revision: number(lease, REVISION_ANNOTATION).unwrap_or(0),
                    namespaces: number(lease, NAMESPACES_ANNOTATION).unwrap_or(0),
                    last_seen: seen.changed_at,
                });
            } else if now >= seen.changed + self.forget_after {
                live.forgotten.push(Forgotten {
                    name: name.clone(),
                    resource_version: seen.resource_version.clone(),
                });
            }
            present.insert(name, seen);
        }
        // A deleted Lease was released on purpose.
        self.seen = present;
        live.enforcers.sort_by(|a, b| a.name.cmp(&b.name));
        live
    }
}

/// Deletes the Leases of dead replicas. A failure does no harm.
pub async fn delete_forgotten(leases: Api<Lease>, forgotten: Vec<Forgotten>) {
    for Forgotten {
        name,
        resource_version,
    } in forgotten
    {
        let preconditions = Preconditions {
            resource_version: resource_version.clone(),
            uid: None,
        };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match leases.delete(&name, &params).await {
            Ok(_) => tracing::info!(
                lease = name,
                "deleted the Lease of a webhook replica that is gone"
            ),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => tracing::warn!(
                lease = name,
                error = causes(&error),
                "cannot delete the Lease of a webhook replica that is gone; trying again later"
            ),
        }
    }
}

fn duration(lease: &Lease) -> Duration {
    lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_duration_seconds)
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .map_or(DEFAULT_DURATION, Duration::from_secs)
}

fn number(lease: &Lease, annotation: &str) -> Option<i64> {
    lease.annotations().get(annotation)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FORGET_AFTER: Duration = Duration::from_secs(600);

    fn lease(name: &str, version: u32, revision: &str) -> Lease {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "resourceVersion": version.to_string(),
                "annotations": { "failover.dev/revision": revision, "failover.dev/namespaces": "2" }
            },
            "spec": { "holderIdentity": name, "leaseDurationSeconds": 15 }
        }))
        .unwrap()
    }

    fn wall(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn a_replica_lives_while_its_lease_changes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut enforcers = Enforcers::new(FORGET_AFTER);
        let live = enforcers.observe([&lease("a", 1, "4"), &lease("b", 1, "4")], at(0), wall(0));
        assert_eq!(live.enforcers.len(), 2);
        assert_eq!(live.until, Some(at(15)));

        // `a` renews, `b` has died.
        let live = enforcers.observe([&lease("a", 2, "5"), &lease("b", 1, "4")], at(14), wall(14));
        assert_eq!(live.enforcers.len(), 2, "not yet silent for long enough");
        assert_eq!(live.until, Some(at(15)));
        let live = enforcers.observe([&lease("a", 2, "5"), &lease("b", 1, "4")], at(15), wall(15));
        assert_eq!(
            live.enforcers,
            vec![Enforcer {
                name: "a".into(),
                revision: 5,
                namespaces: 2,
                last_seen: wall(14)
            }]
        );
        assert_eq!(live.until, Some(at(29)));

        // It comes back.
        let live = enforcers.observe([&lease("a", 2, "5"), &lease("b", 2, "5")], at(16), wall(16));
        assert_eq!(live.enforcers.len(), 2);
    }

    #[test]
    fn a_lease_found_at_startup_gets_its_full_duration_whatever_its_renew_time() {
        let mut old = lease("a", 1, "4");
        old.spec.as_mut().unwrap().renew_time =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(
                Timestamp::from_second(1).unwrap(),
            ));
        let live = Enforcers::new(FORGET_AFTER).observe([&old], Instant::now(), wall(0));
        assert_eq!(live.enforcers.len(), 1);
    }

    #[test]
    fn a_released_lease_is_gone_at_once_and_starts_again() {
        let start = Instant::now();
        let mut enforcers = Enforcers::new(FORGET_AFTER);
        enforcers.observe([&lease("a", 1, "4")], start, wall(0));
        let live = enforcers.observe([], start + Duration::from_secs(1), wall(1));
        assert!(live.enforcers.is_empty() && live.until.is_none());
        let live = enforcers.observe(
            [&lease("a", 1, "4")],
            start + Duration::from_secs(20),
            wall(20),
        );
        assert_eq!(live.enforcers.len(), 1);
    }

    #[test]
    fn a_lease_without_renewal_for_long_is_due_for_deletion() {
        let start = Instant::now();
        let mut enforcers = Enforcers::new(FORGET_AFTER);
        enforcers.observe([&lease("a", 1, "4")], start, wall(0));
        let later = |seconds| start + Duration::from_secs(seconds);
        assert!(
            enforcers
                .observe([&lease("a", 1, "4")], later(599), wall(599))
                .forgotten
                .is_empty()
        );
        let live = enforcers.observe([&lease("a", 1, "4")], later(600), wall(600));
        assert_eq!(
            live.forgotten,
            [Forgotten {
                name: "a".into(),
                resource_version: Some("1".into())
            }]
        );
        assert!(
            enforcers
                .observe([&lease("a", 2, "4")], later(601), wall(601))
                .forgotten
                .is_empty()
        );
    }

    #[test]
    fn missing_annotations_count_as_nothing_seen() {
        let bare: Lease = serde_json::from_value(json!({
            "metadata": { "name": "a", "resourceVersion": "1", "annotations": { "failover.dev/revision": "many" } }
        }))
        .unwrap();
        let live = Enforcers::new(FORGET_AFTER).observe([&bare], Instant::now(), wall(0));
        assert_eq!(
            (live.enforcers[0].revision, live.enforcers[0].namespaces),
            (0, 0)
        );
    }
}
