//! While the layer is primary: restore what is still passive, drop the record, and give back all ownership.

use serde_json::Value;

use super::{FieldChange, Note, Records, Rewrite, Subject, ownership, patch_builder};
use crate::json::pointer::Pointer;
use crate::role::Role;
use crate::rules::rule::{Active, Field, Rule};

/// Never fails: a field that cannot be restored is left unchanged, with a note.
pub(super) fn rewrite(rule: &Rule, subject: &Subject<'_>) -> Rewrite {
    let object = &subject.object;
    let mut notes = Vec::new();
    // A new object has a record if it is restored from a backup of a standby. An object with a controlling owner
    // follows that owner, and has only copies of its annotations.
    let stored = match &subject.old {
        Some(old) => Records::parse(old, &rule.fields, &mut notes),
        None if object.is_controlled() => Records::default(),
        None => Records::parse(object, &rule.fields, &mut notes),
    };
    let mut patch = patch_builder(rule, object);
    let mut changes = Vec::new();
    let mut records = Records::default();
    let mut first = First::Active;

    for (i, field) in rule.fields.iter().enumerate() {
        let incoming = object.value(i);
        if !field.is_passive(incoming.as_ref()) {
            continue;
        }
        if i == 0 {
            first = match stored.restore.get(&field.pointer) {
                _ if stored.waits_for_consent(field) => First::Held,
                Some(_) => First::RecordedAsPassive,
                None => First::Passive,
            };
        }
        if field.safeguard && !first.releases(field, &stored, &mut records, &mut notes) {
            continue;
        }
        // We force values, never absence: a field that is gone was removed by its writer, and is not restored.
        if incoming.is_none() && !matches!(field.active, Active::Fixed(_)) {
            continue;
        }
        if stored.waits_for_consent(field) {
            records.held.copy_from(&stored.held, &field.pointer);
            notes.push(Note::Held(field.pointer.clone()));
            continue;
        }
        if stored.held.get(&field.pointer).is_some() {
            // Its writer created it passive, and has not asked for another value since.
            continue;
        }
        let restored = match restored_value(field, &stored, subject) {
            Restored::To(value) => Some(value),
            Restored::ToAbsence { created } => {
                patch.remove(&field.pointer, created.as_ref());
                None
            }
            // No note is needed if nothing is destroyed.
            Restored::Not(_) if field.safeguard => continue,
            Restored::Not(note) => {
                notes.push(note);
                continue;
            }
        };
        if let Some(value) = &restored
            && patch.set(&field.pointer, value.clone()).is_err()
        {
            // One of its parents is no object: nothing can be made active.
            continue;
        }
        if i == 0 {
            first = First::Active;
        }
        changes.push(FieldChange {
            pointer: field.pointer.clone(),
            before: incoming,
            after: restored,
        });
    }
    let is_foreign = match &subject.old {
        Some(old) => !old.has_restore(),
        None => changes.is_empty(),
    };
    if object.has_restore() && is_foreign {
        notes.push(Note::DroppedRecord);
    }
    // `write` only removes or rewrites an existing annotation here, which cannot fail.
    let written = records.write(object, &mut patch);
    debug_assert!(written.is_ok());
    let mut patch = patch.build();
    if records.restore.is_empty() && records.held.is_empty() {
        patch.0.extend(ownership::given_back(rule, object));
    }
    Rewrite {
        role: Some(Role::Primary),
        patch,
        changes,
        notes,
    }
}

/// The state of the first field of a rule after the rewrite: its safeguards depend on it.
#[derive(Clone, Copy, Debug)]
enum First {
    Active,
    /// It was passive before we forced anything, or its manifest says so.
    RecordedAsPassive,
    /// It waits for consent.
    Held,
    /// Its original is unknown: without the safeguard, the passive value might destroy data.
    Passive,
}

impl First {
    /// Whether a safeguard may be restored.
    fn releases(
        self,
        field: &Field,
        stored: &Records,
        records: &mut Records,
        notes: &mut Vec<Note>,
    ) -> bool {
        match self {
            Self::Active | Self::RecordedAsPassive => return true,
            Self::Held => {
                records.restore.copy_from(&stored.restore, &field.pointer);
            }
            Self::Passive if stored.restore.get(&field.pointer).is_some() => {
                notes.push(Note::StaysSafe(field.pointer.clone()));
            }
            Self::Passive => {}
        }
        false
    }
}

enum Restored {
    To(Value),
    ToAbsence { created: Option<Pointer> },
    Not(Note),
}

fn restored_value(field: &Field, stored: &Records, subject: &Subject<'_>) -> Restored {
    let stays = || Restored::Not(Note::StaysPassive(field.pointer.clone()));
    match &field.active {
        Active::Fixed(value) => return Restored::To(value.clone()),
        Active::Restore { or: None } if ownership::manifest_says_passive(field, subject) => {
            return stays();
        }
        Active::Restore { .. } | Active::Manual => {}
    }
    match stored.restore.get(&field.pointer) {
        Some(Some(value)) if field.is_passive(Some(value)) => match &field.active {
            Active::Restore { or: Some(active) } => Restored::To(active.clone()),
            _ => stays(),
        },
        Some(Some(value)) => Restored::To(value.clone()),
        Some(None) => Restored::ToAbsence {
            created: stored.restore.created_for(&field.pointer).cloned(),
        },
        None => match &field.active {
            Active::Restore { or: Some(active) } => Restored::To(active.clone()),
            _ => Restored::Not(Note::NoRecord(field.pointer.clone())),
        },
    }
}
