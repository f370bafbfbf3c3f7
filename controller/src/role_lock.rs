//! One at a time: either the effective roles move, or somebody writes on the strength of what they are.
//!
//! A sweep under roles that have changed meanwhile is worse than none: it would make passive what has just been restored.
//! The loop stops its own sweep before it labels namespaces; whoever else sweeps does so [under the lock](RoleLock::within),
//! and is dropped as soon as the roles are to move.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, watch};

/// Shared by the loop and by those who sweep beside it.
#[derive(Clone, Debug)]
pub struct RoleLock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lock: Mutex<()>,
    /// How many are waiting to move the roles.
    waiting: watch::Sender<usize>,
}

impl Default for RoleLock {
    fn default() -> Self {
        Self(Arc::new(Inner {
            lock: Mutex::default(),
            waiting: watch::Sender::new(0),
        }))
    }
}

impl RoleLock {
    /// Waits until nobody relies on the roles any more. They may move until the guard is dropped.
    pub async fn moving(&self) -> MutexGuard<'_, ()> {
        self.0.waiting.send_modify(|waiting| *waiting += 1);
        let _over = Waiting(&self.0.waiting);
        self.0.lock.lock().await
    }

    /// Runs work that relies on the roles staying as they are; `None` where it was dropped because they are to move.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut waiting = self.0.waiting.subscribe();
        let _still = self.0.lock.lock().await;
        tokio::select! {
            biased;
            _ = waiting.wait_for(|waiting| *waiting > 0) => None,
            done = work => Some(done),
        }
    }
}

/// Counts down also where the waiting itself is dropped.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn what_relies_on_the_roles_is_dropped_when_they_are_to_move() {
        let role_lock = RoleLock::default();
        let started = tokio::sync::Notify::new();
        let work = role_lock.within(async {
            started.notify_one();
            pending::<()>().await;
        });
        let mover = async {
            started.notified().await;
            drop(role_lock.moving().await);
        };
        let (done, ()) = tokio::join!(work, mover);
        assert_eq!(done, None);
        assert_eq!(
            role_lock.within(ready(7)).await,
            Some(7),
            "and then goes on"
        );
    }

    #[tokio::test]
    async fn nothing_relies_on_roles_that_are_moving() {
        let role_lock = RoleLock::default();
        let moving = role_lock.moving().await;
        let mut work = std::pin::pin!(role_lock.within(ready(7)));
        let early = futures::poll!(work.as_mut());
        assert!(early.is_pending());
        drop(moving);
        assert_eq!(work.await, Some(7));
    }
}
