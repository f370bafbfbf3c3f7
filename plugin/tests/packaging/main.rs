//! What is shipped beside the binaries: the manifests and the Dockerfile.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but clippy does not count the functions beside them"
)]

mod manifests;
