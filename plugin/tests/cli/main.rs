//! The built binary from outside: help, usage errors, streams, exit codes. No cluster is needed for any of it.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but clippy does not count the functions beside them"
)]

mod completion;
mod help;
mod render;
mod streams;
mod usage;

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

/// The plugin in an environment that leads to no cluster.
fn plugin<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-failover"));
    command
        .args(args)
        .env_clear()
        .env("KUBECONFIG", "/no/such/kubeconfig")
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Ended {
    plugin(args).output().unwrap().into()
}

/// How a run ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
