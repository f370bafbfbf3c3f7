//! Builds the Go components once, from pinned modules, into `target/testbed/`.
//!
//! Each is kept under a hash of its inputs, so that only a changed pin is built again. A file lock serializes test
//! processes. Binaries in `KUBEBUILDER_ASSETS`, if set, take precedence.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// A release of Kubernetes for a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The folder in `tests/`, whose `go.mod` has the version too.
    module: &'static str,
    pub version: &'static str,
    minor: &'static str,
}

/// The release that everything is tested with.
const NEWEST: Release = Release {
    module: "controlplane",
    version: "v1.36.3",
    minor: "36",
};

/// The oldest supported release.
const OLDEST: Release = Release {
    module: "controlplane-1.30",
    version: "v1.30.14",
    minor: "30",
};

/// Selects another release than the newest: `1.30`.
const RELEASE: &str = "FAILOVER_TEST_KUBERNETES";

/// The release of control planes.
pub fn release() -> Result<Release> {
    match std::env::var(RELEASE).as_deref() {
        Err(_) | Ok("" | "1.36") => Ok(NEWEST),
        Ok("1.30") => Ok(OLDEST),
        Ok(other) => bail!("{RELEASE}={other}: there are 1.30 and 1.36"),
    }
}

/// The names that the binary of `tests/controlplane` can be called by.
const CONTROL_PLANE: [&str; 6] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    // The CronJob controller's decision about missed runs, as a filter.
    "missed-runs",
];

/// The controllers of Flux that write to a cluster, in the versions of `tests/flux/go.mod`.
pub const FLUX: [&str; 3] = [
    "source-controller",
    "kustomize-controller",
    "helm-controller",
];

/// A folder with `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler` and `kubectl`.
pub fn control_plane() -> Result<PathBuf> {
    let Release {
        module,
        version,
        minor,
    } = release()?;
    let flags = format!(
        "-s -w -X k8s.io/component-base/version.gitVersion={version} \
         -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor={minor} \
         -X k8s.io/client-go/pkg/version.gitVersion={version}"
    );
    let folder = build(module, &[module], &["-ldflags", &flags, "."])?;
    for name in CONTROL_PLANE {
        let link = folder.join(name);
        let asset = std::env::var_os("KUBEBUILDER_ASSETS")
            .map(|dir| Path::new(&dir).join(name))
            .filter(|p| p.exists());
        let to = asset.unwrap_or_else(|| folder.join(module));
        if fs::read_link(&link).ok().as_ref() != Some(&to) {
            // Created elsewhere and moved into place, since other tests may do the same concurrently.
            let fresh = tempfile::tempdir_in(&folder)?;
            symlink(&to, fresh.path().join(name))?;
            fs::rename(fresh.path().join(name), &link)
                .with_context(|| format!("cannot link {}", link.display()))?;
        }
    }
    Ok(folder)
}

/// The command that every process runs under, so that none outlives the tests.
pub fn supervise() -> Result<PathBuf> {
    command("supervise", ".")
}

/// The `kwok` command.
pub fn kwok() -> Result<PathBuf> {
    command("kwok", "sigs.k8s.io/kwok/cmd/kwok")
}

/// The `krew` command.
pub fn krew() -> Result<PathBuf> {
    command("krew", "sigs.k8s.io/krew/cmd/krew")
}

/// The controller of csi-addons, in the version of `tests/csi-addons/go.mod`.
pub fn csi_addons() -> Result<PathBuf> {
    let package = "github.com/csi-addons/kubernetes-csi-addons/cmd/manager";
    let folder = build("csi-addons", &["manager"], &["-ldflags", "-s -w", package])?;
    Ok(folder.join("manager"))
}

/// Compiles admission policies as the API server of one release does; see `tests/policy-compiler`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyCompiler {
    /// The oldest supported release: cel-go 0.17.8.
    Kubernetes1_30,
    /// The release that everything is tested with.
    Newest,
}

impl PolicyCompiler {
    /// The command, which takes a JSON array of policies and returns the errors.
    pub fn command(self) -> Result<PathBuf> {
        let mut arguments = vec!["-ldflags", "-s -w"];
        if self == Self::Newest {
            arguments.extend(["-modfile=newest.mod", "-tags=newest"]);
        }
        arguments.push(".");
        let folder = build("policy-compiler", &["policy-compiler"], &arguments)?;
        Ok(folder.join("policy-compiler"))
    }
}

/// A folder with [`FLUX`].
pub fn flux() -> Result<PathBuf> {
    let packages = FLUX.map(|controller| format!("github.com/fluxcd/{controller}"));
    let mut arguments = vec!["-ldflags", "-s -w"];
    arguments.extend(packages.iter().map(String::as_str));
    // Built at once, since the three share most packages.
    build("flux", &FLUX, &arguments)
}

