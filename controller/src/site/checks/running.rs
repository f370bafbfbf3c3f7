//! A check under way: the loop polls it while it rests, and drops it when it decides otherwise. No task of its own, as a
//! [sweep](super::super::running_sweep) is none.

use std::pin::Pin;

use failover_core::transition::{Check, CheckReport};

use super::{CheckError, CheckScope, Checker};

type Work = Pin<Box<dyn Future<Output = Result<CheckReport, CheckError>> + Send>>;

pub struct RunningCheck {
    /// What it is about.
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

    /// Checks to the end. Dropping this future ends the check.
    pub async fn finish(&mut self) -> Result<CheckReport, CheckError> {
        (&mut self.work).await
    }
}
