//! Consent to run what a promotion would otherwise keep from running.

use failover_core::checks::batch::HeldJobs;

/// What a promotion may start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchConsent {
    /// CronJobs start the run they missed.
    pub run_missed: bool,
    /// Which of the Jobs run that have been held since they were created.
    pub held_jobs: HeldJobs,
}
