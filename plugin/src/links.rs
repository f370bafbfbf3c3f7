//! What the plugin is made of: it runs on systems that this workspace is not tested on, Windows among them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Only servers need these.
const OF_SERVERS: [&str; 5] = [
    "axum",
    "axum-core",
    "failover-certs",
    "failover-webhook",
    "rcgen",
];

/// What does not compile on Windows. `libc` does, as far as it goes.
const OF_UNIX: [&str; 5] = [
    "std::os::unix",
    "std::os::fd",
    "std::os::linux",
    "signal::unix",
    "net::Unix",
];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the plugin is a folder of the workspace")
}

/// The crates that a product links on a platform, each with the features that it has when the product is built alone.
fn linked(product: &str, platform: &str) -> BTreeMap<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace())
        .env_remove("RUSTC_BOOTSTRAP")
        .args(["tree", "--locked", "--package", product])
        .args(["--edges=normal", "--target", platform])
        .args(["--prefix=none", "--format={lib} {f}"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // One that was shown before is shown again without more.
    text.lines()
        .filter(|line| !line.ends_with("(*)"))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, features)| (name.replace('_', "-"), features.to_owned()))
        .collect()
}

#[test]
fn the_plugin_links_nothing_that_only_servers_need() {
    let linked = linked("kubectl-failover", "x86_64-pc-windows-gnu");
    assert!(linked.contains_key("failover-controller"), "{linked:?}");
    assert!(linked.contains_key("windows-sys"), "{linked:?}");
    let needless: Vec<_> = OF_SERVERS
        .iter()
        .filter(|name| linked.contains_key(**name))
        .collect();
    assert_eq!(needless, [&""; 0]);
    let hyper = &linked["hyper"];
    assert!(!hyper.split(',').any(|f| f == "server"), "{hyper}");
}

#[test]
fn what_decides_asks_no_cluster() {
    let linked = linked("failover-core", "x86_64-unknown-linux-gnu");
    assert!(linked.contains_key("kube-core"), "{linked:?}");
    for name in ["kube-client", "kube-runtime", "hyper", "tokio", "rustls"] {
        assert!(!linked.contains_key(name), "{name}");
    }
}

#[test]
fn no_product_carries_the_fake_api_server_of_the_tests() {
    for product in [
        "kubectl-failover",
        "failover-controller",
        "failover-webhook",
    ] {
        let linked = linked(product, "x86_64-unknown-linux-gnu");
        let features = &linked["failover-runtime"];
        assert!(!features.contains("testing"), "{product}: {features}");
    }
}

#[test]
fn the_plugin_has_no_line_that_only_unix_compiles() {
    let controller = workspace().join("controller/src");
    let left_out = of_the_server(&fs::read_to_string(controller.join("lib.rs")).unwrap());
    assert!(left_out.contains(&"run".to_owned()), "{left_out:?}");
    let mut files = Vec::new();
    for folder in ["core/src", "plugin/src", "runtime/src"] {
        rust_files(&workspace().join(folder), &mut files);
    }
    for entry in fs::read_dir(&controller).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if module != "main" && !left_out.contains(&module) {
            rust_files(&path, &mut files);
        }
    }
    assert!(files.len() > 100, "{files:?}");
    for file in files.iter().filter(|file| !file.ends_with("links.rs")) {
        let text = fs::read_to_string(file).unwrap();
        for name in OF_UNIX {
            // Whoever needs one has a `#[cfg(unix)]` on the line before, or a module of its own that has it.
            let lines: Vec<_> = text.lines().collect();
            for (number, line) in lines.iter().enumerate() {
                let before = number.checked_sub(1).map_or("", |before| lines[before]);
                let guarded = before.contains("cfg(unix)") || text.contains("#![cfg(unix)]");
                assert!(
                    !line.contains(name) || guarded,
                    "{}:{}: {line}",
                    file.display(),
                    number + 1
                );
            }
        }
    }
}

/// The modules of the controller's library that only its feature `server` has.
fn of_the_server(library: &str) -> Vec<String> {
    let lines: Vec<_> = library.lines().collect();
    let pairs = lines.windows(2);
    let of_server = pairs.filter(|pair| pair[0] == "#[cfg(feature = \"server\")]");
    of_server
        .filter_map(|pair| pair[1].strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

fn rust_files(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            rust_files(&entry.unwrap().path(), files);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        files.push(path.to_owned());
    }
}
