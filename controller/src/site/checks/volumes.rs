//! What the replication of volumes says of itself. Only csi-addons' kinds say anything; of others that a RoleRule turns, what
//! they are ordered to be is all there is to know.

use failover_core::checks::replication;
use failover_core::guards::{GuardId, of_volume};
use failover_core::{Layer, Role, Rule};

use super::lists::Ruled;
use super::{Found, LookError, Looker, Scene, blocked};

impl Looker {
    /// Volumes of which a promotion, which their driver forces where it must, might lose something.
    pub(super) async fn unfit_volumes(&self, scene: &Scene) -> Result<Found, LookError> {
        let volumes = self.replicated(scene).await?;
        let standing_by: Vec<_> = volumes
            .iter()
            .filter(|ruled| ruled.role == Some(Role::Secondary))
            .collect();
        let in_the_way = standing_by
            .iter()
            .flat_map(|ruled| of_volume(&ruled.reference.to_string(), &ruled.object));
        Ok(Found {
            total: standing_by.len(),
            in_the_way: in_the_way.map(Into::into).collect(),
            ..Found::default()
        })
    }

    /// Volumes that are not known to be what they were ordered to be.
    pub(super) async fn replication(&self, scene: &Scene) -> Result<Found, LookError> {
        let volumes = self.replicated(scene).await?;
        let turned: Vec<_> = volumes
            .iter()
            .filter(|ruled| ruled.role == Some(scene.to))
            .collect();
        let in_the_way = turned.iter().filter_map(|ruled| {
            let what = replication::doubt(&ruled.object, scene.to)?;
            Some(blocked(
                GuardId::ReplicationUnconfirmed,
                &ruled.reference,
                &what,
                "its events and the log of its driver show why",
            ))
        });
        Ok(Found {
            total: turned.len(),
            in_the_way: in_the_way.collect(),
            ..Found::default()
        })
    }

    async fn replicated(&self, scene: &Scene) -> Result<Vec<Ruled>, LookError> {
        let replicates =
            |rule: &Rule| rule.layer == Layer::Volumes && rule.group == replication::GROUP;
        self.of_rules(scene, replicates).await
    }
}
