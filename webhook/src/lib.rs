//! The admission webhook of kubectl-failover.
//!
//! ```text
//!   API server ──TLS──► serve ───► mutate ──► decide ──► failover_core::admission::admit
//!                        ▲ tls                  │ reads
//!                        │ (folder, polled)     ▼
//!   API server ◄─watches (Namespaces, RoleRules, Site)──► store ◄── readiness gates every answer
//!              ◄─enforcer (own Lease: what the store has seen)
//! ```
//!
//! A request is answered from memory alone. Watches keep that memory up to date; the own Lease proves it, and without
//! that proof no answer is given.

pub mod args;
pub mod body;
pub mod decide;
pub mod enforcer;
pub mod metrics;
pub mod mutate;
pub mod outcome;
pub mod readiness;
pub mod review;
pub mod run;
pub mod store;
mod timeouts;
pub mod tls;
pub mod watches;
