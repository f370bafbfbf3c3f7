//! Which kinds this cluster serves: a rule for a kind that it does not is inert.

use failover_core::{Rule, RuleSet};
use failover_runtime::kube::discovery::{is_complete, select};
use kube::client::APIGroupDiscovery;

use super::{ApiError, Cluster};

const ACTION: &str = "ask the API server which kinds it serves";

impl Cluster {
    /// Everything that is served.
    pub(super) async fn discovery(&self) -> Result<Vec<APIGroupDiscovery>, ApiError> {
        let client = self.client();
        let (core, groups) = futures::try_join!(
            self.read(ACTION, || client.list_core_api_versions_aggregated()),
            self.read(ACTION, || client.list_api_groups_aggregated())
        )?;
        Ok(core.items.into_iter().chain(groups.items).collect())
    }

    /// The rules whose kinds are served, each in a version that is.
    pub async fn served(&self, rules: &RuleSet) -> Result<Vec<Rule>, ApiError> {
        Ok(select(rules.iter(), &self.complete_discovery().await?))
    }

    /// Everything that is served, or an error where the answer cannot be all.
    pub(super) async fn complete_discovery(&self) -> Result<Vec<APIGroupDiscovery>, ApiError> {
        let groups = self.discovery().await?;
        // Taking an answer without Deployments for the truth would call a cluster conforming that was never checked.
        if is_complete(&groups) {
            Ok(groups)
        } else {
            Err(ApiError::Refused {
                action: ACTION.to_owned(),
                message:
                    "its discovery does not name deployments.apps; Kubernetes 1.27 or later is needed"
                        .to_owned(),
            })
        }
    }

    /// Those of these rules whose kinds are served, each in a version that is.
    pub async fn served_of(&self, rules: &[Rule]) -> Result<Vec<Rule>, ApiError> {
        Ok(select(rules, &self.discovery().await?))
    }
}
