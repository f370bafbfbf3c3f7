//! The controller of kubectl-failover.
//!
//! ```text
//!   run ──┬── admin        /metrics /livez /readyz, on every replica
//!         ├── informers    watched caches that parts share, on every replica
//!         ├── elector      which replica leads
//!         └── parts        each with its own watches; their work runs while this replica leads
//!               ├── site           the role of the site: reconcile, sweep, checks
//!               ├── rules          RoleRules: what is in force, and what they need
//!               └── certificates   CA and leaf of the webhook, and its caBundle
//! ```
//!
//! Where no controller runs, [`break_glass`] runs the role's loop in the process of a person who has the same rights:
//! on any operating system, and without the feature `server`.
//!
//! A [part](part::Part) imports nothing from another part: what parts share is in the modules beside them.

pub mod args;
pub mod break_glass;
#[cfg(feature = "server")]
pub mod certificates;
pub mod events;
pub mod informers;
pub mod metrics;
#[cfg(feature = "server")]
pub mod part;
pub mod role_lock;
#[cfg(feature = "server")]
pub mod rules;
#[cfg(feature = "server")]
pub mod run;
pub mod site;
pub mod sweep;
#[cfg(test)]
pub(crate) mod testing;
mod timeouts;
