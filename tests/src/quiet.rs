//! Keeps concurrent tests from disturbing each other.
//!
//! A running control plane is cheap while a test waits; a starting one keeps a core busy for five seconds. So only as many
//! start at a time as there are cores, and none starts while a test measures.

use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::sync::{Semaphore, SemaphorePermit};

static CORES: LazyLock<u32> = LazyLock::new(|| {
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(u32::MAX)
});

static STARTS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(*CORES as usize));

/// While this is held no control plane starts, and nobody else holds another.
#[derive(Debug)]
pub struct Quiet {
    _permits: SemaphorePermit<'static>,
}

/// For a test that measures durations; to be held from when its own site is up until it has measured.
pub async fn quiet() -> Quiet {
    Quiet {
        _permits: acquire(*CORES).await,
    }
}

/// Held while a control plane starts.
pub(crate) async fn start() -> SemaphorePermit<'static> {
    acquire(1).await
}

async fn acquire(permits: u32) -> SemaphorePermit<'static> {
    let acquired = STARTS.acquire_many(permits).await;
    acquired.expect("the semaphore is never closed")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn nothing_starts_while_it_is_quiet() {
        let quiet_time = quiet().await;
        assert!(start().now_or_never().is_none());
        drop(quiet_time);
        assert!(start().now_or_never().is_some());
    }
}
