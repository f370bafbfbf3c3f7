//! Workloads: whether they have ended, whether they are available, and which of them no rule reaches.

use std::collections::HashSet;

use failover_core::api::NotWaitedFor;
use failover_core::checks::available::{self, Availability};
use failover_core::checks::pods_gone;
use failover_core::checks::uncovered;
use failover_core::guards::{GuardId, of_uncovered};
use failover_core::{Layer, Role, Rule};
use failover_runtime::kube::error::ObjectError;
use failover_runtime::kube::objects::Objects;
use failover_runtime::off_task::off_task;
use serde_json::Value;

use super::lists::{
    ATTACHMENTS, CLAIMS, DAEMON_SETS, JOBS, NODES, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS,
    Ruled,
};
use super::{CheckError, CheckResult, CheckScope, Checker, blocked};

impl Checker {
    /// What would keep running after a demotion because no rule reaches it.
    pub(super) async fn uncovered(
        &self,
        check_scope: &CheckScope,
    ) -> Result<CheckResult, CheckError> {
        let whole = || check_scope.whole();
        let (pods, daemon_sets, replica_sets) = futures::try_join!(
            self.of_namespaces(PODS, whole()),
            self.of_namespaces(DAEMON_SETS, whole()),
            self.of_namespaces(REPLICA_SETS, whole()),
        )?;
        let rules = check_scope.rules.clone();
        Ok(off_task(move || {
            let found = uncovered::uncovered(&pods, &daemon_sets, &replica_sets, &rules);
            CheckResult {
                total: pods.len() + daemon_sets.len(),
                blocking: of_uncovered(&found).into_iter().map(Into::into).collect(),
                ..CheckResult::default()
            }
        })
        .await)
    }

    /// What could still write. A pod that keeps an ordered StatefulSet from scaling down is deleted, as its controller
    /// would do if the pod were ready.
    pub(super) async fn pods_gone(
        &self,
        check_scope: &CheckScope,
    ) -> Result<CheckResult, CheckError> {
        let names = || check_scope.namespaces.iter().map(|n| n.name.as_str());
        let layers = [Layer::Workloads, Layer::Volumes];
        let ruled = self.of_rules(check_scope, |rule| layers.contains(&rule.layer));
        let (workloads, volumes): (Vec<_>, Vec<_>) = ruled
            .await?
            .into_iter()
            .partition(|ruled| ruled.rule.layer == Layer::Workloads);
        let (replica_sets, replication_controllers, jobs) = futures::try_join!(
            self.of_namespaces(REPLICA_SETS, names()),
            self.of_namespaces(REPLICATION_CONTROLLERS, names()),
            self.of_namespaces(JOBS, names()),
        )?;
        let owners = [replica_sets, replication_controllers, jobs];
        let owners: Vec<Value> = owners.into_iter().flatten().collect();
        // Listed last, so that pods that the owners above have created are included.
        let pods = self.of_namespaces(PODS, names()).await?;
        let failed = |pod: &Value| pod["status"]["phase"] == "Failed";
        let nodes = async {
            if pods.iter().any(failed) {
                self.of_cluster(NODES).await
            } else {
                Ok(vec![])
            }
        };
        let of_volumes = async {
            if volumes.is_empty() {
                return Ok((vec![], vec![]));
            }
            futures::try_join!(
                self.of_namespaces(CLAIMS, names()),
                self.of_cluster(ATTACHMENTS)
            )
        };
        let (nodes, (claims, attachments)) = futures::try_join!(nodes, of_volumes)?;
        let judged = off_task(move || {
            let workloads: Vec<_> = workloads
                .iter()
                .filter(|ruled| ruled.role == Some(Role::Secondary))
                .map(held_object)
                .collect();
            let volumes: Vec<_> = volumes.iter().map(held_object).collect();
            let listed = pods_gone::Listed {
                pods: &pods,
                owners: &owners,
                nodes: &nodes,
                claims: &claims,
                attachments: &attachments,
            };
            let running = pods_gone::running(&workloads, &volumes, &listed);
            let total = workloads.len() + volumes.len();
            (total, running, pods)
        });
        let (total, running, pods) = judged.await;
        for (namespace, name) in &running.stuck {
            self.unblock(namespace, name, &pods).await;
        }
        Ok(CheckResult {
            total,
            blocking: running
                .objects
                .iter()
                .map(|(object, what)| {
                    blocked(
                        GuardId::PodsRunning,
                        object,
                        what,
                        "find out why it does not end, or make sure that it cannot write, and override",
                    )
                })
                .collect(),
            ..CheckResult::default()
        })
    }

