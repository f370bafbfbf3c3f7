//! From the bytes of a review to the bytes of the answer, for everything but where they come from and go to.

use std::borrow::Cow;

use failover_core::birth;
use failover_core::request::{self, Operation};
use failover_core::{NamespaceState, Role, RuleSet};

use crate::review::{Request, Review, Unreadable, Verdict};
use crate::store::Store;

/// A review that cannot be answered: there is no uid to echo. The API server treats any status but 200 as a webhook that
/// failed, and so under `Ignore` stores the object; it never sends any of these.
#[derive(Debug, thiserror::Error)]
pub enum BadReview {
    #[error("the body is not text in UTF-8: {0}")]
    NotText(#[source] std::str::Utf8Error),
    #[error("the body is not an AdmissionReview: {0}")]
    NotJson(#[source] serde_json::Error),
    #[error("expected admission.k8s.io/v1 AdmissionReview, got {0:?} {1:?}")]
    WrongType(String, String),
    #[error("the review has no request")]
    NoRequest,
    #[error("the request has no uid")]
    NoUid,
}

/// A decision, with what is counted and logged about it.
#[derive(Debug)]
pub struct Decision<'a> {
    pub uid: Cow<'a, str>,
    pub verdict: Verdict,
    pub about: About,
}

/// What a decision was about, without any of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub namespace: String,
    /// `deployments` or `deployments/scale`; empty where it could not be read.
    pub resource: String,
    pub name: String,
    pub operation: String,
    /// Whether a rule knows the resource: only such names are counted one by one.
    pub is_ruled: bool,
}

/// Decides about one review.
pub async fn decide<'a>(body: &'a [u8], store: &Store) -> Result<Decision<'a>, BadReview> {
    let body = std::str::from_utf8(body).map_err(BadReview::NotText)?;
    let review = match Review::parse(body) {
        Ok(review) => review,
        Err(Unreadable::Unanswerable(error)) => return Err(BadReview::NotJson(error)),
        // What cannot be understood must not be stored as if it had been.
        Err(Unreadable::Request(uid, error)) => {
            let message = format!("kubectl-failover cannot read the admission request: {error}");
            return Ok(Decision {
                uid,
                verdict: Verdict::Denied { message },
                about: About::default(),
            });
        }
    };
    if review.api_version != "admission.k8s.io/v1" || review.kind != "AdmissionReview" {
        return Err(BadReview::WrongType(
            shorten(&review.api_version),
            shorten(&review.kind),
        ));
    }
    let request = review.request.ok_or(BadReview::NoRequest)?;
    if request.uid.is_empty() {
        return Err(BadReview::NoUid);
    }
    let rules = store.rules();
    let about = about(&request, &rules);
    let verdict = judge(&request, &rules, store).await;
    Ok(Decision {
        uid: request.uid,
        verdict,
        about,
    })
}

async fn judge(request: &Request<'_>, rules: &RuleSet, store: &Store) -> Verdict {
    let operation = match &*request.operation {
        "CREATE" => Operation::Create,
        "UPDATE" => Operation::Update,
        // Deleting and connecting store nothing.
        _ => return Verdict::Unchanged,
    };
    let Some(object) = request
        .object
        .map(serde_json::value::RawValue::get)
        .filter(|text| *text != "null")
    else {
        return Verdict::Denied {
            message: "kubectl-failover got an admission request without an object".to_owned(),
        };
    };
    let resource = &request.resource;
    let subresource = request.sub_resource.as_deref().filter(|s| !s.is_empty());

    if resource.group.is_empty() && resource.resource == "namespaces" {
        if operation == Operation::Update || subresource.is_some() {
            return Verdict::Unchanged;
        }
        let settled = store.settled();
        let site = settled.as_ref().as_ref().map(|s| s.site.as_str());
        return verdict(
            birth::admit_namespace(settled.as_ref().as_ref(), object),
            site,
            request,
        );
    }
    if rules.find(&resource.group, &resource.resource).is_none() {
        return Verdict::Unchanged;
    }
    let Some(namespace) = request.namespace.as_deref().filter(|n| !n.is_empty()) else {
        return Verdict::Unchanged; // a cluster-scoped object is in no enrolled namespace
    };
    let Some(state) = store.namespace_soon(namespace).await else {
        return unknown_namespace(namespace, store);
    };
    let admitted = request::admit(
        rules,
        &state,
        &request::Request {
            operation,
            group: &resource.group,
            resource: &resource.resource,
            subresource,
            name: request.name.as_deref().unwrap_or_default(),
            field_manager: request
                .options
                .as_ref()
                .and_then(|o| o.field_manager.as_deref()),
            object,
            old_object: request
                .old_object
                .map(serde_json::value::RawValue::get)
                .filter(|text| *text != "null"),
        },
    );
    verdict(admitted, state.site.as_deref(), request)
}

/// The API server asks only about enrolled namespaces, so this one is enrolled, and the cache has not heard of it within
/// its moment of grace. On a site that has settled on primary nothing would be forced in it. On any other, storing the
/// object as it is could start it; refusing makes the writer try again, by when the cache knows.
fn unknown_namespace(namespace: &str, store: &Store) -> Verdict {
    match store.settled().as_ref() {
        Some(settled) if settled.roles.uniform() == Some(Role::Primary) => Verdict::Unchanged,
        _ => Verdict::Denied {
            message: format!(
                "namespace {namespace} has only just been enrolled and its role is not known here yet: try again (kubectl failover status)"
            ),
        },
    }
}

fn verdict(
    rewrite: Result<failover_core::rewrite::Rewrite, failover_core::rewrite::RewriteError>,
    site: Option<&str>,
    request: &Request<'_>,
) -> Verdict {
    match rewrite {
        Ok(rewrite) if rewrite.is_empty() => Verdict::Unchanged,
        Ok(rewrite) => {
            let warnings = rewrite.warnings(site, &object_name(request));
            Verdict::Changed {
                patch: rewrite.patch,
                warnings,
            }
        }
        Err(error) => {
            let site = site.map_or_else(|| "this site".to_owned(), |site| format!("site {site}"));
            let object = object_name(request);
            Verdict::Denied {
                message: format!(
                    "{site}: {object} cannot be made passive: {error} (kubectl failover status)"
                ),
            }
        }
    }
}

fn object_name(request: &Request<'_>) -> String {
    match request.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{}/{name}", request.resource.resource),
        None => request.resource.resource.to_string(),
    }
}

fn about(request: &Request<'_>, rules: &RuleSet) -> About {
    let resource = &request.resource;
    let is_ruled = rules.find(&resource.group, &resource.resource).is_some()
        || (resource.group.is_empty() && resource.resource == "namespaces");
    let subresource = request.sub_resource.as_deref().filter(|s| !s.is_empty());
    About {
        namespace: request.namespace.as_deref().unwrap_or_default().to_owned(),
        resource: match subresource {
            Some(subresource) => format!("{}/{subresource}", resource.resource),
            None => resource.resource.to_string(),
        },
        name: request.name.as_deref().unwrap_or_default().to_owned(),
        operation: request.operation.to_string(),
        is_ruled,
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The state of a namespace, from its metadata.
pub fn namespace_state(metadata: &kube::core::ObjectMeta) -> NamespaceState {
    let (state, problems) =
        NamespaceState::parse(metadata.labels.as_ref(), metadata.annotations.as_ref());
    for problem in problems {
        tracing::warn!(namespace = metadata.name.as_deref(), %problem, "namespace state is not sound: this part counts as absent");
    }
    state
}
