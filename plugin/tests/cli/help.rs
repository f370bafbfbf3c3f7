//! The help of every command, word for word. `SNAPSHOTS=overwrite cargo test -p kubectl-failover` writes it anew.

use snapbox::{Data, assert_data_eq};

use crate::run;

fn help(command: &[&str], golden: &str) {
    let mut args = command.to_vec();
    args.push("--help");
    let ended = run(&args);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let path = format!(
        "{}/tests/cli/golden/{golden}.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    assert_data_eq!(ended.out, Data::read_from(path.as_ref(), None));
}

macro_rules! help_of {
    ($($name:ident: $command:expr;)*) => {
        $(#[test]
        fn $name() {
            help(&$command, stringify!($name));
        })*
    };
}

help_of! {
    failover: [] as [&str; 0];
    status: ["status"];
    plan: ["plan"];
    promote: ["promote"];
    demote: ["demote"];
    history: ["history"];
    pause: ["pause"];
    resume: ["resume"];
    enroll: ["enroll"];
    unenroll: ["unenroll"];
    exempt: ["exempt"];
    rule: ["rule"];
    rule_apply: ["rule", "apply"];
    rule_list: ["rule", "list"];
    rule_delete: ["rule", "delete"];
    install: ["install"];
    uninstall: ["uninstall"];
    version: ["version"];
    completion: ["completion"];
}

#[test]
fn no_line_is_wider_than_a_hundred_columns_and_nothing_is_coloured() {
    for command in [
        "status",
        "plan",
        "promote",
        "demote",
        "history",
        "pause",
        "resume",
        "install",
        "enroll",
        "uninstall",
    ] {
        let ended = run(&[command, "--help"]);
        for line in ended.out.lines() {
            assert!(line.chars().count() <= 100, "{command}: {line}");
        }
        assert!(!ended.out.contains('\u{1b}'), "{command}");
    }
}
