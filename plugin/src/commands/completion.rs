//! Completion, twice: a script for the plugin called by its own name, and answers to kubectl.
//!
//! For a plugin `kubectl failover` kubectl runs an executable named `kubectl_complete-failover` from PATH with the words
//! typed so far, the last one being the one to complete, and reads one suggestion per line (`word`, a tab, its
//! description), then `:` and a number that says how the shell is to treat them. This binary answers under that name.

use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use crate::cli::{Cli, CompletionArgs};
use crate::exit_code::ExitCode;
use crate::output::Screen;

/// The name under which kubectl calls us, without what the platform appends.
const COMPLETER: &str = "kubectl_complete-failover";

/// What kubectl's shells do with the answer: no file names.
const NO_FILES: u8 = 4;
/// Nothing special: file names, where nothing is suggested.
const DEFAULT: u8 = 0;

/// Whether kubectl asks for completions.
pub fn is_asked_for(args: &[OsString]) -> bool {
    args.first()
        .and_then(|name| Path::new(name).file_stem())
        .is_some_and(|name| name == COMPLETER)
}

/// Answers kubectl.
pub fn answer(args: &[OsString], screen: &Screen) -> ExitCode {
    let words: Vec<String> = args
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let (suggestions, directive) = complete(&words);
    for suggestion in suggestions {
        screen.data(&suggestion);
    }
    screen.data(&format!(":{directive}"));
    ExitCode::Done
}

/// Prints the script for a shell.
pub fn script(args: &CompletionArgs, screen: &Screen) {
    let mut script = Vec::new();
    let mut command = Cli::command().bin_name("kubectl-failover");
    clap_complete::generate(args.shell, &mut command, "kubectl-failover", &mut script);
    screen.raw(&String::from_utf8_lossy(&script));
}

/// Suggestions for the last of the words, and how they are to be treated.
fn complete(words: &[String]) -> (Vec<String>, u8) {
    let mut root = Cli::command();
    root.build();
    let (current, before) = match words.split_last() {
        Some((current, before)) => (current.as_str(), before),
        None => ("", &[][..]),
    };
    let (command, pending) = walk(&root, before);
    if let Some(arg) = pending {
        return values(arg, current, "");
    }
    if let Some((flag, value)) = current.split_once('=') {
        let found = flag
            .strip_prefix("--")
            .and_then(|name| flag_of(command, name));
        return found.map_or_else(
            || (Vec::new(), NO_FILES),
            |arg| values(arg, value, &format!("{flag}=")),
        );
    }
    if current.starts_with('-') {
        return (flags(command, current), NO_FILES);
    }
    let mut suggestions: Vec<String> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name().starts_with(current))
        .map(|sub| described(sub.get_name(), sub.get_about()))
        .collect();
    for positional in command.get_positionals() {
        suggestions.extend(values(positional, current, "").0);
    }
    (suggestions, NO_FILES)
}

/// The command that the words lead to, and the flag that still wants its value.
fn walk<'c>(root: &'c Command, words: &[String]) -> (&'c Command, Option<&'c Arg>) {
    let (mut command, mut pending) = (root, None);
    for word in words {
        if pending.take().is_some() {
            continue;
        }
        let flag = match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(long), _) if !long.contains('=') => flag_of(command, long),
            (None, Some(short)) if short.chars().count() == 1 => {
                let short = short.chars().next();
                command.get_arguments().find(|arg| arg.get_short() == short)
            }
            _ => None,
        };
        if let Some(flag) = flag {
            pending = Some(flag).filter(|flag| wants_value(flag));
        } else if let Some(sub) = command.find_subcommand(word) {
            command = sub;
        }
    }
    (command, pending)
}

fn flag_of<'c>(command: &'c Command, long: &str) -> Option<&'c Arg> {
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(long))
}

/// Whether the next word is this flag's value.
fn wants_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) && !arg.is_require_equals_set()
}

fn flags(command: &Command, current: &str) -> Vec<String> {
    command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter_map(|arg| {
            let flag = format!("--{}", arg.get_long()?);
            flag.starts_with(current)
                .then(|| described(&flag, arg.get_help()))
        })
        .collect()
}

fn values(arg: &Arg, current: &str, prefix: &str) -> (Vec<String>, u8) {
    let possible = arg.get_possible_values();
    if possible.is_empty() {
        let files = arg
            .get_value_names()
            .is_some_and(|names| names.iter().any(|name| name.as_str() == "FILE"));
        return (Vec::new(), if files { DEFAULT } else { NO_FILES });
    }
    let suggestions = possible
        .iter()
        .filter(|value| !value.is_hide_set() && value.get_name().starts_with(current))
        .map(|value| described(&format!("{prefix}{}", value.get_name()), value.get_help()))
        .collect();
    (suggestions, NO_FILES)
}

fn described(word: &str, help: Option<&clap::builder::StyledStr>) -> String {
    match help {
        Some(help) => format!("{word}\t{help}"),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn completed(words: &[&str]) -> (Vec<String>, u8) {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let (suggestions, directive) = complete(&words);
        let bare = suggestions
            .iter()
            .map(|s| s.split('\t').next().unwrap_or_default().to_owned())
            .collect();
        (bare, directive)
    }

    #[rstest]
    #[case::command(&["pro"], &["promote"])]
    #[case::direction(&["plan", ""], &["promote", "demote"])]
    #[case::flag(&["promote", "--over"], &["--override"])]
    #[case::connection_flag(&["status", "--conte"], &["--context"])]
    #[case::value(&["status", "-o", "j"], &["json"])]
    #[case::value_after_other_flags(&["plan", "-n", "shop", "demote", "--output", "d"], &["diff"])]
    #[case::value_in_the_same_word(&["demote", "--dry-run=s"], &["--dry-run=server"])]
    #[case::a_flag_that_takes_its_value_by_equals_only(&["demote", "--dry-run", "--ye"], &["--yes"])]
    #[case::guard(&["promote", "--override", "p"], &["peer-unknown"])]
    #[case::guard_of_the_other_direction(&["demote", "--override", "p"], &["pods-running"])]
    #[case::nothing_to_suggest(&["enroll", ""], &[])]
    fn words_are_completed(#[case] words: &[&str], #[case] suggestions: &[&str]) {
        let (found, directive) = completed(words);
        assert_eq!(found, suggestions);
        assert_eq!(directive, NO_FILES);
    }

    #[test]
    fn files_are_left_to_the_shell() {
        assert_eq!(
            completed(&["status", "--kubeconfig", ""]),
            (vec![], DEFAULT)
        );
    }

    #[rstest]
    #[case("/usr/local/bin/kubectl_complete-failover", true)]
    #[case("kubectl_complete-failover.exe", true)]
    #[case("kubectl-failover", false)]
    fn the_name_decides(#[case] name: &str, #[case] asked: bool) {
        assert_eq!(is_asked_for(&[name.into()]), asked);
    }
}
