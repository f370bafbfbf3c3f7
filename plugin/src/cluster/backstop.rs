//! Whether the API server itself holds the built-in kinds.

use failover_core::backstop;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::{ApiError, Cluster};

impl Cluster {
    /// What is missing of the policies of the built-in kinds, and of the bindings by which they deny.
    pub async fn missing_of_backstop(&self) -> Result<Vec<String>, ApiError> {
        let ours = ListParams::default().labels(backstop::SELECTOR);
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.client());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client());
        let (policies, bindings) = futures::try_join!(
            self.read("list the admission policies", || {
                let (api, ours) = (policies.clone(), ours.clone());
                async move { api.list_metadata(&ours).await }
            }),
            self.read("list the bindings of the admission policies", || {
                let (api, ours) = (bindings.clone(), ours.clone());
                async move { api.list(&ours).await }
            }),
        )?;
        let denies = |binding: &ValidatingAdmissionPolicyBinding| {
            let spec = binding.spec.as_ref();
            spec.and_then(|spec| spec.validation_actions.as_ref())
                .is_some_and(|actions| actions.iter().any(|action| action == "Deny"))
        };
        Ok(backstop::missing(
            |name| policies.iter().any(|policy| policy.name_any() == name),
            |name| {
                bindings
                    .iter()
                    .any(|binding| binding.name_any() == name && denies(binding))
            },
        ))
    }
}
