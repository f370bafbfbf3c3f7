//! What a release consists of: one archive per platform, and the krew manifest that names and checksums them.
//!
//! ```text
//!   binary ──► Platform::of_binary ──┐
//!   LICENSE ─────────────────────────┴─► archive::build ──► bytes ──► sha256 ──┐
//!   krew-manifest.yaml ──► Manifest ───────────────────────────────────────────┴─► Manifest::render
//! ```
//!
//! Everything here is a function from bytes to bytes, so that the same binary gives the same archive and the same checksum
//! wherever and whenever it is packed. `src/bin/krew-package.rs` does the reading, building and writing.

pub mod archive;
pub mod manifest;
pub mod platform;

pub use manifest::{Manifest, ManifestError, Target};
pub use platform::{Arch, Os, Platform, UnknownBinary};
