//! `--break-glass`: runs the controller's reconcile loop in this process, with the caller's rights, where no controller leads.

use std::io;

use failover_controller::break_glass::{BreakGlassError, carry_out};
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::level_filters::LevelFilter;

use crate::cli::{DryRun, SwitchArgs};
use crate::error::Failure;
use crate::session::Session;

/// What a message says about a transition that was interrupted or timed out.
pub(super) const STOPS: &str = "the transition stops where it is: nothing continues it";

/// `--break-glass` needs the command to run until the end, and is not a dry run.
pub(super) fn check_usage(args: &SwitchArgs) -> Result<(), Failure> {
    if args.break_glass && !args.wait {
        return Err(Failure::usage(
            "--break-glass and --wait=false contradict each other: the change is carried out for as long as this command runs",
        )
        .next("leave one of them out"));
    }
    if args.break_glass && args.dry_run != DryRun::None {
        return Err(Failure::usage(
            "--break-glass and --dry-run contradict each other: a dry run carries nothing out",
        )
        .next("leave one of them out"));
    }
    Ok(())
}

/// Refuses if a controller leads: two of them would conflict.
pub(super) async fn nobody_leads(session: &Session<'_>) -> Result<(), Failure> {
    let Some(lease) = session.cluster.leadership().await? else {
        return Ok(());
    };
    if !lease.looks_alive(Timestamp::now()) {
        return Ok(());
    }
    let holder = lease.holder.unwrap_or_default();
    Err(Failure::refused(format!(
        "--break-glass is refused, and nothing was changed: a controller leads ({holder})"
    ))
    .next("leave --break-glass out; if that controller is dead, its Lease expires within half a minute: try again then"))
}

/// The reconcile loop, running in this process. Dropping it stops the loop.
pub(super) struct BreakGlass {
    work: JoinHandle<Result<(), BreakGlassError>>,
    stop: CancellationToken,
    _stops: DropGuard,
}

impl BreakGlass {
    /// Starts the loop in the name of this user.
    pub(super) fn start(session: &Session<'_>, user: &str) -> Self {
        log_warnings();
        session.is_underway(
            STOPS,
            "repeat the command with --break-glass, or start a controller: both continue from there",
        );
        let config = session.cluster.connection().config.clone();
        let stop = CancellationToken::new();
        let (name, stopped) = (format!("kubectl-failover/{user}"), stop.clone());
        Self {
            work: tokio::spawn(async move { carry_out(&config, &name, &stopped).await }),
            _stops: stop.clone().drop_guard(),
            stop,
        }
    }

    /// Waits until the loop ends early, and returns why.
    pub(super) async fn failed(&mut self) -> Failure {
        let why = match (&mut self.work).await {
            Ok(Ok(())) => "it was stopped".to_owned(),
            Ok(Err(error)) => failover_runtime::error_chain::causes(&error),
            Err(error) => error.to_string(),
        };
        Failure::error(format!("cannot run the transition from here: {why}"))
            .next("the request is stored; repeat the command with --break-glass")
    }

    /// Stops the loop, which releases the leader Lease.
    pub(super) async fn end(self) {
        self.stop.cancel();
        // Its failures were logged while it ran.
        let _ = self.work.await;
    }
}

/// Writes the warnings of the loop to stderr, like everything but the result.
fn log_warnings() {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(io::stderr)
        .with_target(false)
        .without_time()
        .finish();
    // It fails only if a subscriber is set already.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
