//! Makes one object conform.

use std::time::Duration;

use failover_core::Pointer;
use failover_core::admission::rewrite::Rewrite;
use failover_core::names::{HELD_ANNOTATION, RESTORE_ANNOTATION};
use failover_runtime::kube::error::ObjectError;
use failover_runtime::kube::retry::patiently;
use serde_json::{Value, json};

use super::drift::{Scope, Verdict};

/// How often an object that changes in the meantime is decided again.
const TRIES: u32 = 5;

/// How long a webhook replica that lags behind is given to catch up.
const CATCH_UP: Duration = Duration::from_millis(300);

/// The outcome for one object.
#[derive(Debug, PartialEq, Eq)]
pub enum Fixed {
    /// The webhook corrected it.
    Readmitted,
    /// The controller corrected it.
    Rewritten,
    /// The object is gone, or no rule reaches it any more: nothing to do.
    Moot,
    Blocked(String),
}

/// Makes one object conform. An error concerns the API server as a whole, not this object.
pub async fn fix(scope: &Scope, name: &str) -> Result<Fixed, ObjectError> {
    let readmitted = patiently(|| scope.objects.readmit(name)).await;
    let mut object = match or_read(scope, name, readmitted).await {
        Ok((object, _)) => object,
        Err(error) => return give_up(error),
    };
    let mut done = Fixed::Readmitted;
    for _ in 0..TRIES {
        let rewrite = match scope.judge(&object) {
            Verdict::Conforms => return Ok(done),
            Verdict::NoRule => return Ok(Fixed::Moot),
            Verdict::Unfixable(why) => return Ok(Fixed::Blocked(why)),
            Verdict::Drifted(rewrite) => rewrite,
        };
        // The webhook did not act.
        let written = patiently(|| {
            scope
                .objects
                .rewrite(name, &rewrite.patch, version(&object))
        })
        .await;
        let (answer, overtaken) = match or_read(scope, name, written).await {
            Ok(answer) => answer,
            Err(error) => return give_up(error),
        };
        let records = records_of(&object, &rewrite);
        let lost = !overtaken && lacks(&records, &answer);
        object = answer;
        if overtaken {
            // If it conforms now, somebody else corrected it.
            done = Fixed::Moot;
        } else if lost {
            object = match restore_originals(scope, name, &rewrite, &records, &object).await {
                Ok(object) => object,
                Err(error) => return Ok(Fixed::Blocked(lost_for_good(&rewrite, &error))),
            };
            done = Fixed::Readmitted;
        } else if !rewrite.only_gives_back()
            && matches!(scope.judge(&object), Verdict::Drifted(next) if next.only_gives_back())
        {
            // Writing the value has made us its owner again.
            done = Fixed::Rewritten;
        } else if matches!(scope.judge(&object), Verdict::Drifted(_)) {
            return Ok(Fixed::Blocked(
                "another admission webhook or admission policy changes it back".to_owned(),
            ));
        } else {
            done = Fixed::Rewritten;
        }
    }
    match scope.judge(&object) {
        Verdict::Conforms => Ok(done),
        _ => Ok(Fixed::Blocked(format!(
            "write conflicts in {TRIES} attempts: find its writer"
        ))),
    }
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
}

