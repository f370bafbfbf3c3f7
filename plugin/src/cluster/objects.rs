//! Lists of raw JSON, in pages. Raw, because a plan is made on what is stored, and a round trip through types loses what
//! the types do not know.

use failover_core::Rule;
use failover_core::json::lean::Lean;
use failover_core::names::{CLI_MANAGER, ENFORCE_LABEL, EXEMPT, EXEMPT_REASON_ANNOTATION};
use failover_runtime::kube::field_manager;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{ApiError, Cluster};

/// Objects per page: few enough that no answer is large, many enough that a thousand take two or three.
const PAGE: u32 = 500;

/// How often a list whose token expired is started again before it is asked for in one piece, which cannot expire.
const RESTARTS: u32 = 2;

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

/// A kind in a namespace, as a URL.
pub(super) fn path(api_version: &str, resource: &str, namespace: &str) -> String {
    let root = if api_version.contains('/') {
        "/apis"
    } else {
        "/api"
    };
    format!("{root}/{api_version}/namespaces/{namespace}/{resource}")
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
        for restart in 0..=RESTARTS {
            let limit = (restart < RESTARTS).then_some(PAGE);
            match self.pages(&action, &request, limit).await {
                Err(ApiError::Expired { .. }) => {}
                Err(error) if error.is_not_found() => return Ok(Vec::new()),
                other => return other,
            }
        }
        Err(ApiError::Expired { action })
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

    async fn pages<T: DeserializeOwned>(
        &self,
        action: &str,
        request: &Request,
        limit: Option<u32>,
    ) -> Result<Vec<T>, ApiError> {
        let mut items = Vec::new();
        let mut token = None;
        loop {
            let params = ListParams {
                limit,
                continue_token: token.take(),
                ..ListParams::default()
            };
            let page: Page<T> = self
                .read(action, || async {
                    let request = request.list(&params).map_err(kube::Error::BuildRequest)?;
                    self.connection.client.request(request).await
                })
                .await?;
            items.extend(page.items);
            match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(next) => token = Some(next),
                None => return Ok(items),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_the_core_group_and_of_others() {
        assert_eq!(path("v1", "pods", "shop"), "/api/v1/namespaces/shop/pods");
        assert_eq!(
            path("apps/v1", "deployments", "shop"),
            "/apis/apps/v1/namespaces/shop/deployments"
        );
    }
}
