//! What all programs stand on.
//!
//! ```text
//!   kube::Config ──► connect::client ──► kube::Client
//!                        └─► server_certificate: which API servers are trusted
//! ```

pub mod connect;
pub mod server_certificate;
#[cfg(feature = "testing")]
pub mod testing;

pub use connect::client;
