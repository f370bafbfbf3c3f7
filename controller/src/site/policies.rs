//! Telling each FailoverPolicy what became of it.

use std::sync::Arc;

use failover_core::api::FailoverPolicy;
use failover_core::causes::causes;
use failover_core::compile::{Enforced, PolicyResult, policy_status};
use failover_core::names::CONTROLLER_MANAGER;
use failover_core::transition::SweepReport;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};

/// How many are written at once.
const AT_ONCE: usize = 8;

/// Writes the status of each policy of which there is something new to say, on the version it was decided on. Returns the
/// answers, each with what it replaced. One that cannot be written holds nothing up, and is tried again at the next look.
pub async fn tell(
    client: &Client,
    policies: &[Arc<FailoverPolicy>],
    results: &[PolicyResult],
    report: Option<&SweepReport>,
    now: Timestamp,
) -> Vec<(Arc<FailoverPolicy>, FailoverPolicy)> {
    let astray = report.map(astray);
    let enforced = astray.as_deref().map_or(Enforced::NotYet, Enforced::Swept);
    let news: Vec<_> = policies
        .iter()
        .filter_map(|policy| {
            let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
            let result = results
                .iter()
                .find(|r| r.namespace == namespace && r.name == name)?;
            let status = policy_status(policy, result, enforced, now);
            (policy.status.as_ref() != Some(&status)).then(|| (Arc::clone(policy), status))
        })
        .collect();
    let answers: Vec<_> = futures::stream::iter(news)
        .map(|(policy, status)| {
            let client = client.clone();
            async move {
                let answer = write(&client, &policy, status).await;
                (policy, answer)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut written = Vec::new();
    for (policy, answer) in answers {
        match answer {
            Ok(answer) => written.push((policy, answer)),
            // Changed or gone: the watch tells.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {}
            Err(error) => tracing::warn!(
                policy = format!(
                    "{}/{}",
                    policy.namespace().unwrap_or_default(),
                    policy.name_any()
                ),
                error = causes(&error),
                "cannot write the status of a FailoverPolicy; going on without"
            ),
        }
    }
    written
}

async fn write(
    client: &Client,
    policy: &FailoverPolicy,
    status: failover_core::api::FailoverPolicyStatus,
) -> kube::Result<FailoverPolicy> {
    let namespace = policy.namespace().unwrap_or_default();
    let api: Api<FailoverPolicy> = Api::namespaced(client.clone(), &namespace);
    let mut policy = policy.clone();
    policy.status = Some(status);
    policy.metadata.managed_fields = None;
    let params = PostParams {
        field_manager: Some(CONTROLLER_MANAGER.to_owned()),
        ..PostParams::default()
    };
    api.replace_status(&policy.name_any(), &params, &policy)
        .await
}

fn astray(report: &SweepReport) -> Vec<(String, String)> {
    let named = |blocked: &failover_core::api::Blocked| {
        Some((blocked.object.clone()?, blocked.message.clone()))
    };
    report.blocked.iter().filter_map(named).collect()
}
