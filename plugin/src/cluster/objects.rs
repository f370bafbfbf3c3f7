//! Lists of raw JSON, in pages. Raw, because a plan is made on what is stored, and a round trip through types loses what
//! the types do not know.

use failover_core::Rule;
use failover_core::json::lean::Lean;
use failover_core::names::{CLI_MANAGER, ENFORCE_LABEL, EXEMPT, EXEMPT_REASON_ANNOTATION};
use failover_runtime::kube::field_manager;
use failover_runtime::kube::objects::url;
use failover_runtime::kube::paging::Paging;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{ApiError, Cluster};

/// Objects per page: few enough that no answer is large, many enough that a thousand take two or three.
const PAGE: u32 = 500;

/// A kind in a namespace, as a URL.
pub(super) fn path(api_version: &str, resource: &str, namespace: &str) -> String {
    url(api_version, resource, Some(namespace))
}

impl Cluster {
    /// Every object of a rule's kind in a namespace. A kind that went out of service has none.
    pub(super) async fn ruled_objects(
        &self,
        rule: &Rule,
        namespace: &str,
    ) -> Result<Vec<Value>, ApiError> {
        self.list(&rule.api_version(), &rule.resource, namespace)
            .await
    }

    /// Every object of a kind in a namespace, without what nobody reads who only judges it.
    pub(super) async fn lean_list(
        &self,
        api_version: &str,
        resource: &str,
        namespace: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let objects = self.list::<Lean>(api_version, resource, namespace).await?;
        Ok(objects.into_iter().map(|Lean(object)| object).collect())
    }

    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        api_version: &str,
        resource: &str,
        namespace: &str,
    ) -> Result<Vec<T>, ApiError> {
        let action = format!("list {resource} in namespace {namespace}");
        let request = Request::new(path(api_version, resource, namespace));
        let mut all = Vec::new();
        let mut paging = Paging::new(PAGE);
        while let Some(params) = paging.next() {
            let page = self.read(&action, || async {
                let request = request.list(&params).map_err(kube::Error::BuildRequest)?;
                self.connection.client.request(request).await
            });
            match page.await {
                Err(error) if error.is_not_found() => return Ok(Vec::new()),
                Err(ApiError::Expired { .. }) if paging.restart() => all.clear(),
                page => all.extend(paging.turn(page?)),
            }
        }
        Ok(all)
    }

    /// Puts the exempt label on an object with the reason beside it, or takes both off.
    pub async fn label_exempt(
        &self,
        rule: &Rule,
        object: &Value,
        exempt: bool,
        reason: Option<&str>,
        dry_run: bool,
    ) -> Result<(), ApiError> {
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
        let (namespace, name) = (text("namespace"), text("name"));
        let action = format!("label {}/{name} in namespace {namespace}", rule.resource);
        let mut patch = json!({"metadata": {"labels": {ENFORCE_LABEL: exempt.then_some(EXEMPT)}}});
        if reason.is_some() || !exempt {
            patch["metadata"]["annotations"] = json!({ EXEMPT_REASON_ANNOTATION: reason });
        }
        let params = PatchParams {
            dry_run,
            ..field_manager::patch(CLI_MANAGER)
        };
        let request = Request::new(path(&rule.api_version(), &rule.resource, namespace))
            .patch(name, &params, &Patch::Merge(patch))
            .map_err(|error| self.error(&action, &kube::Error::BuildRequest(error)))?;
        let answer: Result<Value, kube::Error> = self.connection.client.request(request).await;
        answer
            .map(|_| ())
            .map_err(|error| self.error(&action, &error))
    }
}
