//! Work beside the reconcile loop: polled while the loop waits, dropped with it. No reconcile waits for it.

use std::pin::Pin;

type Future<T> = Pin<Box<dyn futures::Future<Output = T> + Send>>;

/// One piece of work at a time.
pub struct Slot<T>(Option<Future<T>>);

impl<T> std::fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Slot").field(&self.is_busy()).finish()
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Slot<T> {
    pub fn is_busy(&self) -> bool {
        self.0.is_some()
    }

    /// Starts this work in place of the running one.
    pub fn start(&mut self, work: impl futures::Future<Output = T> + Send + 'static) {
        self.0 = Some(Box::pin(work));
    }

    pub fn stop(&mut self) {
        self.0 = None;
    }

    /// Waits for the running work; for ever if there is none. Dropping this future keeps the work.
    pub async fn finish(&mut self) -> T {
        match &mut self.0 {
            Some(work) => {
                let done = work.await;
                self.0 = None;
                done
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_slot_that_is_done_can_be_used_again() {
        let mut slot = Slot::default();
        slot.start(pending());
        assert!(futures::poll!(std::pin::pin!(slot.finish())).is_pending());
        slot.start(ready(7));
        assert_eq!(slot.finish().await, 7);
        assert!(!slot.is_busy());
        slot.start(ready(8));
        slot.stop();
        assert!(futures::poll!(std::pin::pin!(slot.finish())).is_pending());
    }
}
