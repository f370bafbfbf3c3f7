//! Work that computes for longer than a task may be held.
//!
//! The loop, and the renewal of the Lease that lets it lead, share one task. What takes tens of milliseconds on a big cluster is
//! done on a thread of its own meanwhile.

/// Runs `work` on a thread for such work, and waits for it without holding the task. Where the waiting is dropped, the work
/// still runs to its end: it must not write anything.
pub async fn off_task<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nobody aborts it; the runtime is shutting down, and so is whoever waits.
            Err(_) => std::future::pending().await,
        },
    }
}
