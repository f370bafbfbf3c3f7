//! Pods, DaemonSets and ReplicaSets: what runs although no rule reaches it.

use failover_core::checks::uncovered::{Uncovered, uncovered};
use failover_core::namespace::Enforcement;
use failover_core::transition::EnrolledNamespace;
use futures::StreamExt as _;
use serde_json::Value;

use super::{ApiError, Cluster, Unseen};

const AT_ONCE: usize = 8;

impl Cluster {
    /// What no rule reaches in these namespaces, and what could not be checked.
    pub async fn uncovered(
        &self,
        namespaces: &[EnrolledNamespace],
    ) -> Result<(Vec<Uncovered>, Vec<Unseen>), ApiError> {
        let mut unseen = Vec::new();
        let rules = self.rule_set(&mut unseen).await?;
        let names = whole(namespaces);
        let lists: Vec<_> = futures::stream::iter(names)
            .map(|name| async move {
                futures::join!(
                    self.lean_list("v1", "pods", name),
                    self.lean_list("apps/v1", "daemonsets", name),
                    self.lean_list("apps/v1", "replicasets", name)
                )
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut found = Vec::new();
        for (pods, daemon_sets, replica_sets) in lists {
            let mut objects = |answer| seen_of(answer, &mut unseen);
            let (pods, daemon_sets, replica_sets) = (
                objects(pods)?,
                objects(daemon_sets)?,
                objects(replica_sets)?,
            );
            found.extend(uncovered(&pods, &daemon_sets, &replica_sets, &rules));
        }
        Ok((found, unseen))
    }
}

/// Namespaces of which everything is ruled, not only what a policy names.
pub(super) fn whole(namespaces: &[EnrolledNamespace]) -> Vec<&str> {
    namespaces
        .iter()
        .filter(|n| n.state.enforcement == Some(Enforcement::Enabled))
        .map(|n| n.name.as_str())
        .collect()
}

/// What was listed; nothing, and a note of it, where it may not be.
pub(super) fn seen_of(
    answer: Result<Vec<Value>, ApiError>,
    unseen: &mut Vec<Unseen>,
) -> Result<Vec<Value>, ApiError> {
    match answer {
        Ok(objects) => Ok(objects),
        Err(error) if error.is_passing() => Err(error),
        Err(error) => {
            unseen.push(Unseen {
                what: "what no rule covers".to_owned(),
                why: error.to_string(),
            });
            Ok(Vec::new())
        }
    }
}
