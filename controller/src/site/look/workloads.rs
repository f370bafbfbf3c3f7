//! What runs: whether it has ended, whether it is up, and what no rule reaches.

use failover_core::guard::{GuardId, of_uncovered};
use failover_core::uncovered;
use failover_core::waits::{available, pods_gone};
use failover_core::{Layer, Role};
use serde_json::Value;

use super::listed::{
    ATTACHMENTS, CLAIMS, DAEMON_SETS, JOBS, NODES, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS,
    Ruled,
};
use super::{Found, LookError, Looker, Scene, blocked};
use crate::site::objects::{ObjectError, Objects};
use crate::site::off_task::off_task;

impl Looker {
    /// What would run on after a demotion, since no rule reaches it.
    pub(super) async fn uncovered(&self, scene: &Scene) -> Result<Found, LookError> {
        let whole = || scene.whole();
        let (pods, daemon_sets, replica_sets) = futures::try_join!(
            self.of_namespaces(PODS, whole()),
            self.of_namespaces(DAEMON_SETS, whole()),
            self.of_namespaces(REPLICA_SETS, whole()),
        )?;
        let rules = scene.rules.clone();
        Ok(off_task(move || {
            let found = uncovered::uncovered(&pods, &daemon_sets, &replica_sets, &rules);
            Found {
                total: pods.len() + daemon_sets.len(),
                in_the_way: of_uncovered(&found).into_iter().map(Into::into).collect(),
            }
        })
        .await)
    }

    /// What could still write. A pod that keeps an ordered StatefulSet from coming down is deleted, as its own controller
    /// would if it were ready.
    pub(super) async fn pods_gone(&self, scene: &Scene) -> Result<Found, LookError> {
        let names = || scene.namespaces.iter().map(|n| n.name.as_str());
        let held = [Layer::Workloads, Layer::Volumes];
        let ruled = self.of_rules(scene, |rule| held.contains(&rule.layer));
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
        // Last, so that nothing can have come of what was listed before.
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
        Ok(Found {
            total,
            in_the_way: running
                .objects
                .iter()
                .map(|(object, what)| {
                    blocked(
                        GuardId::PodsRunning,
                        object,
                        what,
                        "see what keeps it, or make sure that it cannot write and override",
                    )
                })
                .collect(),
        })
    }

    /// Deletes a pod, provided that it is the one that was seen. That it cannot be deleted shows at the next look.
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
            "deleting a pod that is not ready: its ordered StatefulSet waits for it before it comes down"
        );
        let objects = Objects::at(&self.client, "v1", "pods", Some(namespace));
        match objects.delete(name, uid).await {
            Ok(()) | Err(ObjectError::NotFound | ObjectError::Conflict) => {}
            Err(error) => tracing::warn!(namespace, pod = name, %error, "cannot delete it"),
        }
    }

    /// What was restored and is not up yet.
    pub(super) async fn available(&self, scene: &Scene) -> Result<Found, LookError> {
        let workloads = self.of_rules(scene, |rule| rule.layer == Layer::Workloads);
        let workloads = workloads.await?;
        let restored: Vec<_> = workloads
            .iter()
            .filter(|ruled| ruled.role == Some(Role::Primary) && available::counts(&ruled.object))
            .collect();
        let lacking: Vec<_> = restored
            .iter()
            .filter_map(|ruled| {
                let what = available::lacking(&ruled.object)?;
                Some(blocked(
                    GuardId::WorkloadsUnavailable,
                    &ruled.reference,
                    &what,
                    "kubectl describe tells why",
                ))
            })
            .collect();
        let up = restored.len() - lacking.len();
        let enough = up * 100 >= restored.len() * usize::from(self.available_percent);
        Ok(Found {
            total: restored.len(),
            in_the_way: if enough { vec![] } else { lacking },
        })
    }
}

fn held_object(ruled: &Ruled) -> pods_gone::HeldObject<'_> {
    pods_gone::HeldObject {
        reference: &ruled.reference,
        object: &ruled.object,
    }
}