/// The source folder of a Go module, downloaded if needed: the source of foreign CRDs and stages.
pub fn module_dir(module: &str) -> Result<PathBuf> {
    static FOUND: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().expect("no panic while it is held");
    if let Some(dir) = found.get(module) {
        return Ok(dir.clone());
    }
    let dir = download(module)?;
    found.insert(module.to_owned(), dir.clone());
    Ok(dir)
}

fn download(module: &str) -> Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Download {
        #[serde(rename = "Dir")]
        dir: Option<PathBuf>,
        #[serde(rename = "Error")]
        error: Option<String>,
    }
    let output = go()
        .args(["mod", "download", "-json", module])
        .current_dir(std::env::temp_dir())
        .output();
    let output = output.context(NO_GO)?;
    let download: Download = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "go mod download {module}: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    match download {
        Download {
            dir: Some(dir),
            error: None,
        } => Ok(dir),
        Download { error, .. } => bail!("go mod download {module}: {}", error.unwrap_or_default()),
    }
}

const NO_GO: &str =
    "Go cannot be run: the test bed builds the control plane with it; install Go 1.26 or newer";

fn go() -> Command {
    let mut go = Command::new("go");
    go.env("GOFLAGS", "-mod=mod")
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .stdin(Stdio::null());
    go
}

/// Builds the only command of the module `tests/<name>`, which has the name of the module.
fn command(name: &str, package: &str) -> Result<PathBuf> {
    Ok(build(name, &[name], &["-ldflags", "-s -w", package])?.join(name))
}

/// Builds commands of the module `tests/<name>` and returns the folder that holds them.
fn build(name: &str, commands: &[&str], arguments: &[&str]) -> Result<PathBuf> {
    let source = crate::workspace().join("tests").join(name);
    let root = crate::target().join("testbed");
    fs::create_dir_all(&root)?;
    let folder = root.join(format!("{name}-{}", fingerprint(&source, arguments)?));
    let is_built = || commands.iter().all(|command| folder.join(command).exists());
    if is_built() {
        return Ok(folder);
    }

    let lock = File::create(root.join(format!("{name}.lock")))?;
    lock.lock()
        .context("cannot lock the build of a Go component")?;
    if is_built() {
        return Ok(folder); // another process has built it meanwhile
    }
    let half_done = folder.join(".part");
    fs::create_dir_all(&half_done)?;
    let log = folder.join("build.log");
    let mut go = go();
    // No `-mod=mod` here: only the checked-in sums may be used.
    go.env("GOFLAGS", "-mod=readonly")
        .args(["build", "-trimpath", "-o"])
        .arg(&half_done)
        .args(arguments);
    go.current_dir(&source)
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?);
    let mut child = go.spawn().context(NO_GO)?;
    let started = Instant::now();
    let mut reported_at = Duration::ZERO;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // Bypasses cargo's capture of test output, to explain a wait of several minutes.
        if reported_at.is_zero() || started.elapsed() >= reported_at + Duration::from_secs(30) {
            reported_at = started.elapsed();
            let hint = match name {
                "controlplane" | "controlplane-1.30" => {
                    ", about 6 minutes on two cores the first time"
                }
                "flux" => ", about 4 minutes on two cores the first time",
                "policy-compiler" => ", about a minute on two cores the first time",
                "csi-addons" => ", about 2 minutes on two cores the first time",
                _ => "",
            };
            let _ = writeln!(
                std::io::stderr(),
                "test bed: building {name}{hint} ({} s)",
                reported_at.as_secs()
            );
            reported_at = reported_at.max(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    if !status.success() {
        bail!(
            "building {name} failed ({status}):\n{}",
            fs::read_to_string(&log).unwrap_or_default()
        );
    }
    for command in commands {
        fs::rename(half_done.join(command), folder.join(command))?;
    }
    let _ = writeln!(
        std::io::stderr(),
        "test bed: built {name} in {} s",
        started.elapsed().as_secs()
    );
    Ok(folder)
}

/// A hash of everything that the build depends on.
fn fingerprint(source: &Path, arguments: &[&str]) -> Result<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(source)
        .with_context(|| format!("{} is not there", source.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        hash.update(
            file.file_name()
                .expect("a file of a folder has a name")
                .as_encoded_bytes(),
        );
        hash.update(fs::read(&file)?);
    }
    hash.update(arguments.join("\0"));
    Ok(hex(&hash.finalize()[..6]))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes any text");
    }
    text
}
