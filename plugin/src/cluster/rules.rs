//! RoleRules, and what is made for them.

use failover_core::api::RoleRule;
use failover_core::names::{
    CLI_MANAGER, IN_FORCE_FINALIZER, ROLE_RULE_LABEL, ROLE_RULES_MANAGER, ROLE_RULES_WEBHOOK_NAME,
    WEBHOOK_CONFIGURATION, WEBHOOK_NAME,
};
use failover_runtime::kube::field_manager;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use serde_json::{Value, json};

use super::{ApiError, Applied, Cluster, Manifest};

/// Kinds of which objects are made for a RoleRule: what refuses goes first.
const MADE: [(&str, &str); 3] = [
    (
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicyBinding",
    ),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
];

/// The webhook configuration as far as RoleRules are concerned.
#[derive(Clone, Debug)]
pub struct RulesWebhook {
    configuration: Value,
}

impl Cluster {
    /// What was made for a RoleRule, or for any of them, in the order of its removal.
    pub async fn made_for_rules(&self, name: Option<&str>) -> Result<Vec<Manifest>, ApiError> {
        let selector = name.map_or_else(
            || ROLE_RULE_LABEL.to_owned(),
            |name| format!("{ROLE_RULE_LABEL}={name}"),
        );
        let mut made = Vec::new();
        for (group, kind) in MADE {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
            let api: Api<DynamicObject> = Api::all_with(self.client(), &resource);
            let params = ListParams::default().labels(&selector);
            let action = format!("list what was made for RoleRules ({})", resource.plural);
            let list = self.read(&action, || {
                let (api, params) = (api.clone(), params.clone());
                async move { api.list_metadata(&params).await }
            });
            made.extend(list.await?.into_iter().map(|object| {
                Manifest::new(json!({
                    "apiVersion": resource.api_version,
                    "kind": kind,
                    "metadata": {"name": object.name_any(), "labels": object.labels()},
                }))
            }));
        }
        Ok(made)
    }

    /// `None`: nothing is installed.
    pub async fn rules_webhook(&self) -> Result<Option<RulesWebhook>, ApiError> {
        let configuration = self.stored(&webhook_configuration(&[])).await?;
        Ok(configuration
            .map(|configuration| RulesWebhook { configuration })
            .filter(|webhook| webhook.entry(WEBHOOK_NAME).is_some()))
    }

    /// Has the webhook asked about these kinds, and no others beside the built-in ones.
    pub async fn ask_webhook(
        &self,
        present: &RulesWebhook,
        rules: &[Value],
        dry_run: bool,
    ) -> Result<Applied, ApiError> {
        let own = present.entry(ROLE_RULES_WEBHOOK_NAME);
        match (rules, own) {
            ([], None) => Ok(Applied::Unchanged),
            ([], Some((index, _))) => self.forget_entry(present, index, dry_run).await,
            (rules, _) => {
                let (_, built_in) = present.entry(WEBHOOK_NAME).unwrap_or_default();
                let manifest = webhook_configuration(&[entry(&built_in, rules)]);
                // Nobody else has any business in this entry.
                self.apply_as(ROLE_RULES_MANAGER, &manifest, true, dry_run)
                    .await
            }
        }
    }

    /// Not by an apply without it: the controller owns the `caBundle`, which would stay behind alone.
    async fn forget_entry(
        &self,
        present: &RulesWebhook,
        index: usize,
        dry_run: bool,
    ) -> Result<Applied, ApiError> {
        let manifest = webhook_configuration(&[]);
        let patch: json_patch::Patch = serde_json::from_value(json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": present.configuration["metadata"]["resourceVersion"]},
            {"op": "test", "path": format!("/webhooks/{index}/name"), "value": ROLE_RULES_WEBHOOK_NAME},
            {"op": "remove", "path": format!("/webhooks/{index}")},
        ]))
        .expect("three operations of known form");
        let params = PatchParams {
            dry_run,
            ..field_manager::patch(ROLE_RULES_MANAGER)
        };
        self.patch(&manifest, &params, &Patch::<()>::Json(patch))
            .await?;
        Ok(Applied::Configured)
    }

    /// The metadata of every RoleRule, whichever version has written the rest.
    pub async fn role_rule_metadata(&self) -> Result<Vec<PartialObjectMeta<RoleRule>>, ApiError> {
        let api: Api<RoleRule> = Api::all(self.client());
        let list = self.read("list RoleRules", || {
            let api = api.clone();
            async move { api.list_metadata(&ListParams::default()).await }
        });
        Ok(list.await?.items)
    }

    /// Lets a deleted RoleRule go although nobody has given back what it holds: when nothing is enforced any more.
    pub async fn release_rule(&self, rule: &PartialObjectMeta<RoleRule>) -> Result<(), ApiError> {
        let mut finalizers = rule.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != IN_FORCE_FINALIZER);
        if finalizers.len() == rule.finalizers().len() {
            return Ok(());
        }
        let name = rule.name_any();
        let patch = json!({"metadata": {
            "resourceVersion": rule.resource_version(),
            "finalizers": finalizers,
        }});
        let params = field_manager::patch(CLI_MANAGER);
        let api: Api<RoleRule> = Api::all(self.client());
        api.patch_metadata(&name, &params, &Patch::Merge(patch))
            .await
            .map(|_| ())
            .map_err(|error| self.error(&format!("release RoleRule {name}"), &error))
    }
}

impl RulesWebhook {
    fn entry(&self, name: &str) -> Option<(usize, Value)> {
        let webhooks = self.configuration["webhooks"].as_array()?;
        let index = webhooks
            .iter()
            .position(|webhook| webhook["name"] == name)?;
        Some((index, webhooks[index].clone()))
    }
}

fn webhook_configuration(webhooks: &[Value]) -> Manifest {
    Manifest::new(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": WEBHOOK_CONFIGURATION},
        "webhooks": webhooks,
    }))
}

/// As the built-in entry, with other kinds. Whom to trust is the controller's to write.
fn entry(built_in: &Value, rules: &[Value]) -> Value {
    let mut entry = built_in.clone();
    entry["name"] = json!(ROLE_RULES_WEBHOOK_NAME);
    entry["rules"] = json!(rules);
    if let Some(config) = entry["clientConfig"].as_object_mut() {
        config.remove("caBundle");
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_for_rules_is_the_built_in_one_but_for_its_kinds_and_the_bundle() {
        let built_in = json!({
            "name": WEBHOOK_NAME, "clientConfig": {"url": "https://x", "caBundle": "UEVN"},
            "failurePolicy": "Ignore", "rules": [{"resources": ["deployments"]}],
        });
        assert_eq!(
            entry(&built_in, &[json!({"resources": ["widgets"]})]),
            json!({
                "name": ROLE_RULES_WEBHOOK_NAME, "clientConfig": {"url": "https://x"},
                "failurePolicy": "Ignore", "rules": [{"resources": ["widgets"]}],
            })
        );
    }
}
