//! The controller of kubectl-failover.
//!
//! ```text
//!   run ──┬── admin           /metrics /livez /readyz, on every replica
//!         ├── site::snapshot   watched caches, on every replica
//!         ├── lease           who leads
//!         └── while leading ──┬── site::reconcile   the role of the site, carried out
//!                             ├── rules             RoleRules: what is in force, and what they need
//!                             └── certificates      CA and leaf of the webhook, and its caBundle
//! ```
//!
//! Where no controller lives, [`break_glass`] runs the role's loop in the process of a person who may do all that it does: on any
//! system, and without what only the feature `server` has.
//!
//! `site` is one of several things a cluster can fail over; each is a folder beside it, with its own loop under the same
//! leadership.

pub mod args;
pub mod break_glass;
#[cfg(feature = "server")]
pub mod certificates;
pub mod metrics;
#[cfg(feature = "server")]
pub mod rules;
#[cfg(feature = "server")]
pub mod run;
pub mod site;
mod timeouts;
