//! The CLI `kubectl failover`.
//!
//! ```text
//!   argv ──► cli ──► connection ──► cluster (reads, writes) ──► commands ──► output
//!                                        │                        ▲
//!                                        └── survey ──► plan ─────┘   the webhook's own function, from core
//! ```
//!
//! A command reads the cluster, decides by functions of `failover-core`, asks, writes one thing, and waits until what it
//! ordered is true. It never reports what it has not seen.

pub mod app;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod connection;
pub mod error;
pub mod exit_code;
#[cfg(test)]
pub(crate) mod fake_cluster;
#[cfg(test)]
mod links;
pub mod manifests;
pub mod output;
pub mod plan;
pub mod rules;
pub mod session;
mod shipped_rules;
pub mod transition_view;

pub use app::main;
pub use exit_code::ExitCode;
