//! `status`: the role of the site, what enforces it, and which objects do not conform.

mod follow;
mod print;
mod report;

use futures::future::join5;
use jiff::Timestamp;

use super::site_view::{left, no_site};
use crate::cli::StatusArgs;
use crate::cluster::{ApiError, Unseen};
use crate::error::Failure;
use crate::output::Report as _;
use crate::plan::object_roles::{policies, settled};
use crate::session::Session;

pub use report::StatusReport;

pub async fn run(
    session: &Session<'_>,
    args: &StatusArgs,
    namespace: Option<&str>,
) -> Result<(), Failure> {
    if args.watch {
        follow::follow(session, args.timeout).await?;
    }
    let report = Box::pin(observe(session, namespace)).await?;
    report.print(args.output, session.screen);
    for unseen in &report.unseen {
        session
            .screen
            .warn(&format!("could not read {}: {}", unseen.what, unseen.why));
    }
    Ok(())
}

/// Reads everything that the caller may read. What is forbidden is named; any other failure is an error.
async fn observe(session: &Session<'_>, namespace: Option<&str>) -> Result<StatusReport, Failure> {
    let cluster = &session.cluster;
    let mut unseen = Vec::new();
    let (site, enrolled, webhook, backstop, leadership) = Box::pin(join5(
        cluster.site(),
        cluster.enrolled(),
        cluster.webhook(),
        cluster.missing_of_backstop(),
        cluster.leadership(),
    ))
    .await;
    let site = site?;
    let mut enrolled = seen(enrolled, "namespaces", &mut unseen)?.unwrap_or_default();
    // Without the Site the namespaces keep their last role: reporting it is more useful than an error.
    if site.is_none() && enrolled.is_empty() {
        return Err(no_site(session));
    }
    let mut left = match &site {
        Some(site) => seen(
            left(cluster, site, &enrolled).await,
            "namespaces",
            &mut unseen,
        )?,
        None => None,
    }
    .unwrap_or_default();
    if let Some(namespace) = namespace {
        left.retain(|name| name == namespace);
        enrolled.retain(|enrolled| enrolled.name == namespace);
        if enrolled.is_empty() && left.is_empty() {
            session
                .screen
                .warn(&format!("namespace {namespace} is not enrolled"));
        }
    }
    let webhook = seen(webhook, "the webhook configuration", &mut unseen)?;
    let backstop = seen(backstop, "the admission policies", &mut unseen)?;
    let leadership = seen(leadership, "the controller's Lease", &mut unseen)?.flatten();
    let survey = seen(cluster.survey(&enrolled).await, "objects", &mut unseen)?;
    let requests = cluster.requests().await?;
    let mut report = StatusReport::new(
        site.as_ref(),
        &enrolled,
        survey.as_ref(),
        webhook,
        leadership.as_ref(),
        Timestamp::now(),
    );
    if let Some(survey) = &survey {
        let compiled = settled(&enrolled, survey, &requests);
        report.deferred = compiled.held;
        report.orphaned = compiled.orphaned;
    }
    report.policies = policies(&requests);
    report.policies.retain(|policy| {
        namespace.is_none_or(|namespace| policy.name.split('/').next() == Some(namespace))
    });
    report.left = left;
    report.backstop = backstop.map(|missing| report::Backstop { missing });
    report.unseen.extend(unseen);
    report.unseen.extend(requests.unseen);
    Ok(report)
}

fn seen<T>(
    answer: Result<T, ApiError>,
    what: &str,
    unseen: &mut Vec<Unseen>,
) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_forbidden() => {
            unseen.push(Unseen {
                what: what.to_owned(),
                why: error.to_string(),
            });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod later_version;
