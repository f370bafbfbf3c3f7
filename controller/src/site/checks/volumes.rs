//! What the replication of volumes says of itself. Only csi-addons' kinds say anything; of others that a RoleRule turns, what
//! they are ordered to be is all there is to know.

use failover_core::checks::replication;
use failover_core::guards::{GuardId, of_volume};
use failover_core::{Layer, Role, Rule};

use super::lists::Ruled;
use super::{CheckError, CheckResult, CheckScope, Checker, blocked};

impl Checker {
    /// Volumes of which a promotion, which their driver forces where it must, might lose something.
    pub(super) async fn unfit_volumes(
        &self,
        check_scope: &CheckScope,
    ) -> Result<CheckResult, CheckError> {
        let volumes = self.replicated(check_scope).await?;
        let standing_by: Vec<_> = volumes
            .iter()
            .filter(|ruled| ruled.role == Some(Role::Secondary))
            .collect();
        let in_the_way = standing_by
            .iter()
            .flat_map(|ruled| of_volume(&ruled.reference.to_string(), &ruled.object));
        Ok(CheckResult {
            total: standing_by.len(),
            in_the_way: in_the_way.map(Into::into).collect(),
            ..CheckResult::default()
        })
    }

    /// Volumes that are not known to be what they were ordered to be.
    pub(super) async fn replication(
        &self,
        check_scope: &CheckScope,
    ) -> Result<CheckResult, CheckError> {
        let volumes = self.replicated(check_scope).await?;
        let turned: Vec<_> = volumes
            .iter()
            .filter(|ruled| ruled.role == Some(check_scope.to))
            .collect();
        let in_the_way = turned.iter().filter_map(|ruled| {
            let what = replication::doubt(&ruled.object, check_scope.to)?;
            Some(blocked(
                GuardId::ReplicationUnconfirmed,
                &ruled.reference,
                &what,
                "see its events and the log of its driver",
            ))
        });
        Ok(CheckResult {
            total: turned.len(),
            in_the_way: in_the_way.collect(),
            ..CheckResult::default()
        })
    }

    async fn replicated(&self, check_scope: &CheckScope) -> Result<Vec<Ruled>, CheckError> {
        let replicates =
            |rule: &Rule| rule.layer == Layer::Volumes && rule.group == replication::GROUP;
        self.of_rules(check_scope, replicates).await
    }
}
