//! While an object's role is not primary, its restore record must not be lost.

use serde_json::{Value, json};

use super::cel::{Values, literal};
use super::{is_fixed, passive_values, variable};
use crate::names::{CLI_MANAGER, CONTROLLER_MANAGER, HELD_ANNOTATION, RESTORE_ANNOTATION};
use crate::rules::rule::Field;

/// An object created here runs only on consent, so the webhook must mark it as held. If it were created passive while
/// the webhook is down, it could not be distinguished later from one that has run.
pub(super) fn is_marked_on_create(field: &Field) -> Value {
    let entry = literal(&Value::String(field.pointer.to_string()).to_string());
    let what = ": cannot be created here while the webhook is down, because a promotion would then start it: try again (kubectl failover status)";
    json!({
        "expression": format!(
            "oldObject != null || variables.role in ['primary', 'exempt'] || variables.recordAfter.contains({entry})"
        ),
        "message": format!("an object{what}"),
        "messageExpression": format!("variables.object + {}", literal(what)),
        "reason": "Forbidden",
    })
}

/// Whether a record of the field is kept while its role is not primary. A field that is passive by absence may be
/// removed by its writer, together with its record.
pub(super) fn keeps_a_record(field: &Field) -> bool {
    !is_fixed(field) && !field.absent_is_passive
}

/// What is recorded on the object before and after a write, in either annotation.
pub(super) fn variables() -> [Value; 2] {
    let of = |root: &str| {
        [RESTORE_ANNOTATION, HELD_ANNOTATION]
            .map(|key| {
                let key = literal(key);
                format!("dyn({root})[?'metadata'][?'annotations'][?{key}].orValue('')")
            })
            .join(" + ")
    };
    [
        variable(
            "recordBefore",
            &format!("oldObject == null ? '' : {}", of("oldObject")),
        ),
        variable("recordAfter", &of("object")),
    ]
}

/// A field that has a record keeps it. Our own writes may drop an unreadable one.
pub(super) fn keeps_its_record(field: &Field) -> Value {
    let entry = literal(&Value::String(field.pointer.to_string()).to_string());
    let ours = [CONTROLLER_MANAGER, CLI_MANAGER].map(literal).join(", ");
    let what = format!(
        ": the restore record of {} may not be removed here, keep the annotation {RESTORE_ANNOTATION} (kubectl failover status)",
        field.pointer
    );
    json!({
        "expression": format!(
            "variables.role in ['primary', 'exempt'] || !variables.recordBefore.contains({entry}) \
             || variables.recordAfter.contains({entry}) || request.?options.?fieldManager.orValue('') in [{ours}]"
        ),
        "message": format!("an object{what}"),
        "messageExpression": format!("variables.object + {}", literal(&what)),
        "reason": "Forbidden",
    })
}

/// The controller must record what it makes passive in the same write. Otherwise a webhook replica that still takes the
/// site for primary would drop the record, and its content would be lost. The controller retries until no replica does
/// so.
pub(super) fn brings_its_record(field: &Field, values: &Values) -> Value {
    let entry = literal(&Value::String(field.pointer.to_string()).to_string());
    let what = format!(
        ": refused, because a stale webhook replica dropped the restore record of {} (kubectl failover status)",
        field.pointer
    );
    json!({
        "expression": format!(
            "request.?options.?fieldManager.orValue('') != {} || variables.role in ['primary', 'exempt'] \
             || {} || variables.recordAfter.contains({entry})",
            literal(CONTROLLER_MANAGER),
            values.was_or_is_not(&passive_values(field)),
        ),
        "message": format!("an object{what}"),
        "messageExpression": format!("variables.object + {}", literal(&what)),
        "reason": "Forbidden",
    })
}
