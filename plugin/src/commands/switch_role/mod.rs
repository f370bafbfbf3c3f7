//! `promote` and `demote`: guards, plan, question, order, waiting, verification, in this order.
//!
//! ```text
//!   look ──► course ──┬─► settled ────────────────────────────┐
//!     ▲               ├─► join (ordered already) ───────────┐ │
//!     │               └─► order: plan ─► ask ─► write ──┐   │ │
//!     └──────────── the Site changed meanwhile ◄────────┤   │ │
//!                                                       ▼   ▼ ▼
//!                                      follow the controller ► verify ► report
//! ```
//!
//! Success is what an own list of every object shows, never what the controller or this command intended.

mod course;
mod follow;
mod report;
mod sight;
mod verify;

use failover_core::Role;
use failover_core::api::RoleRequest;
use failover_core::guard::{GuardId, Hold, Overrides};
use tokio::time::Instant;

use self::course::{Course, Ordered};
use self::follow::Following;
use self::report::{Outcome, Report};
use super::look::{View, look, preview};
use super::{Session, consent, summary};
use crate::cli::{DryRun, SwitchArgs};
use crate::cluster::{ApiError, SiteWrite, WriteError};
use crate::failure::Failure;
use crate::output::Terminal;
use crate::preview::Plan;
use crate::prompt::{Consent, declined};

/// How often an order is decided anew because the Site changed meanwhile. Each time something else must have written it.
const ATTEMPTS: usize = 10;

/// The words of a direction.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    pub command: &'static str,
    pub noun: &'static str,
    pub done: &'static str,
}

pub fn words(role: Role) -> Words {
    match role {
        Role::Primary => Words {
            command: "promote",
            noun: "promotion",
            done: "promoted",
        },
        Role::Secondary => Words {
            command: "demote",
            noun: "demotion",
            done: "demoted",
        },
    }
}

pub fn check_usage(
    role: Role,
    args: &SwitchArgs,
    namespace: Option<&str>,
    terminal: Terminal,
) -> Result<(), Failure> {
    let command = words(role).command;
    if let Some(namespace) = namespace {
        return Err(Failure::usage(format!(
            "--namespace does not limit {command}: the role is that of the whole site"
        ))
        .next(format!(
            "leave it out, or look at one namespace with kubectl failover plan {command} -n {namespace}"
        )));
    }
    course::check_overrides(role, &args.overrides)?;
    consent(args.yes, args.dry_run, terminal, command)
}

pub async fn run(session: &Session<'_>, role: Role, args: &SwitchArgs) -> Result<(), Failure> {
    let words = words(role);
    let overrides = course::check_overrides(role, &args.overrides)?;
    let mut asked = args.dry_run != DryRun::None;
    for _ in 0..ATTEMPTS {
        let view = look(session).await?;
        let ordered = match course::course(&view, role, &overrides)? {
            Course::Settled => return settled(session, &view, role, args).await,
            Course::Join { id } => {
                let message = format!(
                    "site {}: the {} is ordered already, waiting for it",
                    view.name(),
                    words.noun
                );
                session.screen.note(&message);
                return finish(session, &view, role, args, &Order::joined(&view, id)).await;
            }
            Course::Order(ordered) => ordered,
        };
        let plan = preview(session, view.name(), role, &view.enrolled).await?;
        hopeless_hold(&plan, &overrides, role)?;
        if !asked {
            session
                .screen
                .note(&summary::of_change(&plan, session.cluster.connection()));
            let question = format!(
                "{} site {} to {role}?",
                capitalised(words.command),
                view.name()
            );
            let consent = Consent::of(
                args.yes,
                session.screen.terminal().interactive,
                words.command,
            )?;
            if !consent.obtain(session.screen, &question).await? {
                return Err(declined());
            }
            asked = true;
        }
        if args.dry_run == DryRun::Client {
            session
                .screen
                .note(&summary::of_change(&plan, session.cluster.connection()));
            dry_run_report(session, &view, role, args, &plan);
            return Ok(());
        }
        let order = Order::new(session, &view, role, args, &ordered).await?;
        match write(session, &order, args).await? {
            Written::Yes if args.dry_run == DryRun::Server => {
                dry_run_report(session, &view, role, args, &plan);
                return Ok(());
            }
            Written::Yes => {
                session.is_underway(
                    format!(
                        "the {} of site {} is ordered and goes on",
                        words.noun,
                        view.name()
                    ),
                    "follow it with kubectl failover status",
                );
                return finish(session, &view, role, args, &order).await;
            }
            Written::Overtaken => {}
        }
    }
    Err(Failure::error(format!(
        "the Site changed {ATTEMPTS} times while the {} was being ordered: nothing was changed",
        words.noun
    ))
    .next("see who writes it (kubectl get site cluster -o yaml --show-managed-fields), then try again"))
}

