//! `xtask krew` as a release runs it. The tests in `tests/` check with the real krew that krew accepts the result.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but clippy does not count the functions beside them"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn krew_package(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("krew")
        .args(args)
        .output()
        .unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

/// Packs a file into `out`.
fn pack(binary: &Path, out: &Path) -> Output {
    krew_package(&[
        "--binary",
        binary.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ])
}

/// An ELF header for a machine, with some bytes behind it.
fn executable(machine: u16, at: &Path) {
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    fs::write(at, bytes).unwrap();
}

fn rendered(out: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(out.join("failover.yaml")).unwrap()).unwrap()
}

#[test]
fn the_manifest_has_the_version_and_the_checksum_of_the_archive_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (binary, out) = (dir.path().join("plugin"), dir.path().join("out"));
    executable(62, &binary);
    let output = pack(&binary, &out);
    assert!(output.status.success(), "{output:?}");

    let manifest = rendered(&out);
    let archive = format!("kubectl-failover-v{VERSION}-linux-amd64.tar.gz");
    let sum = sha256(&fs::read(out.join(&archive)).unwrap());
    assert_eq!(manifest["spec"]["version"], format!("v{VERSION}"));
    let platforms = manifest["spec"]["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 1, "only what was built");
    assert_eq!(platforms[0]["sha256"], sum);
    assert!(
        platforms[0]["uri"]
            .as_str()
            .unwrap()
            .ends_with(&format!("/v{VERSION}/{archive}"))
    );
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!(
            "{sum}  {}\n{}\n",
            out.join(&archive).display(),
            out.join("failover.yaml").display()
        )
    );
}

#[test]
fn packing_twice_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("plugin");
    executable(62, &binary);
    let pack = |name: &str| {
        let out = dir.path().join(name);
        assert!(pack(&binary, &out).status.success());
        let read = |file: &str| fs::read(out.join(file)).unwrap();
        (
            read(&format!("kubectl-failover-v{VERSION}-linux-amd64.tar.gz")),
            read("failover.yaml"),
        )
    };
    let first = pack("first");
    // The source file's modification time must not matter.
    let file = fs::File::options().append(true).open(&binary).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(first == pack("second"));
}

#[test]
fn one_run_per_platform_gives_a_manifest_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for (name, machine) in [("arm64", 183), ("amd64", 62)] {
        let binary = dir.path().join(name);
        executable(machine, &binary);
        assert!(pack(&binary, &out).status.success());
    }
    let manifest = rendered(&out);
    let arches: Vec<_> = manifest["spec"]["platforms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|platform| {
            platform["selector"]["matchLabels"]["arch"]
                .as_str()
                .unwrap()
        })
        .collect();
    assert_eq!(arches, ["amd64", "arm64"]);
}

#[test]
fn a_file_that_is_not_a_binary_is_refused_by_name_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (script, out) = (dir.path().join("plugin.sh"), dir.path().join("out"));
    fs::write(&script, "#!/bin/sh\n").unwrap();
    let output = pack(&script, &out);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("plugin.sh: not a 64-bit x86 or ARM executable"),
        "{message}"
    );
    assert!(!out.exists());

    let missing = pack(&dir.path().join("missing"), &out);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        String::from_utf8(missing.stderr)
            .unwrap()
            .contains("cannot read the binary")
    );
}
