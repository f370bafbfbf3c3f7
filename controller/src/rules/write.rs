//! Writes a RoleRule's status and finalizer, each on the version it was decided on.

use failover_core::api::{RoleRule, RoleRuleStatus};
use failover_core::names::{CONTROLLER_MANAGER, IN_FORCE_FINALIZER};
use failover_runtime::kube::{field_manager, status};
use kube::ResourceExt as _;
use kube::api::{Api, Patch};
use serde_json::json;

use super::RulesError;

pub(super) fn has_finalizer(rule: &RoleRule) -> bool {
    rule.finalizers().iter().any(|f| f == IN_FORCE_FINALIZER)
}

/// Writes the status. Returns the stored rule.
pub(super) async fn status(
    api: &Api<RoleRule>,
    rule: &RoleRule,
    status: RoleRuleStatus,
) -> Result<RoleRule, RulesError> {
    let mut rule = rule.clone();
    rule.status = Some(status);
    let name = rule.name_any();
    status::replace(api, CONTROLLER_MANAGER, rule)
        .await
        .map_err(|source| RulesError::Write { name, source })
}

/// Adds or removes our finalizer and keeps all others. Returns the stored rule.
pub(super) async fn finalizer(
    api: &Api<RoleRule>,
    rule: &RoleRule,
    present: bool,
) -> Result<RoleRule, RulesError> {
    let mut finalizers = rule.finalizers().to_vec();
    finalizers.retain(|f| f != IN_FORCE_FINALIZER);
    if present {
        finalizers.push(IN_FORCE_FINALIZER.to_owned());
    }
    let patch = json!({"metadata": {
        "resourceVersion": rule.resource_version(),
        "finalizers": finalizers,
    }});
    let params = field_manager::patch(CONTROLLER_MANAGER);
    let name = rule.name_any();
    api.patch(&name, &params, &Patch::Merge(patch))
        .await
        .map_err(|source| RulesError::Write { name, source })
}
