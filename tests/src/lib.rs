//! The test bed: real components on loopback, which start and end with the tests.
//!
//! ```text
//!   toolchain ──builds once──► target/testbed/…      binaries ──builds──► our own three programs
//!       │                                                │
//!       ▼                                                ▼
//!   control_plane: etcd ◄─ kube-apiserver ◄─ controller-manager, scheduler, kwok (nodes and kubelets)
//!       ▲                      ▲
//!   process: a child under `supervise`, with a log, killed on drop
//!                              │ identity: kubeconfigs of ServiceAccounts and of plain users
//!                              │ crds: Flux, Istio, csi-addons, read from their modules
//!                              ▼
//!   site: installed by the built CLI; webhook and controller run with their own ServiceAccounts' tokens
//!                              │
//!   flux: source-, kustomize- and helm-controller, fed by a repository of `git`
//!   csi_addons: its controller, which asks a driver that a test scripts
//! ```
//!
//! Nothing is mocked that can really run. What cannot run here (kubelets, images, kube-proxy) is played by KWOK, by
//! [`secret_mirror`] and by the `--webhook-url` form of the installation; or, for the shipped form, by [`service`] with
//! addresses in its own [`network`].

pub mod admin;
pub mod binaries;
mod command;
pub mod control_plane;
pub mod crds;
mod credentials;
pub mod csi_addons;
pub mod exposition;
pub mod fixtures;
pub mod flux;
pub mod git;
pub mod identity;
pub mod kwok;
pub mod link;
pub mod manifests;
pub mod network;
mod objects;
pub mod parts;
pub mod process;
pub mod quiet;
pub mod reconciled;
pub mod recorder;
pub mod secret_mirror;
pub mod service;
pub mod site;
pub mod toolchain;
pub mod turnstile;
pub mod wait;

pub use control_plane::ControlPlane;
pub use site::Site;
pub use wait::{eventually, eventually_within};

use std::path::{Path, PathBuf};

/// Whether to run the long form of tests (`FAILOVER_TEST_LONG=1`): a thousand reconciles instead of a hundred, a kill at
/// every write instead of every third.
pub fn long() -> bool {
    std::env::var_os("FAILOVER_TEST_LONG").is_some_and(|value| !value.is_empty() && value != "0")
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a folder of the workspace")
        .to_owned()
}

/// Cargo's target folder, which has everything that is built or logged.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}
