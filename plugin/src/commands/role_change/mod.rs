//! `promote` and `demote`: guards, plan, confirmation, request, wait, verification, in this order.
//!
//! ```text
//!   read ──► decide ──┬─► settled ────────────────────────────────┐
//!     ▲               ├─► join (requested already) ─────────────┐ │
//!     │               └─► order: plan ─► confirm ─► write ──┐   │ │
//!     └─────────────── the Site changed meanwhile ◄─────────┤   │ │
//!                                                           ▼   ▼ ▼
//!                                          follow the controller ► verify ► report
//! ```
//!
//! Success means that a list of all objects shows the role; a report of the controller is not enough.

mod break_glass;
mod confirm;
mod decision;
mod intent;
mod order;
mod outcome;
mod report;
mod verify;
mod wait;

use failover_core::Role;
use failover_core::api::RoleRequest;
use jiff::Timestamp;
use tokio::time::Instant;

use self::break_glass::BreakGlass;
use self::confirm::{print_consequences, question};
use self::decision::{Decision, check_guards, decide};
use self::intent::Intent;
use self::order::{Order, OrderWritten, write};
use self::report::{RoleChangeOutcome, RoleChangeReport};
use self::wait::{Afterwards, Following};
use super::consent;
use super::site_view::{View, look, preview};
use crate::cli::batch::BatchConsent;
use crate::cli::{DryRun, SwitchArgs};
use crate::error::Failure;
use crate::output::confirm::{Consent, declined};
use crate::output::words::words;
use crate::output::{Report as _, Terminal};
use crate::plan::Plan;
use crate::session::Session;

/// How many times a request is decided, each time after another write conflict on the Site.
const ATTEMPTS: usize = 10;

/// What a message says about a transition that was interrupted or timed out.
pub const CONTINUES: &str = "the transition continues: kubectl failover status -w";

pub fn check_usage(
    role: Role,
    args: &SwitchArgs,
    batch: BatchConsent,
    namespace: Option<&str>,
    terminal: Terminal,
) -> Result<(), Failure> {
    let command = words(role).command;
    if let Some(namespace) = namespace {
        return Err(Failure::usage(format!(
            "--namespace does not limit {command}: the role is that of the whole site"
        ))
        .next(format!(
            "leave it out, or show one namespace with kubectl failover plan {command} -n {namespace}"
        )));
    }
    Intent::of(role, args, batch)?;
    break_glass::check_usage(args)?;
    consent(args.yes, args.dry_run, terminal, command)
}

pub async fn run(
    session: &Session<'_>,
    command: Role,
    args: &SwitchArgs,
    batch: BatchConsent,
) -> Result<(), Failure> {
    let intent = Intent::of(command, args, batch)?;
    let (role, words) = (intent.role, words(intent.role));
    if args.break_glass {
        break_glass::nobody_leads(session).await?;
    }
    let mut confirmed = args.dry_run != DryRun::None;
    for _ in 0..ATTEMPTS {
        let view = Box::pin(look(session)).await?;
        let ordered = match decide(&view, &intent, Timestamp::now())? {
            Decision::Settled => {
                batch_consent_is_late(session, &intent.batch);
                return Box::pin(settled(session, &view, role, args)).await;
            }
            Decision::Join { id } => {
                let message = format!(
                    "site {}: the {} is already requested, waiting for it",
                    view.name(),
                    words.noun
                );
                session.screen.note(&message);
                session.is_underway(CONTINUES, "");
                let order = Order::joined(&view, id);
                return Box::pin(finish(session, &view, role, args, &order)).await;
            }
            Decision::Order(ordered) => ordered,
        };
        let mut plan = Box::pin(preview(session, view.name(), role, &view.enrolled)).await?;
        plan.batch = ordered.batch.clone();
        check_guards(&view, &intent, &ordered, &plan)?;
        if !confirmed {
            print_consequences(session, &view, &ordered, &plan);
            let question = question(&view, &intent);
            let consent = Consent::of(
                args.yes,
                session.screen.terminal().interactive,
                words.command,
            )?;
            if !consent.obtain(session.screen, &question).await? {
                return Err(declined());
            }
            confirmed = true;
        }
        if args.dry_run == DryRun::Client {
            print_consequences(session, &view, &ordered, &plan);
            dry_run_report(session, &view, role, args, &plan);
            return Ok(());
        }
        let order = Order::new(session, &view, &intent, args, &ordered).await?;
        match Box::pin(write(session, &order, args)).await? {
            OrderWritten::Yes if args.dry_run == DryRun::Server => {
                dry_run_report(session, &view, role, args, &plan);
                return Ok(());
            }
            OrderWritten::Yes => {
                session.is_underway(CONTINUES, "");
                return Box::pin(finish(session, &view, role, args, &order)).await;
            }
            OrderWritten::Overtaken => {}
        }
    }
    Err(Failure::error(format!(
        "write conflicts with the Site in {ATTEMPTS} attempts: the {} was not requested, nothing was changed",
        words.noun
    ))
    .next("see who writes it (kubectl get site cluster -o yaml --show-managed-fields), then try again"))
}

