//! The CLI `kubectl failover`.
//!
//! ```text
//!   argv ──► cli ──► connection ──► cluster (reads, writes) ──► commands ──► output
//!                                        │                        ▲
//!                                        └── survey ──► preview ──┘   the webhook's own function, from core
//! ```
//!
//! A command reads the cluster, decides by functions of `failover-core`, asks, writes one thing, and waits until what it
//! ordered is true. It never reports what it has not seen.

pub mod apart;
pub mod app;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod connection;
pub mod exit;
pub mod failure;
#[cfg(test)]
pub(crate) mod fake_cluster;
#[cfg(test)]
mod links;
pub mod manifests;
pub mod output;
pub mod preview;
pub mod progress;
pub mod prompt;
pub mod rules;
pub mod sensitive;
pub mod walk;

pub use app::main;
pub use exit::ExitCode;
