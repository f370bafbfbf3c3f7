//! What is shipped beside the binaries: the manifests, the Dockerfile, the krew manifest and its archive.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but clippy does not count the functions beside them"
)]

mod krew;
mod manifests;
