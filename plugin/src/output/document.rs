//! Machine-readable output: one JSON or YAML document on stdout, whatever happens.
//!
//! Every document carries `apiVersion: cli.failover.dev/v1alpha1` and a `kind`, so that a program can distinguish a plan
//! from a failure and one version from the next. Field names are camelCase and are only ever added to within a version. The group
//! is not the one of our resources: nothing of this can be applied.

use serde::Serialize;
use serde_json::{Value, json};

use super::sanitise::for_json;
use super::screen::Screen;
use crate::error::Failure;

pub const API_VERSION: &str = "cli.failover.dev/v1alpha1";

/// A report with its header.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document<'a, T> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

/// The two notations of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    Json,
    Yaml,
}

impl<'a, T: Serialize> Document<'a, T> {
    pub fn new(kind: &'static str, body: &'a T) -> Self {
        Self {
            api_version: API_VERSION,
            kind,
            body,
        }
    }

    pub fn print(&self, notation: Notation, screen: &Screen) {
        let value = serde_json::to_value(self).expect("reports have string keys only");
        screen.raw(&render(notation, &value));
    }
}

/// A value in either notation, with a line break at the end.
pub fn render(notation: Notation, value: &Value) -> String {
    match notation {
        Notation::Json => {
            let text = serde_json::to_string_pretty(value).expect("a JSON value can be written");
            format!("{}\n", for_json(&text))
        }
        Notation::Yaml => yaml(value),
    }
}

/// YAML for people and for `kubectl apply -f -`.
fn yaml(value: &Value) -> String {
    let text = serde_saphyr::to_string(value).expect("a JSON value can be written as YAML");
    // JSON is YAML. Where a string holds something that a terminal would act on, its escapes are the safe notation.
    match for_json(&text) {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(_) => render(Notation::Json, value),
    }
}

/// The document of a command that failed.
pub fn of_failure(failure: &Failure) -> Value {
    let guards: Vec<Value> = failure
        .holds
        .iter()
        .map(|hold| {
            json!({
                "guard": hold.guard.as_str(),
                "object": hold.object,
                "message": hold.message,
                "hint": hold.hint,
            })
        })
        .collect();
    let mut document = json!({
        "apiVersion": API_VERSION,
        "kind": "Failure",
        "exitCode": failure.exit.code(),
        "reason": failure.exit.reason(),
        "message": failure.message,
    });
    if !guards.is_empty() {
        document["guards"] = Value::Array(guards);
    }
    if !failure.details.is_empty() {
        document["details"] = json!(failure.details);
    }
    if let Some(next) = &failure.next {
        document["next"] = json!(next);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_document_with_the_exit_code() {
        let failure = Failure::timed_out("still going").next("look");
        assert_eq!(
            of_failure(&failure),
            json!({
                "apiVersion": "cli.failover.dev/v1alpha1", "kind": "Failure",
                "exitCode": 4, "reason": "TimedOut", "message": "still going", "next": "look"
            })
        );
    }

    #[test]
    fn both_notations_carry_the_same_whatever_the_strings_hold() {
        let value = json!({"a": "x\u{1b}[2J\u{202e}\n- b: c", "b": ["yes", "0", "null"], "c": {"d": null, "e": 1}});
        for notation in [Notation::Json, Notation::Yaml] {
            let text = render(notation, &value);
            assert!(
                !text.contains('\u{1b}') && !text.contains('\u{202e}'),
                "{text}"
            );
            let back: Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(back, value, "{text}");
        }
    }
}
