//! Work that computes for longer than a task may block.
//!
//! The loop and the renewal of its Lease share one task. Work that takes tens of milliseconds on a big cluster runs on
//! its own thread instead.

/// Runs `work` on a blocking thread and waits for it without blocking the task. If the wait is dropped, the work still
/// runs to its end: it must not write anything.
pub async fn off_task<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nobody aborts it, so the runtime is shutting down, and the waiting task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
