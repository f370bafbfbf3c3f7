//! Terminals, pipes and colours.

use std::process::Stdio;

use crate::plugin;

#[test]
fn a_closed_pipe_is_no_error() {
    // The reader closes before anything is written.
    let mut child = plugin(["install", "--dry-run=client", "-o", "yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_pipe_gets_no_colour_whatever_the_terminal_is_called() {
    for (name, value) in [
        ("TERM", "xterm-256color"),
        ("TERM", "dumb"),
        ("NO_COLOR", "1"),
    ] {
        let output = plugin(["status"]).env(name, value).output().unwrap();
        assert!(!output.stderr.contains(&0x1b), "{name}={value}");
        assert!(!output.stdout.contains(&0x1b), "{name}={value}");
    }
}
