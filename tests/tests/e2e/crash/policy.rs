//! The same for a FailoverPolicy that moves one application while the role of the site stays.

use failover_core::Role;
use failover_core::api::{FailoverPolicy, FailoverPolicyStatus, Phase};
use kube::Api;
use serde_json::json;
use testbed::fixtures;
use testbed::turnstile::Side;

use super::order::Scope;
use super::{Bed, Executor, NAMESPACE, least_kills};

/// All objects of the application, see [`Bed::new`].
const APPLICATION: &[(&str, &str)] = &[
    ("VolumeReplication", "data"),
    ("Deployment", "web"),
    ("StatefulSet", "db"),
    ("CronJob", "report"),
    ("HelmRelease", "chart"),
    ("VirtualService", "web"),
];

impl Bed {
    async fn policy(&self) -> FailoverPolicy {
        let policies: Api<FailoverPolicy> = Api::namespaced(self.site.client(), NAMESPACE);
        policies.get("shop").await.unwrap()
    }

    pub(super) async fn policy_status(&self) -> FailoverPolicyStatus {
        self.policy().await.status.unwrap_or_default()
    }

    pub(super) async fn policy_is_done(&self, role: Role) -> bool {
        let policy = self.policy().await;
        let status = policy.status.unwrap_or_default();
        let in_role = status.resources.iter().all(|r| r.state == Some(role));
        status.observed_generation == policy.metadata.generation
            && status.phase == Some(Phase::Stable)
            && in_role
    }

    async fn order_by_policy(&self, role: Role) {
        let mut policy =
            fixtures::failover_policy(NAMESPACE, "shop", Some(role.as_str()), APPLICATION);
        policy["spec"]["request"] =
            json!({ "id": role, "reason": "drill", "overrides": ["peer-unknown"] });
        self.site.apply_as_person(&policy).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transition_of_a_policy_completes_whichever_write_its_controller_is_killed_after() {
    let mut bed = Bed::new().await;
    bed.route_controller_through_turnstile().await;
    for role in [Role::Secondary, Role::Primary] {
        bed.site.controller.kill();
        bed.order_by_policy(role).await;
        let executor = &mut Executor::Controller;
        let kills = bed
            .killed_at_every_write(role, Scope::Policy, Side::After, executor)
            .await;
        assert!(kills >= least_kills(), "killed only {kills} times");
        assert!(bed.volume.is_in_sync_as(role));
        let site = bed.site.status().await;
        assert_eq!(site.layers.uniform(), Some(Role::Primary));
    }
}
