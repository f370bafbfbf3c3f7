//! Restores the objects of a rule before the rule is released.

use failover_core::api::RoleRuleSpec;
use failover_core::names::ENFORCE_LABEL;
use failover_core::namespace::may_enrol;
use failover_core::rules::role_rule::in_force::is_primary_everywhere;
use failover_core::transition::EnrolledNamespace;
use failover_core::{NamespaceState, Rule, RuleSet};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

use super::RulesError;
use crate::sweep::progress::Progress;
use crate::sweep::{Sweeper, Swept};

/// The enrolled Namespaces as the API server has them now: a cache may not show yet that the roles have changed.
pub(super) async fn enrolled(client: &Client) -> Result<Vec<EnrolledNamespace>, RulesError> {
    let labelled = ListParams::default().labels(&format!("{ENFORCE_LABEL} in (enabled,policy)"));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let list = namespaces.list_metadata(&labelled).await;
    Ok(list
        .map_err(RulesError::Namespaces)?
        .into_iter()
        .filter(|namespace| may_enrol(&namespace.name_any()))
        .map(|namespace| {
            let (labels, annotations) = (
                namespace.metadata.labels.as_ref(),
                namespace.metadata.annotations.as_ref(),
            );
            EnrolledNamespace {
                name: namespace.name_any(),
                state: NamespaceState::parse(labels, annotations).0,
            }
        })
        .collect())
}

/// Sweeps the objects of one rule under their current roles.
pub(super) async fn sweep(
    sweeper: &Sweeper,
    enrolled: &[EnrolledNamespace],
    rule: &RoleRuleSpec,
) -> Result<Swept, RulesError> {
    let Ok(rule) = Rule::try_from(rule) else {
        return Ok(Swept::default());
    };
    let swept = sweeper
        .sweep(enrolled, &RuleSet::only(rule), &Progress::default())
        .await?;
    for blocked in &swept.blocked {
        tracing::warn!(
            object = blocked.object.as_deref().unwrap_or_default(),
            "does not conform: {}",
            blocked.message
        );
    }
    Ok(swept)
}

/// Whether `enforced` may be replaced by `next` (or released): every namespace is primary for both, and every object of
/// the kind is restored.
pub(super) async fn restored(
    sweeper: &Sweeper,
    enrolled: &[EnrolledNamespace],
    enforced: &RoleRuleSpec,
    next: Option<&RoleRuleSpec>,
) -> Result<bool, RulesError> {
    let primary = |rule: &RoleRuleSpec| {
        is_primary_everywhere(rule, enrolled.iter().map(|namespace| &namespace.state))
    };
    if !primary(enforced) || !next.is_none_or(primary) {
        return Ok(false);
    }
    Ok(sweep(sweeper, enrolled, enforced).await?.left == 0)
}
