//! How far a sweep has come, as `status.transition.steps[]` shows it.
//!
//! The decision knows nothing of a sweep until it is finished, and writes zeros while it runs. So progress is put into the
//! status on its way out and taken out of it on its way in.

use std::sync::atomic::{AtomicI64, Ordering};

use failover_core::api::{SiteStatus, Step, StepState};
use failover_core::transition::SWEEPING;

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

    /// `(total, done)`
    pub fn read(&self) -> (i64, i64) {
        let total = self.total.load(Ordering::Relaxed);
        (total, self.done.load(Ordering::Relaxed).min(total))
    }
}

/// Puts progress into the sweep's step, where one is running. Returns whether that says anything new.
pub fn put(status: &mut SiteStatus, (total, done): (i64, i64)) -> bool {
    let Some(step) = running_sweep(status) else {
        return false;
    };
    let news = (step.total, step.done) != (total, done);
    (step.total, step.done) = (total, done);
    news
}

/// Takes it out again.
pub fn take_out(status: &mut SiteStatus) {
    put(status, (0, 0));
}

fn running_sweep(status: &mut SiteStatus) -> Option<&mut Step> {
    status
        .transition
        .as_mut()?
        .steps
        .iter_mut()
        .find(|step| step.state == StepState::Running && step.doing == SWEEPING)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(sweep: &str) -> SiteStatus {
        serde_json::from_value(json!({ "transition": {
            "id": "1", "to": "secondary", "epoch": 1, "startedAt": "2026-01-01T00:00:00Z",
            "steps": [
                { "name": "traffic", "state": "Done", "total": 2, "done": 2 },
                { "name": "workloads", "state": sweep, "doing": SWEEPING, "total": 9, "done": 9 }
            ]
        } }))
        .unwrap()
    }

    #[test]
    fn only_a_running_sweep_shows_progress() {
        let mut running = status("Running");
        assert!(put(&mut running, (40, 12)));
        assert!(!put(&mut running, (40, 12)), "nothing new");
        let step = running.transition.as_ref().unwrap().steps[1].clone();
        assert_eq!((step.total, step.done), (40, 12));
        take_out(&mut running);
        let steps = running.transition.unwrap().steps;
        assert_eq!((steps[1].total, steps[1].done), (0, 0));
        assert_eq!((steps[0].total, steps[0].done), (2, 2));

        let mut done = status("Done");
        assert!(!put(&mut done, (40, 12)));
        assert_eq!(done, status("Done"));
    }

    #[test]
    fn never_more_is_done_than_there_is() {
        let progress = Progress::default();
        progress.seen(2, 1);
        progress.one_done();
        progress.one_done();
        assert_eq!(progress.read(), (2, 2));
    }
}
