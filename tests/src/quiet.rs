//! What keeps tests that run side by side out of each other's way.
//!
//! A running control plane costs next to nothing while a test waits; one that starts keeps a core busy for five seconds. So only
//! as many start at a time as there are cores, and none does while a test measures.

use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::sync::{Semaphore, SemaphorePermit};

static CORES: LazyLock<u32> = LazyLock::new(|| {
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(u32::MAX)
});

static STARTS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(*CORES as usize));

/// As long as it is held no control plane starts, and nobody else has another.
#[derive(Debug)]
pub struct Quiet {
    _permits: SemaphorePermit<'static>,
}

/// For a test that depends on how soon something is answered, from when its own site is up until it has measured.
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
        let held = quiet().await;
        assert!(start().now_or_never().is_none());
        drop(held);
        assert!(start().now_or_never().is_some());
    }
}
