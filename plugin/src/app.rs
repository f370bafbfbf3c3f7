//! From the arguments to the exit code.

use std::ffi::OsString;

use clap::Parser as _;

use crate::cli::{Cli, Command, RuleCommand};
use crate::cluster::Cluster;
use crate::commands::{self, completion};
use crate::connection::{Environment, connect};
use crate::error::Failure;
use crate::exit_code::ExitCode;
use crate::output::document::{Notation, of_failure, render};
use crate::output::{Format, Screen, Terminal, Tone};
use crate::session::Session;

/// Runs the command line and says what the process should end with.
pub fn main(args: Vec<OsString>) -> ExitCode {
    // An error means that there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let screen = Screen::standard(Terminal::detect());
    if completion::is_asked_for(&args) {
        return completion::answer(&args, &screen);
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() {
                ExitCode::Usage
            } else {
                ExitCode::Done
            };
            // Help into a pipe that was closed is help that nobody reads.
            let _ = error.print();
            return code;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(&cli, &screen));
            // A question that was interrupted leaves a thread in `read` behind.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::error(format!("cannot start: {error}"))),
    };
    match result {
        Ok(()) => ExitCode::Done,
        Err(failure) => {
            screen.tell(Tone::Bad, &format!("error: {failure}"));
            if let Some(notation) = notation(&cli.command).filter(|_| !failure.has_document) {
                screen.raw(&render(notation, &of_failure(&failure)));
            }
            failure.exit
        }
    }
}

async fn run(cli: &Cli, screen: &Screen) -> Result<(), Failure> {
    match &cli.command {
        Command::Completion(args) => {
            completion::script(args, screen);
            return Ok(());
        }
        Command::Version(args) if args.client => {
            commands::version::client_only(args, screen);
            return Ok(());
        }
        Command::Rule(args) if commands::rule::is_rendering(args) => {
            return commands::rule::render(args, screen);
        }
        Command::Install(args) if commands::install::is_rendering(args) => {
            return commands::install::render(args, screen);
        }
        _ => {}
    }
    commands::check_usage(cli, screen.terminal())?;
    let connection = connect(&cli.connection, &Environment::read()).await;
    if let (Err(error), Command::Version(args)) = (&connection, &cli.command) {
        screen.warn(&error.to_string());
        commands::version::client_only(args, screen);
        return Ok(());
    }
    let cluster = Cluster::new(connection.map_err(|error| Failure::error(error.to_string()))?);
    let session = Session::new(cluster, screen);
    tokio::select! {
        result = Box::pin(commands::run(cli, &session)) => result,
        () = interrupted() => {
            if screen.terminal().interactive {
                screen.note(""); // the terminal has echoed ^C on the line
            }
            Err(session.interrupted())
        }
    }
}

/// Ctrl-C; never, where it cannot be listened for.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The notation in which a failure is printed on stdout as well.
fn notation(command: &Command) -> Option<Notation> {
    let format = match command {
        Command::Status(args) => Some(args.output),
        Command::Plan(args) => args.output.plain(),
        Command::Promote(args) => Some(args.switch.output),
        Command::Demote(args) => Some(args.switch.output),
        Command::History(args) => Some(args.output),
        Command::Pause(args) => Some(args.write.output),
        Command::Resume(args) => Some(args.write.output),
        Command::Enroll(args) => Some(args.output),
        Command::Unenroll(args) => Some(args.output),
        Command::Exempt(args) => Some(args.output),
        Command::Rule(args) => Some(match &args.command {
            RuleCommand::Apply(args) => args.output,
            RuleCommand::List(args) => args.output,
            RuleCommand::Delete(args) => args.output,
        }),
        Command::Install(args) => Some(args.output),
        Command::Uninstall(args) => Some(args.output),
        Command::Version(args) => Some(args.output),
        Command::Completion(_) => None,
    };
    format.and_then(Format::notation)
}
