//! Mutual exclusion between changing the effective roles and writing objects on the basis of them.
//!
//! A sweep under stale roles does harm: it would make passive what has just been restored. The loop stops its own sweep
//! before it labels namespaces. Everything else that sweeps does so [under the lock](RoleLock::within), and is dropped
//! as soon as the roles are about to change.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, watch};

/// Shared by the loop and by everything that sweeps beside it.
#[derive(Clone, Debug)]
pub struct RoleLock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lock: Mutex<()>,
    /// How many wait to change the roles.
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
    /// Waits until nothing relies on the roles any more. They may change until the guard is dropped.
    pub async fn moving(&self) -> MutexGuard<'_, ()> {
        self.0.waiting.send_modify(|waiting| *waiting += 1);
        let _over = Waiting(&self.0.waiting);
        self.0.lock.lock().await
    }

    /// Runs work that relies on unchanged roles; `None` if it was dropped because the roles are about to change.
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

/// Counts down even if the wait itself is dropped.
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
    async fn work_that_relies_on_the_roles_is_dropped_before_they_change() {
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
    async fn work_waits_while_the_roles_change() {
        let role_lock = RoleLock::default();
        let moving = role_lock.moving().await;
        let mut work = std::pin::pin!(role_lock.within(ready(7)));
        let early = futures::poll!(work.as_mut());
        assert!(early.is_pending());
        drop(moving);
        assert_eq!(work.await, Some(7));
    }
}
