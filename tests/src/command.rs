//! Running a command to its end, as a user does.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;
use tokio::process::Command;

use crate::process::go_environment;

/// The output and the exit code of a command.
#[derive(Clone, Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Asserts the exit code.
    ///
    /// # Panics
    /// On another exit code, with the output.
    #[track_caller]
    #[expect(
        clippy::return_self_not_must_use,
        reason = "often only the exit code is asserted"
    )]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

pub(crate) fn command(program: &Path, kubeconfig: &PathBuf, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(go_environment())
        .env("KUBECONFIG", kubeconfig)
        .env("NO_COLOR", "1")
        .env_remove("CI");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) async fn run(
    program: &Path,
    kubeconfig: &PathBuf,
    arguments: &[&str],
) -> Result<Output> {
    output(&mut command(program, kubeconfig, arguments)).await
}

pub(crate) async fn output(command: &mut Command) -> Result<Output> {
    let output = tokio::time::timeout(Duration::from_secs(300), command.output()).await??;
    Ok(Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
