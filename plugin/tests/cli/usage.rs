//! What is refused before any cluster is asked.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{plugin, run};

#[test]
fn a_question_without_a_terminal_ends_at_once() {
    for command in [
        &["promote"][..],
        &["demote", "--reason", "x"],
        &["enroll", "shop"],
        &["unenroll", "shop"],
        &["uninstall"],
    ] {
        let started = Instant::now();
        let ended = run(command);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert_eq!(ended.out, "");
        assert!(
            ended.err.contains("there is no terminal to ask on"),
            "{}",
            ended.err
        );
        assert!(
            ended
                .err
                .contains(&format!("kubectl failover {} --yes", command[0])),
            "{}",
            ended.err
        );
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn usage_errors_end_with_two_and_say_what_to_type() {
    for (command, text) in [
        (
            &["promote", "--override", "peer-unknown"][..],
            "--reason <TEXT>",
        ),
        (
            &[
                "promote",
                "--yes",
                "--override",
                "per-unknown",
                "--reason",
                "x",
            ],
            "the guards are peer-unknown, no-enforcement",
        ),
        (
            &[
                "demote",
                "--yes",
                "--override",
                "peer-unknown",
                "--reason",
                "x",
            ],
            "does not apply to a demotion",
        ),
        (
            &["demote", "--yes", "-n", "shop"],
            "kubectl failover plan demote -n shop",
        ),
        (
            &["demote", "--timeout", "soon"],
            "use a duration such as 90s",
        ),
        (&["plan"], "<DIRECTION>"),
        (&["statu"], "a similar subcommand exists: 'status'"),
        (
            &["install", "--role", "live"],
            "\"live\" is not a role: use primary or secondary",
        ),
        (&["install", "--site-name", "East"], "lower-case letters"),
        (
            &["install", "--webhook-url", "http://x"],
            "use https://HOST[:PORT]/mutate",
        ),
        (
            &["install", "--dry-run=client", "--role", "primary"],
            "--site-name and --role belong together",
        ),
        (
            &[
                "uninstall",
                "--yes",
                "--override",
                "peer-unknown",
                "--reason",
                "x",
            ],
            "only site-secondary and records-left",
        ),
    ] {
        let ended = run(command);
        assert_eq!(ended.code, Some(2), "{command:?}: {ended:?}");
        assert_eq!(ended.out, "", "{command:?}");
        assert!(ended.err.contains(text), "{command:?}: {}", ended.err);
    }
}

#[test]
fn namespaces_that_must_not_be_enrolled_are_refused_without_a_cluster() {
    let ended = run(&["enroll", "shop", "kube-system", "--yes"]);
    assert_eq!(ended.code, Some(3));
    assert!(
        ended
            .err
            .contains("namespace kube-system is never enrolled")
    );
}

#[test]
fn nowhere_to_connect_to_is_an_error_that_names_the_flags() {
    let ended = run(&["status"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .err
            .contains("pass --kubeconfig, --context or --server, or set KUBECONFIG"),
        "{}",
        ended.err
    );
}

#[test]
fn a_server_that_does_not_answer_is_named() {
    // Nothing listens on a port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let server = format!("https://127.0.0.1:{port}");
    let ended = run(&["status", "--server", &server, "--token", "t"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .err
            .contains(&format!("the API server at {server} does not answer")),
        "{}",
        ended.err
    );
}

#[test]
fn a_failure_is_a_document_where_documents_are_asked_for() {
    for (format, parse) in [
        (
            "json",
            (|text| serde_json::from_str(text).unwrap()) as fn(&str) -> Value,
        ),
        ("yaml", |text| serde_saphyr::from_str(text).unwrap()),
    ] {
        let ended = run(&["demote", "-o", format]);
        assert_eq!(ended.code, Some(2));
        let document = parse(&ended.out);
        assert_eq!(document["apiVersion"], "cli.failover.dev/v1alpha1");
        assert_eq!(document["kind"], "Failure");
        assert_eq!(document["exitCode"], 2);
        assert!(ended.err.starts_with("error: "), "people are told as well");
    }
}

#[test]
fn the_version_is_told_without_a_cluster() {
    let ended = run(&["version"]);
    assert_eq!(ended.code, Some(0));
    assert_eq!(
        ended.out,
        format!("kubectl-failover: v{}\n", env!("CARGO_PKG_VERSION"))
    );
    let ended = run(&["version", "--client", "-o", "json"]);
    assert_eq!(ended.err, "");
    let document: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(document["client"], concat!("v", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_argument_that_is_no_text_is_a_usage_error() {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        let bad = std::ffi::OsStr::from_bytes(b"\xff");
        let ended = plugin([std::ffi::OsStr::new("enroll"), bad])
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(2));
    }
}
