//! The commands, one file or folder each.

pub mod completion;
pub mod enroll;
pub mod exempt;
pub mod history;
pub mod install;
pub mod leave_guards;
pub mod pause;
pub mod plan;
pub mod poll;
mod preflight;
pub mod role_change;
pub mod rule;
pub mod site_view;
pub mod status;
pub mod unenroll;
pub mod uninstall;
pub mod version;

use failover_core::Role;

use crate::cli::batch::BatchConsent;
use crate::cli::{Cli, Command, DryRun};
use crate::error::Failure;
use crate::output::Terminal;
use crate::output::confirm::Consent;
use crate::session::Session;

/// What can be said about a command line before anything is asked of a cluster.
pub fn check_usage(cli: &Cli, terminal: Terminal) -> Result<(), Failure> {
    match &cli.command {
        Command::Promote(args) => role_change::check_usage(
            Role::Primary,
            &args.switch,
            args.batch.consent(),
            cli.connection.namespace.as_deref(),
            terminal,
        ),
        Command::Demote(args) => role_change::check_usage(
            Role::Secondary,
            &args.switch,
            BatchConsent::default(),
            cli.connection.namespace.as_deref(),
            terminal,
        ),
        Command::Enroll(args) => {
            enroll::check_usage(args)?;
            consent(args.yes, DryRun::None, terminal, "enroll")
        }
        Command::Unenroll(args) => {
            leave_guards::overrides(&args.overrides)?;
            consent(args.yes, DryRun::None, terminal, "unenroll")
        }
        Command::Exempt(args) => consent(args.yes, args.dry_run, terminal, "exempt"),
        Command::Uninstall(args) => {
            leave_guards::overrides(&args.overrides)?;
            consent(args.yes, args.dry_run, terminal, "uninstall")
        }
        Command::Rule(args) => rule::check_usage(args, terminal),
        Command::Plan(args) => plan::check_usage(args),
        // `install` asks only where it would change running objects. A pause stops what moves, and can be ended.
        Command::Install(_)
        | Command::Status(_)
        | Command::History(_)
        | Command::Pause(_)
        | Command::Resume(_)
        | Command::Version(_)
        | Command::Completion(_) => Ok(()),
    }
}

fn consent(yes: bool, dry_run: DryRun, terminal: Terminal, command: &str) -> Result<(), Failure> {
    if dry_run != DryRun::None {
        return Ok(());
    }
    Consent::of(yes, terminal.interactive, command).map(|_| ())
}

pub async fn run(cli: &Cli, session: &Session<'_>) -> Result<(), Failure> {
    let namespace = cli.connection.namespace.as_deref();
    match &cli.command {
        Command::Status(args) => status::run(session, args, namespace).await,
        Command::Plan(args) => plan::run(session, args, namespace).await,
        Command::Promote(args) => {
            role_change::run(session, Role::Primary, &args.switch, args.batch.consent()).await
        }
        Command::Demote(args) => {
            role_change::run(
                session,
                Role::Secondary,
                &args.switch,
                BatchConsent::default(),
            )
            .await
        }
        Command::History(args) => history::run(session, args).await,
        Command::Pause(args) => pause::pause(session, args).await,
        Command::Resume(args) => pause::resume(session, args).await,
        Command::Enroll(args) => enroll::run(session, args).await,
        Command::Unenroll(args) => unenroll::run(session, args).await,
        Command::Exempt(args) => exempt::run(session, args, namespace).await,
        Command::Rule(args) => rule::run(session, args).await,
        Command::Install(args) => install::run(session, args).await,
        Command::Uninstall(args) => uninstall::run(session, args).await,
        Command::Version(args) => version::run(session, args).await,
        Command::Completion(args) => {
            completion::script(args, session.screen);
            Ok(())
        }
    }
}
