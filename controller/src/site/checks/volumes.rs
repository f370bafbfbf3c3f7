//! What the replication of volumes reports. Only csi-addons' kinds report a state; of other kinds with a RoleRule only
//! the desired state is known.

use failover_core::checks::replication;
use failover_core::guards::{GuardId, of_volume};
use failover_core::{Layer, Role, Rule};

use super::lists::Ruled;
use super::{CheckError, CheckResult, CheckScope, Checker, blocked};

impl Checker {
    /// Volumes whose promotion, which their driver forces where it must, might lose data.
    pub(super) async fn unfit_volumes(
        &self,
        check_scope: &CheckScope,
    ) -> Result<CheckResult, CheckError> {
        let volumes = self.replicated(check_scope).await?;
        let secondary: Vec<_> = volumes
            .iter()
            .filter(|ruled| ruled.role == Some(Role::Secondary))
            .collect();
        let blocking = secondary
            .iter()
            .flat_map(|ruled| of_volume(&ruled.reference.to_string(), &ruled.object));
        Ok(CheckResult {
            total: secondary.len(),
            blocking: blocking.map(Into::into).collect(),
            ..CheckResult::default()
        })
    }

    /// Volumes that are not confirmed to match their desired state.
    pub(super) async fn replication(
        &self,
        check_scope: &CheckScope,
    ) -> Result<CheckResult, CheckError> {
        let volumes = self.replicated(check_scope).await?;
        let moved: Vec<_> = volumes
            .iter()
            .filter(|ruled| ruled.role == Some(check_scope.to))
            .collect();
        let blocking = moved.iter().filter_map(|ruled| {
            let what = replication::doubt(&ruled.object, check_scope.to)?;
            Some(blocked(
                GuardId::ReplicationUnconfirmed,
                &ruled.reference,
                &what,
                "see its events and the log of its driver",
            ))
        });
        Ok(CheckResult {
            total: moved.len(),
            blocking: blocking.collect(),
            ..CheckResult::default()
        })
    }

    async fn replicated(&self, check_scope: &CheckScope) -> Result<Vec<Ruled>, CheckError> {
        let replicates =
            |rule: &Rule| rule.layer == Layer::Volumes && rule.group == replication::GROUP;
        self.of_rules(check_scope, replicates).await
    }
}
