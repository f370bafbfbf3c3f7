//! Batch work at a promotion: missed runs of CronJobs, and Jobs that never ran.

use failover_core::Role;
use failover_core::admission::rewrite::rewrite_stored;
use failover_core::api::Blocked;
use failover_core::checks::batch;
use failover_core::guards::GuardId;
use failover_runtime::kube::error::ObjectError;
use failover_runtime::kube::objects::Objects;
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::lists::Ruled;
use super::{CheckError, CheckResult, CheckScope, Checker, blocked};

const WRITES_AT_ONCE: usize = 8;

impl Checker {
    /// Sets `lastScheduleTime` of every CronJob that is about to be resumed to now, so that it starts no run that was
    /// due before.
    ///
    /// Every one, whatever its schedule, time zone or deadline. Finding out which of them missed a run would need a
    /// second cron implementation; where it differs from Kubernetes', a run starts that nobody approved. A deadline is
    /// no approval either: within it the other site may have run what this one missed.
    pub(super) async fn forget_missed_runs(
        &self,
        check_scope: &CheckScope,
    ) -> Result<CheckResult, CheckError> {
        let now = (self.now)();
        let all = self.of_kind(check_scope, "cronjobs").await?;
        let mark = json!({ "lastScheduleTime": seconds(now) });
        let writes: Vec<_> = all
            .iter()
            .filter(|ruled| is_resumed(ruled) && batch::last_looked_at(&ruled.object) < Some(now))
            .map(|ruled| async {
                let written = self
                    .objects(ruled)
                    .merge_status(&ruled.reference.name, &on_version(ruled, "status", &mark))
                    .await;
                unsettled(ruled, "cannot skip its missed run", written)
            })
            .collect();
        let total = writes.len();
        let blocking = futures::stream::iter(writes)
            .buffered(WRITES_AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        Ok(CheckResult {
            total,
            blocking,
            ..CheckResult::default()
        })
    }

    /// Starts the requested Jobs among those that were forced passive since their creation.
    pub(super) async fn run_held_jobs(
        &self,
        check_scope: &CheckScope,
    ) -> Result<CheckResult, CheckError> {
        let all = self.of_kind(check_scope, "jobs").await?;
        let requested = all
            .iter()
            .filter(|ruled| ruled.role == Some(Role::Primary) && batch::is_held(&ruled.object))
            .filter(|ruled| {
                let job = &ruled.reference;
                check_scope.held_jobs.has(&job.namespace, &job.name)
            });
        let run = json!({ "suspend": false });
        let mut found = CheckResult::default();
        for ruled in requested {
            found.total += 1;
            let written = self
                .objects(ruled)
                .merge(&ruled.reference.name, &on_version(ruled, "spec", &run))
                .await;
            found
                .blocking
                .extend(unsettled(ruled, "cannot start it", written));
        }
        Ok(found)
    }

    async fn of_kind(
        &self,
        check_scope: &CheckScope,
        resource: &str,
    ) -> Result<Vec<Ruled>, CheckError> {
        self.of_rules(check_scope, |rule| rule.is_of("batch", resource))
            .await
    }

    fn objects(&self, ruled: &Ruled) -> Objects {
        Objects::new(&self.client, &ruled.rule, &ruled.reference.namespace)
    }
}

/// Whether the promotion resumes it: it is passive now, and its restore record is not.
fn is_resumed(ruled: &Ruled) -> bool {
    let mut restored = ruled.object.clone();
    rewrite_stored(&ruled.rule, Role::Primary, &ruled.object)
        .is_ok_and(|rewrite| json_patch::patch(&mut restored, &rewrite.patch).is_ok())
        && batch::is_resumed(&ruled.object, &restored)
}

fn unsettled(ruled: &Ruled, what: &str, written: Result<Value, ObjectError>) -> Option<Blocked> {
    match written {
        // A deleted object needs nothing.
        Ok(_) | Err(ObjectError::NotFound) => None,
        Err(error) => Some(blocked(
            GuardId::BatchUnsettled,
            &ruled.reference,
            &format!("{what}: {error}"),
            "",
        )),
    }
}

/// The change, for the observed version only: a leader that has been overtaken changes nothing.
fn on_version(ruled: &Ruled, part: &str, change: &Value) -> Value {
    let version = &ruled.object["metadata"]["resourceVersion"];
    json!({ "metadata": { "resourceVersion": version }, part: change })
}

/// The time format of Kubernetes.
fn seconds(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use failover_core::api::StepName;
    use failover_core::checks::batch::HeldJobs;
    use failover_core::transition::EnrolledNamespace;
    use failover_core::{NamespaceState, Roles, RuleSet};
    use jiff::Timestamp;

    use super::*;
    use crate::site::checks::Moving;
    use crate::testing::fake_api::FakeApi;

    const NOW: &str = "2026-03-05T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    /// A CronJob that is forced passive and last ran at this time.
    fn cron_job(record: &str, spec: &Value, last: Option<&str>) -> Value {
        let mut cron_job = json!({
            "metadata": {
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"failover.dev/restore": record},
            },
            "spec": {"suspend": true},
            "status": {},
        });
        json_patch::merge(&mut cron_job, &json!({"spec": spec}));
        if let Some(last) = last {
            cron_job["status"]["lastScheduleTime"] = json!(last);
        }
        cron_job
    }