    /// Deletes a pod if it is still the observed one. A failure shows at the next check.
    async fn unblock(&self, namespace: &str, name: &str, pods: &[Value]) {
        let uid = pods
            .iter()
            .find(|pod| {
                pod["metadata"]["namespace"] == namespace && pod["metadata"]["name"] == name
            })
            .and_then(|pod| pod["metadata"]["uid"].as_str());
        let Some(uid) = uid else { return };
        tracing::info!(
            namespace,
            pod = name,
            "deleting an unready pod that stops an ordered StatefulSet from scaling down"
        );
        let objects = Objects::at(&self.client, "v1", "pods", Some(namespace));
        match objects.delete(name, uid).await {
            Ok(()) | Err(ObjectError::NotFound | ObjectError::Conflict) => {}
            Err(error) => tracing::warn!(namespace, pod = name, %error, "cannot delete it"),
        }
    }

    /// Restored objects that are not available yet. Flux's objects are listed before the workloads, so that the
    /// workloads of a Ready release are among them; and again afterwards, since a release may add others.
    pub(super) async fn available(
        &self,
        check_scope: &CheckScope,
    ) -> Result<CheckResult, CheckError> {
        let gitops = |rule: &Rule| rule.layer == Layer::Gitops;
        let before = self.of_rules(check_scope, gitops).await?;
        let workloads = |rule: &Rule| rule.layer == Layer::Workloads;
        let workloads = self.of_rules(check_scope, workloads).await?;
        let after = self.of_rules(check_scope, gitops).await?;
        let before: HashSet<_> = before.iter().map(|ruled| &ruled.reference).collect();
        let (mut total, mut lacking, mut not_waited_for) = (0, vec![], vec![]);
        for ruled in workloads.iter().chain(&after) {
            if ruled.role != Some(Role::Primary) {
                continue;
            }
            let is_new = ruled.rule.layer == Layer::Gitops && !before.contains(&ruled.reference);
            let found = match available::of(&ruled.rule, &ruled.object) {
                Availability::Nothing => continue,
                found if check_scope.terminating.contains(&ruled.reference.namespace) => {
                    match found {
                        Availability::Up => found,
                        _ => Availability::LeftOut("its namespace is being deleted".to_owned()),
                    }
                }
                // Its workloads may be newer than the list of workloads.
                Availability::Up if is_new => {
                    Availability::Lacking("it was created just now".to_owned())
                }
                found => found,
            };
            total += 1;
            match found {
                Availability::Nothing | Availability::Up => {}
                Availability::Lacking(what) => lacking.push(blocked(
                    GuardId::WorkloadsUnavailable,
                    &ruled.reference,
                    &what,
                    "kubectl describe shows why",
                )),
                Availability::LeftOut(message) => {
                    total -= 1;
                    not_waited_for.push(NotWaitedFor {
                        object: ruled.reference.to_string(),
                        message,
                    });
                }
            }
        }
        let up = total - lacking.len();
        let enough = up * 100 >= total * usize::from(self.available_percent);
        Ok(CheckResult {
            total,
            blocking: if enough { vec![] } else { lacking },
            not_waited_for,
        })
    }
}

fn held_object(ruled: &Ruled) -> pods_gone::HeldObject<'_> {
    pods_gone::HeldObject {
        reference: &ruled.reference,
        object: &ruled.object,
    }
}
