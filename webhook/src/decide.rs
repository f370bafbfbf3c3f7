//! Decides about the bytes of a review and returns the bytes of the answer, without any I/O.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;

use failover_core::admission::namespace;
use failover_core::admission::rewrite::{Rewrite, RewriteError};
use failover_core::admission::{self, Operation};
use failover_core::names::PREVIEW_MANAGER;
use failover_core::namespace::may_enrol;
use failover_core::{Role, Rule};
use serde_json::value::RawValue;

use crate::outcome::About;
use crate::outcome::ReviewOutcome;
use crate::review::{AdmissionRequest, Review, Unreadable, Verdict};
use crate::store::Store;

/// A review that cannot be answered, because there is no uid to echo. The API server never sends one. It treats any
/// status but 200 as a failed webhook, and under `Ignore` it would store the object.
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

/// A decision, with its data for metrics and the log.
#[derive(Debug)]
pub struct Decision<'a> {
    pub uid: Cow<'a, str>,
    pub verdict: Verdict,
    pub outcome: ReviewOutcome,
    pub about: About,
}

/// Decides about one review.
pub async fn decide<'a>(body: &'a [u8], store: &Store) -> Result<Decision<'a>, BadReview> {
    let body = std::str::from_utf8(body).map_err(BadReview::NotText)?;
    let review = match Review::parse(body) {
        Ok(review) => review,
        Err(Unreadable::Unanswerable(error)) => return Err(BadReview::NotJson(error)),
        // A request that cannot be read must not be stored unchanged.
        Err(Unreadable::Request(uid, error)) => {
            let message = format!("kubectl-failover cannot read the admission request: {error}");
            return Ok(Decision {
                uid,
                verdict: Verdict::Denied { message },
                outcome: ReviewOutcome::Denied,
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
    let rule = rules.find(&request.resource.group, &request.resource.resource);
    let about = about(&request, rule.is_some());
    let (verdict, outcome) = judge(&request, rule, store).await;
    Ok(Decision {
        uid: request.uid,
        verdict,
        outcome,
        about,
    })
}

async fn judge(
    request: &AdmissionRequest<'_>,
    rule: Option<&Rule>,
    store: &Store,
) -> (Verdict, ReviewOutcome) {
    const UNCHANGED: (Verdict, ReviewOutcome) = (Verdict::Unchanged, ReviewOutcome::Unchanged);
    let operation = match &*request.operation {
        "CREATE" => Operation::Create,
        "UPDATE" => Operation::Update,
        // DELETE and CONNECT store nothing.
        _ => return UNCHANGED,
    };
    // A dry run of a planned change: the object is sent as it will be.
    if request.dry_run == Some(true) && field_manager(request) == Some(PREVIEW_MANAGER) {
        return UNCHANGED;
    }
    let subresource = request.sub_resource.as_deref().filter(|s| !s.is_empty());
    let rule = if is_namespace(request) {
        if operation == Operation::Update || subresource.is_some() {
            return UNCHANGED;
        }
        None
    } else if rule.is_none() {
        return UNCHANGED;
    } else {
        rule
    };
    let Some(object) = request.object.map(RawValue::get) else {
        return denied("kubectl-failover got an admission request without an object".to_owned());
    };
    let Some(rule) = rule else {
        let (settled, registry) = (store.settled(), store.registry());
        let name = request.name.as_deref().unwrap_or_default();
        if !namespace::concerns(&registry, name, object) {
            return UNCHANGED;
        }
        let settled = settled.as_ref().as_ref();
        let site = settled.map(|s| s.site.as_str());
        return guarded(request, site, true, || {
            namespace::admit_namespace(settled, &registry, object)
        });
    };
    let namespace = request.namespace.as_deref().unwrap_or_default();
    // A cluster-scoped object is in no namespace. The webhook's configuration already excludes the namespaces that may
    // not enrol; if somebody widens it, the cluster must still come up without us.
    if namespace.is_empty() || !may_enrol(namespace) {
        return UNCHANGED;
    }
    let Some(state) = store.namespace_soon(namespace).await else {
        return unknown_namespace(namespace, store);
    };
    let admission = admission::Request {
        rule,
        operation,
        subresource,
        name: request.name.as_deref().unwrap_or_default(),
        field_manager: field_manager(request),
        object,
        old_object: request.old_object.map(RawValue::get),
    };
    let is_primary = state.roles.uniform() == Some(Role::Primary) && state.objects.is_empty();
    guarded(request, state.site.as_deref(), !is_primary, || {
        admission::admit(&state, &admission)
    })
}

fn field_manager<'a>(request: &'a AdmissionRequest<'_>) -> Option<&'a str> {
    request.options.as_ref()?.field_manager.as_deref()
}

/// The API server asks only about enrolled namespaces, so this one is enrolled (or has just been unenrolled), and the
/// cache did not learn of it within the grace period. On a site that has settled on primary nothing would be forced in
/// it. On any other site, storing the object unchanged could start it; after a refusal the writer tries again, and by
/// then the cache knows the namespace.
fn unknown_namespace(namespace: &str, store: &Store) -> (Verdict, ReviewOutcome) {
    let verdict = match store.settled().as_ref() {
        Some(settled) if settled.roles.uniform() == Some(Role::Primary) => Verdict::Unchanged,
        _ => Verdict::Denied {
            message: format!(
                "the webhook does not know the role of namespace {namespace} yet, which is normal just after enrolment: try again (kubectl failover status)"
            ),
        },
    };
    (verdict, ReviewOutcome::UnknownNamespace)
}

/// Runs a decision. A panic must neither start what has to be passive nor block a primary's writes: the write is
/// refused only if something `may_be_forced`.
fn guarded(
    request: &AdmissionRequest<'_>,
    site: Option<&str>,
    may_be_forced: bool,
    decision: impl FnOnce() -> Result<Rewrite, RewriteError>,
) -> (Verdict, ReviewOutcome) {
    let rewrite = match std::panic::catch_unwind(AssertUnwindSafe(decision)) {
        Ok(rewrite) => rewrite,
        Err(_) if may_be_forced => {
            let message = format!(
                "cannot decide about {}: internal error in the kubectl-failover webhook, see its log",
                object_name(request)
            );
            return (Verdict::Denied { message }, ReviewOutcome::Fault);
        }
        Err(_) => return (Verdict::Unchanged, ReviewOutcome::Fault),
    };
    match rewrite {
        Ok(rewrite) if rewrite.is_empty() => (Verdict::Unchanged, ReviewOutcome::Unchanged),
        Ok(rewrite) => {
            let warnings = rewrite.warnings(site, &object_name(request));
            let patch = rewrite.patch;
            (Verdict::Changed { patch, warnings }, ReviewOutcome::Changed)
        }
        Err(error) => {
            let site = site.map_or_else(|| "this site".to_owned(), |site| format!("site {site}"));
            let what = if is_namespace(request) {
                "cannot be enrolled"
            } else {
                "cannot be made passive"
            };
            denied(format!(
                "{site}: {} {what}: {error} (kubectl failover status)",
                object_name(request)
            ))
        }
    }
}

fn denied(message: String) -> (Verdict, ReviewOutcome) {
    (Verdict::Denied { message }, ReviewOutcome::Denied)
}

fn object_name(request: &AdmissionRequest<'_>) -> String {
    match request.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{}/{name}", request.resource.resource),
        None => request.resource.resource.to_string(),
    }
}

fn is_namespace(request: &AdmissionRequest<'_>) -> bool {
    let resource = &request.resource;
    resource.group.is_empty() && resource.resource == "namespaces"
}

fn about(request: &AdmissionRequest<'_>, has_rule: bool) -> About {
    let resource = &request.resource;
    let is_ruled = has_rule || is_namespace(request);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_panic_refuses_a_write_only_if_something_may_be_forced() {
        let review = json!({ "uid": "u", "resource": { "resource": "deployments" }, "name": "web", "operation": "CREATE" });
        let text = review.to_string();
        let request: AdmissionRequest<'_> = serde_json::from_str(&text).unwrap();
        let judge = |may_be_forced| guarded(&request, None, may_be_forced, || panic!("on purpose"));
        let (verdict, outcome) = judge(true);
        assert!(
            matches!(&verdict, Verdict::Denied { message } if message.starts_with("cannot decide about deployments/web")),
            "{verdict:?}"
        );
        assert_eq!(outcome, ReviewOutcome::Fault);
        assert_eq!(judge(false), (Verdict::Unchanged, ReviewOutcome::Fault));
    }
}