/// Warns that these consents have no effect: the promotion is over.
fn batch_consent_is_late(session: &Session<'_>, batch: &BatchConsent) {
    if batch.run_missed {
        session
            .screen
            .warn("--run-missed has no effect: the site is primary already");
    }
    if !batch.held_jobs.is_none() {
        session.screen.warn(
            "--run-held-jobs has no effect: the site is primary already. Let a held Job run with: \
             kubectl patch job NAME -n NAMESPACE --type merge -p '{\"spec\":{\"suspend\":false}}'",
        );
    }
}

/// The site has the role and no transition is running: verifies the objects all the same.
async fn settled(
    session: &Session<'_>,
    view: &View,
    role: Role,
    args: &SwitchArgs,
) -> Result<(), Failure> {
    let order = Order::joined(view, String::new());
    let mut following = Following::new(
        session,
        view.name(),
        role,
        &order,
        args.timeout,
        Afterwards::Continues,
    );
    let verified = if args.wait && args.dry_run == DryRun::None {
        Some(following.verified().await?)
    } else {
        None
    };
    drop(following);
    RoleChangeReport::new(
        view,
        role,
        RoleChangeOutcome::Already,
        &order,
        verified.as_ref(),
    )
    .print(args.output, session.screen);
    Ok(())
}

async fn finish(
    session: &Session<'_>,
    view: &View,
    role: Role,
    args: &SwitchArgs,
    order: &Order,
) -> Result<(), Failure> {
    if !args.wait || args.dry_run != DryRun::None || order.when_resumed {
        RoleChangeReport::new(view, role, RoleChangeOutcome::Ordered, order, None)
            .print(args.output, session.screen);
        return Ok(());
    }
    let afterwards = if args.break_glass {
        Afterwards::Stops
    } else {
        Afterwards::Continues
    };
    let name = view.name();
    let mut following = Following::new(session, name, role, order, args.timeout, afterwards);
    let entry = if args.break_glass {
        let mut here = BreakGlass::start(session, &order.request.requested_by);
        let entry = tokio::select! {
            entry = following.settled() => entry,
            failure = here.failed() => return Err(failure),
        };
        here.end().await;
        entry?
    } else {
        following.settled().await?
    };
    let verified = following.verified().await?;
    let caveat = following.caveat();
    drop(following);
    let mut report =
        RoleChangeReport::new(view, role, RoleChangeOutcome::Done, order, Some(&verified));
    report.take_history(&entry);
    report.print(args.output, session.screen);
    if let Some(caveat) = caveat {
        session.screen.warn(&caveat);
    }
    Ok(())
}

fn dry_run_report(session: &Session<'_>, view: &View, role: Role, args: &SwitchArgs, plan: &Plan) {
    let order = Order {
        write: None,
        request: RoleRequest {
            reason: args.reason.clone().unwrap_or_default(),
            overrides: args.overrides.clone(),
            ..RoleRequest::default()
        },
        aborts: args.abort,
        when_resumed: false,
        started: Instant::now(),
    };
    let mut report = RoleChangeReport::new(view, role, RoleChangeOutcome::DryRun, &order, None);
    report.take_plan(plan);
    report.print(args.output, session.screen);
}

#[cfg(test)]
mod tests;
