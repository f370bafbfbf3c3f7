//! Carrying an order out in this process, where no controller does: the controller's own loop, with the caller's rights.

use std::io;

use failover_controller::break_glass::{BreakGlassError, carry_out};
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::level_filters::LevelFilter;

use crate::cli::{DryRun, SwitchArgs};
use crate::error::Failure;
use crate::session::Session;

/// What is said of a change that was interrupted, or not done in time.
pub(super) const STOPS: &str = "the transition stops where it is: nothing continues it";

/// What gives up the wait and goes on by itself contradicts it.
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

/// Refuses where a controller leads: two would get in each other's way.
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

/// The loop, running here. Dropping it stops it.
pub(super) struct BreakGlass {
    work: JoinHandle<Result<(), BreakGlassError>>,
    stop: CancellationToken,
    _stops: DropGuard,
}

impl BreakGlass {
    /// Begins in the name of this user.
    pub(super) fn start(session: &Session<'_>, user: &str) -> Self {
        tell_troubles();
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

    /// Why it could not go on.
    pub(super) async fn failed(&mut self) -> Failure {
        let why = match (&mut self.work).await {
            Ok(Ok(())) => "it was stopped".to_owned(),
            Ok(Err(error)) => failover_runtime::error_chain::causes(&error),
            Err(error) => error.to_string(),
        };
        Failure::error(format!("cannot run the transition from here: {why}"))
            .next("the request is stored; repeat the command with --break-glass")
    }

    /// Stops, and gives the Lease back to the next controller.
    pub(super) async fn end(self) {
        self.stop.cancel();
        // What it ended with was told on the way.
        let _ = self.work.await;
    }
}

/// What the loop has to complain about goes to stderr, as everything that is said beside the result.
fn tell_troubles() {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(io::stderr)
        .with_target(false)
        .without_time()
        .finish();
    // Set already: it is the one.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
