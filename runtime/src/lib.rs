//! What all programs share.
//!
//! ```text
//!   clients ──► kube        one API server: connections, discovery, objects, retries
//!      │
//!      └─────► leader       which of several processes works
//!
//!   admin, logs             what a process reports about itself
//!   error_chain, off_task   how it reports errors, and computes without blocking others
//! ```

#[cfg(feature = "server")]
pub mod admin;
pub mod clients;
pub mod error_chain;
pub mod kube;
pub mod leader;
pub mod logs;
pub mod off_task;
#[cfg(feature = "server")]
pub mod serve;
#[cfg(feature = "testing")]
pub mod testing;

pub use self::kube::connect::client;
