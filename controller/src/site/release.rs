//! Removes our state from Namespaces that have left enforcement.

use std::sync::Arc;

use failover_core::RuleSet;
use failover_core::transition::EnrolledNamespace;
use kube::Client;

use super::error::ReconcileError;
use super::namespaces::{self, NamespaceMeta, NamespaceWrites};
use crate::sweep::Sweeper;
use crate::sweep::progress::Progress;

/// Applies the restore records of objects in these Namespaces where their layer is primary, and then removes our state
/// from the Namespaces.
pub async fn release(
    client: Client,
    sweeper: Sweeper,
    rules: RuleSet,
    released: Vec<Arc<NamespaceMeta>>,
) -> Result<NamespaceWrites, ReconcileError> {
    let leaving: Vec<EnrolledNamespace> = released.iter().map(|n| namespaces::leaving(n)).collect();
    let swept = sweeper
        .sweep(&leaving, &rules, &Progress::default())
        .await?;
    for blocked in &swept.blocked {
        let object = blocked.object.as_deref().unwrap_or_default();
        tracing::warn!(
            object,
            "leaves enforcement with its restore record: {}",
            blocked.message
        );
    }
    let writes = released.into_iter().map(|namespace| {
        let kept = namespaces::released(&namespace.metadata);
        (namespace, kept)
    });
    Ok(namespaces::write_all(&client, writes).await)
}
