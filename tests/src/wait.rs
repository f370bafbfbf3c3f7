//! Waiting for a condition, with a deadline and a message that says what was waited for.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take unless a test says otherwise. Generous: it is only spent when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Polls until the answer is `Ok`. The error says what is still missing; a panic shows the last one.
///
/// # Panics
/// If [`PATIENCE`] runs out.
#[track_caller]
pub fn eventually<T, E, F, Fut>(what: &str, ask: F) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Debug,
{
    eventually_within(PATIENCE, what, ask)
}

/// As [`eventually`], with its own deadline.
///
/// # Panics
/// If `patience` runs out.
#[track_caller]
pub fn eventually_within<T, E, F, Fut>(
    patience: Duration,
    what: &str,
    mut ask: F,
) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Debug,
{
    let caller = std::panic::Location::caller();
    async move {
        let started = Instant::now();
        let deadline = started + patience;
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(missing) => {
                    assert!(
                        Instant::now() < deadline,
                        "{caller}: not within {patience:?}: {what}: {missing:?}"
                    );
                    // Polls less often over time.
                    let pause = (started.elapsed() / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}
