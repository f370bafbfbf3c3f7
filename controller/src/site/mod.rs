//! Enforcement of the site's role.
//!
//! ```text
//!   informers ───► snapshot ──► transition::decide ──► act ──► (informers)
//!                     │            (core, pure)         │
//!   webhook replicas ─┤                                 ├─► journal      the status, with the version it was decided on
//!   own writes ───────┘                                 ├─► namespaces   roles onto Namespaces
//!                                                       ├─► sweep        objects, while the loop waits
//!                                                       └─► checks       what a step waits for, likewise
//! ```
//!
//! No essential state is kept in memory: if a controller is killed at any point, the next one reads the journal and
//! continues. What is kept (the last sweep's report, our own writes) saves time and may be lost.

pub mod background;
pub mod backstop;
pub mod checks;
pub mod error;
pub mod exemptions;
pub mod failover_policies;
pub mod informers;
pub mod journal;
mod kind_watches;
pub mod namespaces;
pub mod object_roles;
pub mod origins;
#[cfg(feature = "server")]
pub mod part;
pub mod reconcile;
pub mod release;
pub mod running_sweep;
pub mod slot;
pub mod snapshot;
pub mod webhook_replicas;
