//! The documents that commands report (`-o json`). Tests assert on these, so that messages can change without changing
//! tests.

use serde_json::Value;

use super::{Output, Site};

/// The arguments for a document.
pub const JSON: &[&str] = &["-o", "json"];

impl Output {
    /// The document on stdout.
    ///
    /// # Panics
    /// If there is none, or more than one.
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
    /// If it is another document, or has another exit code than the command.
    #[track_caller]
    pub fn failure(&self) -> Value {
        let document = self.document();
        assert_eq!(document["kind"], "Failure", "{document:#}");
        assert_eq!(document["exitCode"], self.code, "{document:#}");
        document
    }
}

impl Site {
    /// The document of a CLI command that must succeed.
    pub async fn document(&self, arguments: &[&str]) -> Value {
        let output = self.failover(&[arguments, JSON].concat()).await;
        output.expect(0).document()
    }

    /// The document of a CLI command that must fail with this exit code.
    pub async fn failure(&self, arguments: &[&str], code: i32) -> Value {
        let output = self.failover(&[arguments, JSON].concat()).await;
        output.expect(code).failure()
    }

    /// Objects with a deferred request, as `status` names them.
    pub async fn deferred(&self) -> Vec<String> {
        let status = self.document(&["status"]).await;
        let deferred = status["deferred"].as_array().into_iter().flatten();
        deferred
            .filter_map(|entry| entry["object"].as_str().map(str::to_owned))
            .collect()
    }
}

/// The guards in the document of a plan or of a failure, each with its object, or "" if it has none.
pub fn guards(document: &Value) -> Vec<(&str, &str)> {
    let guards = document["guards"].as_array().into_iter().flatten();
    guards
        .map(|refusal| {
            let object = refusal["object"].as_str().unwrap_or_default();
            (refusal["guard"].as_str().unwrap_or_default(), object)
        })
        .collect()
}

/// The message of a transition that has timed out for one object that it waits for.
///
/// # Panics
/// If the failure does not name this guard with this object.
#[track_caller]
pub fn waits_for<'a>(failure: &'a Value, guard: &str, object: &str) -> &'a str {
    let head = format!("{guard} ({object}): ");
    let mut details = failure["details"].as_array().into_iter().flatten();
    details
        .find_map(|detail| detail.as_str()?.strip_prefix(head.as_str()))
        .unwrap_or_else(|| panic!("{head:?} is missing in {failure:#}"))
}

/// Asserts that a text contains all of these names.
///
/// # Panics
/// If one is missing.
#[track_caller]
pub fn assert_names(text: &Value, names: &[&str]) {
    let text = text.as_str().unwrap_or_default();
    for name in names {
        assert!(text.contains(name), "{name:?} is missing in {text:?}");
    }
}

/// Asserts that this is the document of a transition to this role with this outcome.
///
/// # Panics
/// If it is not.
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
