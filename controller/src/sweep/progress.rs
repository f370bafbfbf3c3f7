//! The progress of a sweep.

use std::sync::atomic::{AtomicI64, Ordering};

use failover_core::transition::SweepProgress;

/// Counted by the sweep's task, read by the loop.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicI64,
    done: AtomicI64,
}

impl Progress {
    /// `total` objects have been seen, of which `done` need nothing.
    pub fn seen(&self, total: i64, done: i64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    pub fn one_done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub fn read(&self) -> SweepProgress {
        let total = self.total.load(Ordering::Relaxed);
        let done = self.done.load(Ordering::Relaxed).min(total);
        SweepProgress { total, done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn done_never_exceeds_total() {
        let progress = Progress::default();
        progress.seen(2, 1);
        progress.one_done();
        progress.one_done();
        assert_eq!(progress.read(), SweepProgress { total: 2, done: 2 });
    }
}
