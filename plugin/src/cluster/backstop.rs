//! Whether the API server itself holds the built-in kinds.

use failover_core::backstop;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;
use serde_json::Value;

use super::{ApiError, Cluster};

impl Cluster {
    /// What is missing, or was altered, of the policies of the built-in kinds, and of the bindings by which they deny.
    pub async fn missing_of_backstop(&self) -> Result<Vec<String>, ApiError> {
        let ours = ListParams::default().labels(backstop::SELECTOR);
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.client());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client());
        let (policies, bindings) = futures::try_join!(
            self.read("list the admission policies", || {
                let (api, ours) = (policies.clone(), ours.clone());
                async move { api.list(&ours).await }
            }),
            self.read("list the bindings of the admission policies", || {
                let (api, ours) = (bindings.clone(), ours.clone());
                async move { api.list(&ours).await }
            }),
        )?;
        Ok(backstop::missing(
            |name| find(&policies.items, name),
            |name| find(&bindings.items, name),
        ))
    }
}

fn find<K: ResourceExt + Serialize>(objects: &[K], name: &str) -> Option<Value> {
    let object = objects.iter().find(|object| object.name_any() == name)?;
    serde_json::to_value(object).ok()
}
