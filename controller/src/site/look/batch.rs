//! Batch work at a promotion: what CronJobs missed, and Jobs that never ran.

use failover_core::api::Blocked;
use failover_core::guard::GuardId;
use failover_core::rewrite::rewrite_stored;
use failover_core::{Role, batch};
use serde_json::{Value, json};

use super::listed::Ruled;
use super::{Found, LookError, Looker, Scene, blocked};
use crate::site::objects::{ObjectError, Objects};

impl Looker {
    /// Marks the runs that CronJobs have missed as had: they are about to be resumed, and would start them at once.
    pub(super) async fn forget_missed_runs(&self, scene: &Scene) -> Result<Found, LookError> {
        let now = (self.now)();
        let all = self.of_kind(scene, "cronjobs").await?;
        let missed = all
            .iter()
            .filter(|ruled| is_resumed(ruled) && batch::missed_run(&ruled.object, now).is_some());
        let mark = json!({ "lastScheduleTime": seconds(now) });
        let mut found = Found::default();
        for ruled in missed {
            found.total += 1;
            let written = self
                .objects(ruled)
                .merge_status(&ruled.reference.name, &on_version(ruled, "status", &mark))
                .await;
            found.in_the_way.extend(unsettled(
                ruled,
                "its missed run could not be marked as had",
                written,
            ));
        }
        Ok(found)
    }

    /// Lets Jobs run that have been held since they were created.
    pub(super) async fn run_held_jobs(&self, scene: &Scene) -> Result<Found, LookError> {
        let all = self.of_kind(scene, "jobs").await?;
        let held = all
            .iter()
            .filter(|ruled| ruled.role == Some(Role::Primary) && batch::is_held(&ruled.object));
        let run = json!({ "suspend": false });
        let mut found = Found::default();
        for ruled in held {
            found.total += 1;
            let written = self
                .objects(ruled)
                .merge(&ruled.reference.name, &on_version(ruled, "spec", &run))
                .await;
            found
                .in_the_way
                .extend(unsettled(ruled, "it could not be let run", written));
        }
        Ok(found)
    }

    async fn of_kind(&self, scene: &Scene, resource: &str) -> Result<Vec<Ruled>, LookError> {
        self.of_rules(scene, |rule| {
            rule.group == "batch" && rule.resource == resource
        })
        .await
    }

    fn objects(&self, ruled: &Ruled) -> Objects {
        Objects::new(&self.client, &ruled.rule, &ruled.reference.namespace)
    }
}

/// Whether the promotion makes it run: it is passive now, and what is recorded is not.
fn is_resumed(ruled: &Ruled) -> bool {
    let suspend = |object: &Value| object["spec"]["suspend"] == true;
    let mut restored = ruled.object.clone();
    suspend(&ruled.object)
        && rewrite_stored(&ruled.rule, Role::Primary, &ruled.object)
            .is_ok_and(|rewrite| json_patch::patch(&mut restored, &rewrite.patch).is_ok())
        && !suspend(&restored)
}

fn unsettled(ruled: &Ruled, what: &str, written: Result<Value, ObjectError>) -> Option<Blocked> {
    match written {
        // What is gone needs nothing.
        Ok(_) | Err(ObjectError::NotFound) => None,
        Err(error) => Some(blocked(
            GuardId::BatchUnsettled,
            &ruled.reference,
            &format!("{what}: {error}"),
            "",
        )),
    }
}

/// The change, of the version that was seen and of no other: a leader that comes to it late changes nothing.
fn on_version(ruled: &Ruled, part: &str, change: &Value) -> Value {
    let version = &ruled.object["metadata"]["resourceVersion"];
    json!({ "metadata": { "resourceVersion": version }, part: change })
}

/// As Kubernetes writes times.
fn seconds(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
