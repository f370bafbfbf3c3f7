//! The release archive, installed by the real krew and run through the real kubectl.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use testbed::site::{Options, Output, Site};
use testbed::{binaries, toolchain};

fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The archive and the rendered manifest, built from the tests' binary.
fn package(folder: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let binaries = binaries::build().unwrap();
    run(Command::new(&binaries.xtask)
        .arg("krew")
        .arg("--binary")
        .arg(&binaries.cli)
        .arg("--out")
        .arg(folder)
        .current_dir(testbed::workspace()))
    .expect(0);
    let find = |suffix: &str| {
        let mut files = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files
            .find(|path| path.to_string_lossy().ends_with(suffix))
            .unwrap()
    };
    (find(".tar.gz"), find(".yaml"))
}

#[tokio::test(flavor = "multi_thread")]
async fn krew_installs_the_archive_and_kubectl_runs_it() {
    let site = Site::shared(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (archive, manifest) = package(folder.path());
    let root = folder.path().join("krew");
    run(Command::new(toolchain::krew().unwrap())
        .arg("install")
        .arg(format!("--manifest={}", manifest.display()))
        .arg(format!("--archive={}", archive.display()))
        .env("KREW_ROOT", &root)
        // Offline: any download would fail.
        .envs([
            ("HTTPS_PROXY", "http://127.0.0.1:9"),
            ("HTTP_PROXY", "http://127.0.0.1:9"),
        ]))
    .expect(0);

    let kubectl = toolchain::control_plane().unwrap().join("kubectl");
    let plugin = |arguments: &[&str]| {
        run(Command::new(&kubectl)
            .args(arguments)
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", root.join("bin").display()),
            )
            .env("KUBECONFIG", site.plane.admin_kubeconfig()))
    };
    let version = plugin(&["failover", "version", "-o", "json"]);
    let version = version.expect(0).document();
    let client = format!("v{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(version["client"], client, "{version:#}");
    let status = plugin(&["failover", "status", "-o", "json"]);
    let status = status.expect(0).document();
    assert_eq!(status["site"], "east", "{status:#}");
    assert_eq!(status["role"], "primary", "{status:#}");
}

#[test]
fn krew_refuses_an_archive_that_is_not_the_one_in_the_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, manifest) = package(folder.path());
    let mut bytes = fs::read(&archive).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let refused = run(Command::new(toolchain::krew().unwrap())
        .arg("install")
        .arg(format!("--manifest={}", manifest.display()))
        .arg(format!("--archive={}", archive.display()))
        .env("KREW_ROOT", folder.path().join("krew")));
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("checksum"), "{refused:?}");
}
