//! Who the caller is, and what they talk to: the name that the API server knows them by, whatever the kubeconfig calls the
//! user, and the API server's own version.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, PostParams};

use super::{ApiError, Cluster};

impl Cluster {
    pub async fn user_name(&self) -> Result<String, ApiError> {
        let reviews: Api<SelfSubjectReview> = Api::all(self.client());
        let review = reviews
            .create(&PostParams::default(), &SelfSubjectReview::default())
            .await
            .map_err(|error| self.error("ask the API server who you are", &error))?;
        let name = review
            .status
            .and_then(|status| status.user_info)
            .and_then(|user| user.username)
            .filter(|name| !name.is_empty());
        name.ok_or_else(|| ApiError::Refused {
            action: "ask the API server who you are".to_owned(),
            message: "it gives no name".to_owned(),
        })
    }

    pub async fn kubernetes_version(&self) -> Result<String, ApiError> {
        let client = self.client();
        let version = self
            .read("ask the API server for its version", || {
                client.apiserver_version()
            })
            .await?;
        Ok(version.git_version)
    }
}
