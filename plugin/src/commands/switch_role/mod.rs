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

mod break_glass;
mod course;
mod follow;
mod report;
mod sight;
mod verify;
mod wish;

use failover_core::Role;
use failover_core::api::{Mode, RoleRequest};
use failover_core::guard::{GuardId, Hold, Overrides};
use jiff::Timestamp;
use tokio::time::Instant;

use self::break_glass::BreakGlass;
use self::course::{Course, Ordered, course, guards};
use self::follow::Following;
use self::report::{Outcome, Report};
use self::wish::Wish;
use super::look::{View, look, preview};
use super::{Session, consent, summary};
use crate::cli::{DryRun, SwitchArgs};
use crate::cluster::{ApiError, SiteWrite, WriteError};
use crate::failure::Failure;
use crate::output::{Terminal, clean};
use crate::preview::{BatchConsent, Plan};
use crate::prompt::{Consent, declined};

/// How often an order is decided anew because the Site changed meanwhile. Each time something else must have written it.
const ATTEMPTS: usize = 10;

/// What is said of a change that was interrupted, or not waited for to the end.
pub const GOES_ON: &str = "the change goes on: kubectl failover status -w";

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
            "leave it out, or look at one namespace with kubectl failover plan {command} -n {namespace}"
        )));
    }
    Wish::of(role, args, batch)?;
    break_glass::check_usage(args)?;
    consent(args.yes, args.dry_run, terminal, command)
}

pub async fn run(
    session: &Session<'_>,
    command: Role,
    args: &SwitchArgs,
    batch: BatchConsent,
) -> Result<(), Failure> {
    let wish = Wish::of(command, args, batch)?;
    let (role, words) = (wish.role, words(wish.role));
    if args.break_glass {
        break_glass::nobody_leads(session).await?;
    }
    let mut asked = args.dry_run != DryRun::None;
    for _ in 0..ATTEMPTS {
        let view = look(session).await?;
        let ordered = match course(&view, &wish, Timestamp::now())? {
            Course::Settled => return settled(session, &view, role, args).await,
            Course::Join { id } => {
                let message = format!(
                    "site {}: the {} is ordered already, waiting for it",
                    view.name(),
                    words.noun
                );
                session.screen.note(&message);
                session.is_underway(GOES_ON, "");
                return finish(session, &view, role, args, &Order::joined(&view, id)).await;
            }
            Course::Order(ordered) => ordered,
        };
        let mut plan = preview(session, view.name(), role, &view.enrolled).await?;
        plan.batch = ordered.batch;
        guards(&view, &wish, &ordered, &plan)?;
        hopeless_hold(&plan, &Overrides::parse_known(&ordered.overrides), role)?;
        if !asked {
            say_what_it_means(session, &view, &ordered, &plan);
            let question = question(&view, &wish);
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
            say_what_it_means(session, &view, &ordered, &plan);
            dry_run_report(session, &view, role, args, &plan);
            return Ok(());
        }
        let order = Order::new(session, &view, &wish, args, &ordered).await?;
        match write(session, &order, args).await? {
            Written::Yes if args.dry_run == DryRun::Server => {
                dry_run_report(session, &view, role, args, &plan);
                return Ok(());
            }
            Written::Yes => {
                session.is_underway(GOES_ON, "");
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

fn question(view: &View, wish: &Wish) -> String {
    let name = view.name();
    if wish.abort {
        let (back, there) = (words(wish.role), words(wish.role.opposite()));
        return format!(
            "Turn the {} of site {name} round and {} it?",
            there.noun, back.command
        );
    }
    format!(
        "{} site {name} to {}?",
        capitalised(words(wish.role).command),
        wish.role
    )
}

/// What a person should have read before they answer.
fn say_what_it_means(session: &Session<'_>, view: &View, ordered: &Ordered, plan: &Plan) {
    let screen = session.screen;
    screen.note(&summary::of_change(plan, session.cluster.connection()));
    if !ordered.inherited.is_empty() {
        screen.note(&format!(
            "  the overrides of the order that it repeats hold on: {}",
            clean(&ordered.inherited.join(", "))
        ));
    }
    match (ordered.mode, view.site.spec.mode) {
        (Mode::Unsafe, _) => screen.warn(match plan.role {
            Role::Secondary => "mode unsafe: all layers move at once. Nothing waits until the pods are gone before the volumes turn: what they still write may be lost",
            Role::Primary => "mode unsafe: all layers move at once. Nothing waits until the volumes are confirmed before pods start on them: what is written may be lost",
        }),
        (Mode::Safe, Mode::Unsafe) => {
            screen.note("  the Site's mode was unsafe; this order is carried out safely (--mode unsafe says otherwise)");
        }
        (Mode::Safe, Mode::Safe) => {}
    }
}

/// An order that has been written, by us or by somebody else.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) write: Option<SiteWrite>,
    pub(super) request: RoleRequest,
    /// It turns a change the other way round.
    pub(super) turns_round: bool,
    /// The site is paused.
    pub(super) when_resumed: bool,
    pub(super) started: Instant,
}

impl Order {
    async fn new(
        session: &Session<'_>,
        view: &View,
        wish: &Wish,
        args: &SwitchArgs,
        ordered: &Ordered,
    ) -> Result<Self, Failure> {
        let request = RoleRequest {
            id: format!("{:032x}", rand::random::<u128>()),
            requested_by: session.cluster.user_name().await?,
            reason: args.reason.clone().unwrap_or_default(),
            overrides: ordered.overrides.clone(),
            run_missed: ordered.batch.run_missed,
            run_held_jobs: ordered.batch.run_held_jobs,
            ..RoleRequest::default()
        };
        Ok(Self {
            write: Some(SiteWrite {
                resource_version: view.resource_version(),
                role: wish.role,
                epoch: ordered.epoch,
                mode: Some(ordered.mode).filter(|mode| *mode != view.site.spec.mode),
                request: request.clone(),
            }),
            request,
            turns_round: wish.abort,
            when_resumed: ordered.when_resumed,
            started: Instant::now(),
        })
    }

    fn joined(view: &View, id: String) -> Self {
        let request = view.site.spec.request.clone().unwrap_or_default();
        Self {
            write: None,
            request: RoleRequest { id, ..request },
            turns_round: false,
            when_resumed: false,
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
    if !args.wait || args.dry_run != DryRun::None || order.when_resumed {
        Report::new(view, role, Outcome::Ordered, order, None).print(session.screen, args.output);
        return Ok(());
    }
    let mut following = Following::new(session, view.name(), role, order, args.timeout);
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
        turns_round: args.abort,
        when_resumed: false,
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