/// An order that has been written, by us or by somebody else.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) write: Option<SiteWrite>,
    pub(super) request: RoleRequest,
    pub(super) started: Instant,
}

impl Order {
    async fn new(
        session: &Session<'_>,
        view: &View,
        role: Role,
        args: &SwitchArgs,
        ordered: &Ordered,
    ) -> Result<Self, Failure> {
        let request = RoleRequest {
            id: format!("{:032x}", rand::random::<u128>()),
            requested_by: session.cluster.user_name().await?,
            reason: args.reason.clone().unwrap_or_default(),
            overrides: args.overrides.clone(),
            ..RoleRequest::default()
        };
        Ok(Self {
            write: Some(SiteWrite {
                resource_version: view.resource_version(),
                role,
                epoch: ordered.epoch,
                request: request.clone(),
            }),
            request,
            started: Instant::now(),
        })
    }

    fn joined(view: &View, id: String) -> Self {
        let request = view.site.spec.request.clone().unwrap_or_default();
        Self {
            write: None,
            request: RoleRequest { id, ..request },
            started: Instant::now(),
        }
    }
}

enum Written {
    Yes,
    /// Somebody else wrote the Site first.
    Overtaken,
}

async fn write(
    session: &Session<'_>,
    order: &Order,
    args: &SwitchArgs,
) -> Result<Written, Failure> {
    let write = order.write.as_ref().expect("an order of ours");
    let dry_run = args.dry_run == DryRun::Server;
    match session.cluster.order(write, dry_run).await {
        Ok(_) => Ok(Written::Yes),
        Err(WriteError::Conflict) => Ok(Written::Overtaken),
        // It may have been stored, and the answer lost.
        Err(WriteError::Api(
            error @ (ApiError::Unreachable { sent: true, .. } | ApiError::Busy { .. }),
        )) if !dry_run => {
            session.is_underway(
                "whether the order was written is not known",
                "look with kubectl failover status",
            );
            if follow::was_written(session, order, args.timeout, &error).await? {
                Ok(Written::Yes)
            } else {
                Err(Failure::error(format!("{error}: nothing was changed")).next("try again"))
            }
        }
        Err(WriteError::Api(error)) => {
            let mut failure = Failure::from(error);
            failure.message.push_str(": nothing was changed");
            Err(failure)
        }
    }
}

/// The site is in that role, and no transition is under way: that it holds is checked all the same.
async fn settled(
    session: &Session<'_>,
    view: &View,
    role: Role,
    args: &SwitchArgs,
) -> Result<(), Failure> {
    let order = Order::joined(view, String::new());
    let mut following = Following::new(session, view.name(), role, &order, args.timeout);
    let verified = if args.wait && args.dry_run == DryRun::None {
        Some(following.verified().await?)
    } else {
        None
    };
    drop(following);
    Report::new(view, role, Outcome::Already, &order, verified.as_ref())
        .print(session.screen, args.output);
    Ok(())
}

async fn finish(
    session: &Session<'_>,
    view: &View,
    role: Role,
    args: &SwitchArgs,
    order: &Order,
) -> Result<(), Failure> {
    if !args.wait || args.dry_run != DryRun::None {
        Report::new(view, role, Outcome::Ordered, order, None).print(session.screen, args.output);
        return Ok(());
    }
    let mut following = Following::new(session, view.name(), role, order, args.timeout);
    let entry = following.settled().await?;
    let verified = following.verified().await?;
    let caveat = following.caveat();
    drop(following);
    let mut report = Report::new(view, role, Outcome::Done, order, Some(&verified));
    report.take_history(&entry);
    report.print(session.screen, args.output);
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
        started: Instant::now(),
    };
    let mut report = Report::new(view, role, Outcome::DryRun, &order, None);
    report.take_plan(plan);
    report.print(session.screen, args.output);
}

/// Objects that can never come to agree would stall the transition half way: better said before it starts.
fn hopeless_hold(plan: &Plan, overrides: &Overrides, role: Role) -> Result<(), Failure> {
    let holds: Vec<Hold> = plan
        .hopeless
        .iter()
        .map(|(object, why)| (object.to_string(), why))
        .filter(|(object, _)| !overrides.allows_object(GuardId::NotConforming, object))
        .map(|(object, why)| Hold {
            guard: GuardId::NotConforming,
            message: why.clone(),
            hint: format!(
                "put it right, or go on without it: --override not-conforming={object} --reason TEXT"
            ),
            object: Some(object),
        })
        .collect();
    if holds.is_empty() {
        return Ok(());
    }
    Err(Failure::held(
        format!("{} of site {}", words(role).noun, plan.site),
        holds,
    ))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

#[cfg(test)]
mod tests;