/// Our annotations as a rewrite leaves them.
type Records = Vec<(&'static str, Value)>;

fn records_of(before: &Value, rewrite: &Rewrite) -> Records {
    let mut sent = before.clone();
    if json_patch::patch(&mut sent, &rewrite.patch).is_err() {
        return vec![];
    }
    [RESTORE_ANNOTATION, HELD_ANNOTATION]
        .into_iter()
        .map(|key| (key, sent["metadata"]["annotations"][key].take()))
        .filter(|(_, text)| !text.is_null())
        .collect()
}

/// Whether the answer to a rewrite lacks the originals that the rewrite recorded.
///
/// A webhook replica that still assumes a primary site drops a record that the stored object does not have. A sweep
/// waits for the replicas, and the backstop refuses such a write; this covers the case that both fail, as when somebody
/// has overridden that wait and the API server lags behind too.
fn lacks(records: &Records, object: &Value) -> bool {
    records
        .iter()
        .any(|(key, _)| object["metadata"]["annotations"][key].is_null())
}

/// Writes the original values back, after a delay. A webhook that has caught up records them in that same write;
/// otherwise the object drifts again, and is decided again.
///
/// If nothing rewrites them, the backstop refuses original values on a standby. Then only the record is written: it
/// stays if the webhook is gone by now. A webhook that still lags drops it again, and the loop waits for it to catch
/// up.
async fn restore_originals(
    scope: &Scope,
    name: &str,
    rewrite: &Rewrite,
    records: &Records,
    object: &Value,
) -> Result<Value, ObjectError> {
    tracing::warn!(
        object = %scope.reference(object),
        "a stale webhook replica dropped the restore record: restoring the original values and trying again"
    );
    let mut object = object.clone();
    let mut tries = 0;
    loop {
        tries += 1;
        tokio::time::sleep(CATCH_UP).await;
        let given = write(scope, name, originals(rewrite), &object).await;
        let refused = match given {
            Err(error @ ObjectError::Refused { status: 403, .. }) => error,
            answer => return answer,
        };
        object = write(scope, name, records_alone(records, &object), &object).await?;
        if !lacks(records, &object) {
            return Ok(object);
        }
        if tries == TRIES {
            return Err(refused);
        }
    }
}

async fn write(
    scope: &Scope,
    name: &str,
    operations: Value,
    object: &Value,
) -> Result<Value, ObjectError> {
    let patch: json_patch::Patch =
        serde_json::from_value(operations).expect("add and remove with sound pointers");
    patiently(|| scope.objects.rewrite(name, &patch, version(object))).await
}

/// The values before a rewrite, as operations of a patch.
fn originals(rewrite: &Rewrite) -> Value {
    rewrite
        .changes
        .iter()
        .map(|change| match &change.before {
            Some(value) => {
                json!({ "op": "add", "path": change.pointer.to_string(), "value": value })
            }
            None => json!({ "op": "remove", "path": change.pointer.to_string() }),
        })
        .collect()
}

/// Only the records, as operations of a patch on the current object.
fn records_alone(records: &Records, object: &Value) -> Value {
    let parent = object["metadata"]["annotations"]
        .is_null()
        .then(|| json!({ "op": "add", "path": "/metadata/annotations", "value": {} }));
    let entries = records.iter().map(|(key, text)| {
        json!({ "op": "add", "path": Pointer::annotation(key).to_string(), "value": text })
    });
    parent.into_iter().chain(entries).collect()
}

fn lost_for_good(rewrite: &Rewrite, error: &ObjectError) -> String {
    let originals: Vec<_> = rewrite
        .changes
        .iter()
        .map(|change| match &change.before {
            Some(value) => format!("{} was {value}", change.pointer),
            None => format!("{} was not set", change.pointer),
        })
        .collect();
    format!(
        "a stale webhook replica dropped its restore record, and it cannot be repaired ({error}): {}; note the values",
        originals.join(", ")
    )
}

/// The written object or, after a conflict, the current one; and whether there was a conflict.
async fn or_read(
    scope: &Scope,
    name: &str,
    written: Result<Value, ObjectError>,
) -> Result<(Value, bool), ObjectError> {
    match written {
        Err(ObjectError::Conflict) => Ok((patiently(|| scope.objects.read(name)).await?, true)),
        other => other.map(|object| (object, false)),
    }
}

/// Separates a failure of this object from one of the API server as a whole.
fn give_up(error: ObjectError) -> Result<Fixed, ObjectError> {
    match error {
        ObjectError::NotFound => Ok(Fixed::Moot),
        ObjectError::Refused { status, message } => {
            let hint = match status {
                403 => {
                    "; give the controller get, list and patch on it, or see which admission policy refuses"
                }
                422 => "; the object is invalid as it is stored: correct it",
                _ => "",
            };
            Ok(Fixed::Blocked(format!(
                "cannot be written: {message} ({status}){hint}"
            )))
        }
        ObjectError::Conflict | ObjectError::Expired => Ok(Fixed::Blocked(
            "it changes faster than it can be written: find its writer".to_owned(),
        )),
        // Its kind has just been listed, so more is unavailable than this one API.
        ObjectError::Busy { .. } | ObjectError::Unserved(_) | ObjectError::Unavailable(_) => {
            Err(error)
        }
    }
}
