//! What a rule needs besides itself: rights, the webhook, and the backstop.

use failover_core::rules::role_rule::readiness::Missing;
use failover_core::rules::role_rule::rendered::{CONTROLLER_VERBS, is_asked};
use failover_core::{Rule, backstop};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

use super::RulesError;
use crate::informers::Informers;

/// Returns what is missing.
pub(super) async fn missing(
    client: &Client,
    informers: &Informers,
    rule: &Rule,
) -> Result<Missing, RulesError> {
    let mut rights = Vec::new();
    for verb in CONTROLLER_VERBS {
        if !may(client, verb, rule).await? {
            rights.push(verb);
        }
    }
    let name = backstop::name(rule);
    let backstop = [
        (!informers.has_policy(&name)).then(|| format!("policy {name}")),
        (!informers.has_binding(&name)).then(|| format!("binding {name}")),
    ];
    Ok(Missing {
        rights,
        webhook: !is_asked(rule, &informers.webhook_rules()),
        backstop: backstop.into_iter().flatten().collect(),
    })
}

/// Whether the controller has this right on the kind in all namespaces: which of them are enrolled is decided
/// elsewhere.
async fn may(client: &Client, verb: &str, rule: &Rule) -> Result<bool, RulesError> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(rule.group.to_string()),
                resource: Some(rule.resource.to_string()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(RulesError::Rights)?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
