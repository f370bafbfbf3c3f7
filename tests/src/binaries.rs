//! Our own programs, built from this workspace as a user would build them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

/// The paths of our programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    pub cli: PathBuf,
    pub webhook: PathBuf,
    pub controller: PathBuf,
    pub xtask: PathBuf,
}

/// Builds them, once per process; cargo skips what is up to date.
pub fn build() -> Result<&'static Binaries> {
    static BUILT: OnceLock<std::result::Result<Binaries, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| build_now().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn build_now() -> Result<Binaries> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        if is_set_for_tests(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    let output = command
        // The whole workspace, so that features unify as in `cargo test --workspace` and little is built twice.
        .args([
            "build",
            "--quiet",
            "--workspace",
            "--bins",
            "--message-format=json-render-diagnostics",
            "--profile",
            // A bench measures the release build.
            if cfg!(debug_assertions) {
                "dev"
            } else {
                "bench"
            },
        ])
        .current_dir(crate::workspace())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    if !output.status.success() {
        bail!("our own programs do not build ({})", output.status);
    }
    let executables: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
        .collect();
    let find = |name: &str| {
        executables
            .iter()
            .find(|path| path.file_name().is_some_and(|f| f == name))
            .cloned()
            .with_context(|| format!("cargo built no {name}"))
    };
    Ok(Binaries {
        cli: find("kubectl-failover")?,
        webhook: find("failover-webhook")?,
        controller: find("failover-controller")?,
        xtask: find("xtask")?,
    })
}

/// Variables that cargo or `.ci/timed` sets for test binaries. Build scripts that watch these (ring's does) would run again,
/// and half of the dependencies would be rebuilt on every run.
fn is_set_for_tests(variable: &str) -> bool {
    variable == "OUT_DIR"
        || variable == "RUSTC_BOOTSTRAP"
        || ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"]
            .iter()
            .any(|prefix| variable.starts_with(prefix))
}

impl Binaries {
    /// Their folder, for a PATH.
    pub fn folder(&self) -> &Path {
        self.cli.parent().expect("an executable is in a folder")
    }
}
