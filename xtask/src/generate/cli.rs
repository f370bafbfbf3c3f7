//! `docs/cli.md`: the help of every command, word for word.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};
use kubectl_failover::cli::Cli;

use super::Generated;

const INTRODUCTION: &str = "\
# Commands

The help of every command, as `kubectl failover COMMAND --help` prints it. Generated from the code: `cargo xtask generate`.
";

pub(super) fn file() -> Generated {
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut content = INTRODUCTION.to_owned();
    section(&mut content, &mut root, "kubectl failover");
    Generated {
        path: "docs/cli.md".to_owned(),
        content,
    }
}

/// The help of a command and its subcommands.
fn section(content: &mut String, command: &mut Command, name: &str) {
    let help = command.render_long_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    write!(
        content,
        "\n## {name}\n\n```\n{}\n```\n",
        lines.join("\n").trim_end()
    )
    .expect("a String takes any text");
    for below in command.get_subcommands_mut() {
        if !below.is_hide_set() && below.get_name() != "help" {
            let name = format!("{name} {}", below.get_name());
            section(content, below, &name);
        }
    }
}
