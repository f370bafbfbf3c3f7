//! Kubeconfigs of ServiceAccounts, with tokens of the TokenRequest API, as kubelet mounts them into a pod.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;

use crate::ControlPlane;
use crate::credentials::kubeconfig;

/// A kubeconfig with a token of a ServiceAccount.
pub async fn service_account(plane: &ControlPlane, namespace: &str, name: &str) -> Result<PathBuf> {
    service_account_at(plane, namespace, name, plane.url()).await
}

/// The same with another address of the API server.
pub async fn service_account_at(
    plane: &ControlPlane,
    namespace: &str,
    name: &str,
    url: &str,
) -> Result<PathBuf> {
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.client(), namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(3600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .with_context(|| format!("no token for ServiceAccount {namespace}/{name}"))?;
    let token = answer
        .status
        .context("a TokenRequest is answered with a token")?
        .token;
    let file = plane
        .folder()
        .join(format!("{namespace}-{name}.kubeconfig"));
    fs::write(&file, kubeconfig(url, &plane.ca(), &token))?;
    Ok(file)
}
