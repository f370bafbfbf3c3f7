//! Builds the release archive of one platform and renders the krew manifest for it.
//!
//! A release runs it once per platform with the same `--out`; the manifest always lists exactly the existing archives
//! of this version.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::{Manifest, Platform, archive};

const TEMPLATE: &str = include_str!("../../../krew-manifest.yaml");
const LICENCE: &[u8] = include_bytes!("../../../LICENSE");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Build the release archive of kubectl-failover and the krew manifest that goes with it
///
/// Packs the plugin's binary and LICENSE into a tar.gz, the same bytes for the same binary, and writes failover.yaml beside
/// it with the version and the checksum of every archive of this version in the output directory. Run once per platform
/// with the same --out, it ends with a manifest that lists them all.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Pack this binary instead of building one; its platform is read from its header
    #[arg(long, value_name = "PATH", conflicts_with = "target")]
    binary: Option<PathBuf>,

    /// Build for this target [default: the host]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,

    /// Where the archive and failover.yaml go
    #[arg(long, value_name = "DIR", default_value = "target/krew")]
    out: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  # Build for this machine and pack the result
  cargo krew-package

  # For Linux releases: a static binary, which runs with any C library
  cargo krew-package --target x86_64-unknown-linux-musl

  # Pack a binary that was built elsewhere
  cargo krew-package --binary dist/kubectl-failover.exe

  # Try the archive without publishing it
  kubectl krew install --manifest=target/krew/failover.yaml \\
    --archive=target/krew/kubectl-failover-vVERSION-OS-ARCH.tar.gz";

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let Args {
        binary,
        target,
        out,
    } = args;
    let manifest = Manifest::from_template(TEMPLATE, VERSION)?;

    let binary = match binary {
        Some(path) => path,
        None => build(target.as_deref())?,
    };
    let content = fs::read(&binary)
        .with_context(|| format!("cannot read the binary {}", binary.display()))?;
    let platform = Platform::of_binary(&content).with_context(|| binary.display().to_string())?;
    let target = manifest.target(platform)?;

    fs::create_dir_all(&out)
        .with_context(|| format!("cannot create the directory {}", out.display()))?;
    let packed = archive::build(target.bin(), &content, LICENCE)?;
    write(&out.join(target.archive()), &packed)?;

    let checksums = checksums(&manifest, &out)?;
    write(
        &out.join(manifest.file_name()),
        manifest.render(&checksums)?.as_bytes(),
    )?;

    let mut stdout = io::stdout().lock();
    for target in manifest.targets() {
        if let Some(sha256) = checksums.get(&target.platform()) {
            writeln!(stdout, "{sha256}  {}", out.join(target.archive()).display())?;
        }
    }
    writeln!(stdout, "{}", out.join(manifest.file_name()).display())?;
    Ok(())
}

/// Builds the plugin as a release does and returns the path of the binary that cargo reports.
fn build(target: Option<&str>) -> anyhow::Result<PathBuf> {
    // Cargo sets it for the programs it runs: the same cargo, and so the same toolchain.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "kubectl-failover",
            "--bin",
            "kubectl-failover",
        ])
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    let output = command
        .spawn()
        .context("cannot run cargo")?
        .wait_with_output()?;
    if !output.status.success() {
        bail!(
            "the build failed ({}): cargo's messages are above",
            output.status
        );
    }
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "kubectl-failover")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo built no binary kubectl-failover: run this inside the workspace")
}

/// The checksums of this version's archives in the output directory, as they are on disk.
fn checksums(manifest: &Manifest, out: &Path) -> anyhow::Result<BTreeMap<Platform, String>> {
    let mut checksums = BTreeMap::new();
    for target in manifest.targets() {
        let path = out.join(target.archive());
        match fs::read(&path) {
            Ok(bytes) => {
                checksums.insert(target.platform(), archive::sha256(&bytes));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        }
    }
    Ok(checksums)
}

/// Writes beside the path and renames, so that the file at the path is always complete: the next platform's run reads
/// it for its checksum.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes)
        .and_then(|()| fs::rename(&partial, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
