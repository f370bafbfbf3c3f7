//! What commands report as documents (`-o json`). Tests assert on these, so that wording can be changed without a test.

use serde_json::Value;

use super::{Output, Site};

/// Asks a command for its document.
pub const JSON: &[&str] = &["-o", "json"];

impl Output {
    /// The document on stdout.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[track_caller]
    pub fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "not one JSON document: {error}\n--- stdout\n{}\n--- stderr\n{}",
                self.stdout, self.stderr
            )
        })
    }

    /// The document of a command that failed.
    ///
    /// # Panics
    /// When it is another, or has another exit code than the command.
    #[track_caller]
    pub fn failure(&self) -> Value {
        let document = self.document();
        assert_eq!(document["kind"], "Failure", "{document:#}");
        assert_eq!(document["exitCode"], self.code, "{document:#}");
        document
    }
}

impl Site {
    /// What a command of the CLI reports as its document. It must succeed.
    pub async fn document(&self, arguments: &[&str]) -> Value {
        let output = self.failover(&[arguments, JSON].concat()).await;
        output.expect(0).document()
    }

    /// What a command of the CLI that must fail with this exit code reports as its document.
    pub async fn failure(&self, arguments: &[&str], code: i32) -> Value {
        let output = self.failover(&[arguments, JSON].concat()).await;
        output.expect(code).failure()
    }

    /// Objects of which a request is deferred, as `status` names them.
    pub async fn deferred(&self) -> Vec<String> {
        let status = self.document(&["status"]).await;
        let deferred = status["deferred"].as_array().into_iter().flatten();
        deferred
            .filter_map(|entry| entry["object"].as_str().map(str::to_owned))
            .collect()
    }
}

/// The guards that the document of a plan or of a failure names, each with its object; with "" where it is about none.
pub fn guards(document: &Value) -> Vec<(&str, &str)> {
    let guards = document["guards"].as_array().into_iter().flatten();
    guards
        .map(|held| {
            let object = held["object"].as_str().unwrap_or_default();
            (held["guard"].as_str().unwrap_or_default(), object)
        })
        .collect()
}

/// What a transition that is not done in time reports of one thing that it waits for.
///
/// # Panics
/// When the failure does not name this guard with this object.
#[track_caller]
pub fn waits_for<'a>(failure: &'a Value, guard: &str, object: &str) -> &'a str {
    let head = format!("{guard} ({object}): ");
    let mut details = failure["details"].as_array().into_iter().flatten();
    details
        .find_map(|detail| detail.as_str()?.strip_prefix(head.as_str()))
        .unwrap_or_else(|| panic!("{head:?} is missing in {failure:#}"))
}

/// Asserts that a text has all of these names in it.
///
/// # Panics
/// When one is missing.
#[track_caller]
pub fn assert_names(text: &Value, names: &[&str]) {
    let text = text.as_str().unwrap_or_default();
    for name in names {
        assert!(text.contains(name), "{name:?} is missing in {text:?}");
    }
}

/// Asserts that this is the document of a change to this role that ended so.
///
/// # Panics
/// When it is not.
#[track_caller]
pub fn assert_role_change(document: &Value, role: &str, outcome: &str) {
    let found = ["kind", "site", "role", "outcome"].map(|key| &document[key]);
    let expected = ["RoleChange", "east", role, outcome];
    assert!(
        found
            .iter()
            .zip(expected)
            .all(|(found, word)| **found == word),
        "{expected:?} expected: {document:#}"
    );
}
