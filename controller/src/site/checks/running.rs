//! A running check. The loop polls it while it waits, and drops it when it decides otherwise. Like a
//! [sweep](super::super::running_sweep), it is not a task of its own.

use std::pin::Pin;

use failover_core::transition::{Check, CheckReport};

use super::{CheckError, CheckScope, Checker};

type Work = Pin<Box<dyn Future<Output = Result<CheckReport, CheckError>> + Send>>;

pub struct RunningCheck {
    /// The check that runs.
    pub check: Check,
    work: Work,
}

impl std::fmt::Debug for RunningCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningCheck")
            .field("check", &self.check)
            .finish_non_exhaustive()
    }
}

impl RunningCheck {
    pub fn start(checker: &Checker, check: Check, check_scope: CheckScope) -> Self {
        let (checker, what) = (checker.clone(), check.clone());
        Self {
            check,
            work: Box::pin(async move { checker.check(what, check_scope).await }),
        }
    }

    /// Continues the check to its end. Dropping this future pauses the check.
    pub async fn finish(&mut self) -> Result<CheckReport, CheckError> {
        (&mut self.work).await
    }
}
