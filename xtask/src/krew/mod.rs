//! The parts of a release: one archive per platform, and the krew manifest that names and checksums them.
//!
//! ```text
//!   binary ──► Platform::of_binary ──┐
//!   LICENSE ─────────────────────────┴─► archive::build ──► bytes ──► sha256 ──┐
//!   krew-manifest.yaml ──► Manifest ───────────────────────────────────────────┴─► Manifest::render
//! ```
//!
//! Everything except `package` is a function from bytes to bytes, so that the same binary gives the same archive and
//! the same checksum wherever and whenever it is packed; only `package` reads, builds and writes.

mod archive;
mod manifest;
mod package;
mod platform;

pub(crate) use package::{Args, run};

use manifest::Manifest;
use platform::Platform;
