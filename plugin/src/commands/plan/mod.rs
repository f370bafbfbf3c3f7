//! `plan`: what a promotion or demotion would change, and everything that a person should know before ordering it.

mod report;

use failover_core::guard::standing;

use super::Session;
use super::look::{look, preview};
use crate::cli::PlanArgs;
use crate::failure::Failure;

pub async fn run(
    session: &Session<'_>,
    args: &PlanArgs,
    namespace: Option<&str>,
) -> Result<(), Failure> {
    let mut view = look(session).await?;
    let role = args.direction.role();
    if let Some(namespace) = namespace {
        view.enrolled.retain(|enrolled| enrolled.name == namespace);
        if view.enrolled.is_empty() {
            return Err(
                Failure::error(format!("namespace {namespace} is not enrolled")).next(format!(
                    "enrol it with kubectl failover enroll {namespace}, or leave out --namespace"
                )),
            );
        }
    }
    let mut plan = preview(session, view.name(), role, &view.enrolled).await?;
    if view.role_in_effect() != Some(role) {
        plan.holds = standing(view.role_in_effect(), role, &view.facts);
    }
    report::print(&plan, args.output, session.screen);
    if plan.unseen.is_empty() {
        return Ok(());
    }
    let details = plan
        .unseen
        .iter()
        .map(|unseen| format!("{}: {}", unseen.what, unseen.why));
    Err(
        Failure::partial("the plan is not whole: not everything could be looked at")
            .details(details)
            .next("the ClusterRole failover-viewer gives the rights to see it all"),
    )
}
