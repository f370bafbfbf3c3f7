//! Completion as kubectl asks for it, and as a shell does.

use std::process::Command;

use crate::run;

/// The binary under the name by which kubectl looks for it.
#[cfg(unix)]
fn kubectl_asks(words: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("kubectl_complete-failover");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kubectl-failover"), &name).unwrap();
    let output = Command::new(name).args(words).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[cfg(unix)]
fn kubectl_is_answered_under_the_name_it_calls() {
    assert_eq!(
        kubectl_asks(&["pro"]),
        "promote\tMake this site primary (live) and wait until that is verified\n:4\n"
    );
    assert_eq!(
        kubectl_asks(&["plan", ""]),
        "promote\tThis site becomes primary\ndemote\tThis site becomes secondary\n:4\n"
    );
    assert_eq!(kubectl_asks(&["status", "--kubeconfig", ""]), ":0\n");
}

#[test]
fn every_shell_gets_a_script_for_the_plugins_own_name() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ended = run(&["completion", shell]);
        assert_eq!(ended.code, Some(0), "{shell}");
        assert!(ended.out.contains("kubectl-failover"), "{shell}");
        assert!(ended.out.contains("promote"), "{shell}");
    }
}
