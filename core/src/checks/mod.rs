//! The conditions that a transition waits for between its layers, decided from stored objects.
//!
//! Nothing here calls the API or keeps state: the caller lists the objects, and gets back what still blocks.

pub mod available;
pub mod batch;
pub mod cron;
pub mod hooks;
pub mod pods_gone;
pub mod replication;
pub mod uncovered;

use serde_json::Value;

/// A condition that an object reports.
fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    conditions.find(|condition| condition["type"] == type_)
}

fn is_true(object: &Value, type_: &str) -> bool {
    condition(object, type_).is_some_and(|condition| condition["status"] == "True")
}

/// Whether a Job has run to its end, either way.
fn has_ended(job: &Value) -> bool {
    is_true(job, "Complete") || is_true(job, "Failed")
}
