//! `plan`: what a promotion or demotion would change, and everything that a person should know before ordering it.

mod report;

use failover_core::Role;

use super::site_view::{look, preview, standing, warn_of_pause};
use crate::cli::PlanArgs;
use crate::cli::batch::BatchConsent;
use crate::error::Failure;
use crate::output::clean;
use crate::session::Session;

pub fn check_usage(args: &PlanArgs) -> Result<(), Failure> {
    let batch = args.batch.consent();
    if args.direction.role() == Role::Secondary && batch != BatchConsent::default() {
        return Err(Failure::usage(
            "--run-missed and --run-held-jobs are consents to what only a promotion starts",
        ));
    }
    Ok(())
}

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
    plan.batch = args.batch.consent();
    if let Some(job) = plan.not_held(plan.batch.held_jobs.names()) {
        session.screen.warn(&clean(&format!(
            "--run-held-jobs={job}: no Job of this name is held since its creation"
        )));
    }
    if view.role_in_effect() != Some(role) {
        plan.holds = standing(&view, &plan);
    }
    warn_of_pause(session, &view);
    report::print(&plan, args.output, session.screen);
    if plan.unseen.is_empty() {
        return Ok(());
    }
    let details = plan
        .unseen
        .iter()
        .map(|unseen| format!("{}: {}", unseen.what, unseen.why));
    Err(
        Failure::partial("the plan is incomplete: not everything could be read")
            .details(details)
            .next("the ClusterRole failover-viewer gives the rights to see it all")
            .after_document(),
    )
}