    async fn check(api: &FakeApi, step: StepName, role: Role, held_jobs: HeldJobs) {
        let checker = Checker::new(api.client(), 100, now);
        let check_scope = CheckScope {
            to: Role::Primary,
            namespaces: vec![EnrolledNamespace {
                name: "shop".into(),
                state: NamespaceState {
                    enforcement: Some(failover_core::namespace::Enforcement::Enabled),
                    roles: Roles::all(role),
                    ..NamespaceState::default()
                },
            }],
            moving: Moving::Layers(BTreeSet::new()),
            terminating: BTreeSet::new(),
            rules: RuleSet::built_in(),
            held_jobs,
        };
        let found = checker.find(step, &check_scope).await.unwrap();
        assert_eq!(found.blocking, []);
    }

    async fn mark(api: &FakeApi) {
        check(api, StepName::CronJobs, Role::Secondary, HeldJobs::None).await;
    }

    #[rstest::rstest]
    // Not due since, for a cron parser that treats a step as a star.
    #[case::either_day_field(json!({"schedule": "54 20 */2 * MON"}), Some("2026-03-02T20:54:00Z"), NOW)]
    #[case::unreadable_here(json!({"schedule": "whenever"}), Some("2026-03-02T20:54:00Z"), NOW)]
    #[case::within_its_deadline(json!({"schedule": "0 * * * *", "startingDeadlineSeconds": 7200}), Some("2026-03-01T00:00:00Z"), NOW)]
    #[case::past_its_deadline(json!({"schedule": "30 1 * * *", "startingDeadlineSeconds": 10}), Some("2026-03-01T00:00:00Z"), NOW)]
    #[case::in_a_time_zone(json!({"schedule": "0 12 * * *", "timeZone": "Europe/Berlin"}), Some("2026-03-05T11:00:00Z"), NOW)]
    #[case::never_ran(json!({"schedule": "0 0 1 7 *"}), None, NOW)]
    #[case::marked_ahead(json!({"schedule": "0 0 1 7 *"}), Some("2026-03-05T12:00:04Z"), "2026-03-05T12:00:04Z")]
    #[tokio::test]
    async fn every_cron_job_that_is_resumed_is_marked_whatever_its_schedule(
        #[case] spec: Value,
        #[case] last: Option<&str>,
        #[case] marked: &str,
    ) {
        const PATH: &str = "/apis/batch/v1/namespaces/shop/cronjobs/report";
        let api = FakeApi::new();
        api.put(PATH, cron_job(r#"{"/spec/suspend":false}"#, &spec, last));
        mark(&api).await;
        assert_eq!(api.get(PATH)["status"]["lastScheduleTime"], marked);
    }

    #[tokio::test]
    async fn a_cron_job_suspended_in_git_is_not_marked() {
        const PATH: &str = "/apis/batch/v1/namespaces/shop/cronjobs/retired";
        let spec = json!({"schedule": "0 * * * *"});
        let api = FakeApi::new();
        let before = cron_job(r#"{"/spec/suspend":true}"#, &spec, None);
        api.put(PATH, before.clone());
        mark(&api).await;
        assert_eq!(api.get(PATH)["status"], before["status"]);
        assert_eq!(api.take_writes(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn only_requested_held_jobs_are_started() {
        let path = |name: &str| format!("/apis/batch/v1/namespaces/shop/jobs/{name}");
        let job = json!({
            "metadata": {"annotations": {"failover.dev/held": r#"{"/spec/suspend":false}"#}},
            "spec": {"suspend": true},
        });
        let api = FakeApi::new();
        api.serve("batch", "v1", "jobs");
        for name in ["import", "index"] {
            api.put(&path(name), job.clone());
        }
        let run = async |held_jobs: HeldJobs| {
            check(&api, StepName::Jobs, Role::Primary, held_jobs).await;
            ["import", "index"].map(|name| api.get(&path(name))["spec"]["suspend"] == false)
        };
        assert_eq!(
            run(HeldJobs::new(false, &["shop/import".into()])).await,
            [true, false]
        );
        assert_eq!(run(HeldJobs::All).await, [true, true]);
    }
}
