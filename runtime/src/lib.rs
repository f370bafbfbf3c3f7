//! What all programs stand on.
//!
//! ```text
//!   kube::Config ──► kube::connect::client ──► kube::Client
//!                        └─► server_certificate: which API servers are trusted
//! ```

pub mod error_chain;
pub mod kube;
pub mod leader;
pub mod off_task;
#[cfg(feature = "testing")]
pub mod testing;

pub use self::kube::connect::client;
