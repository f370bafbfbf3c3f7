//! While the layer is secondary: force active fields, and record their originals.

use serde_json::Value;

use super::{FieldChange, Note, Records, Rewrite, RewriteError, Subject, ownership, patch_builder};
use crate::admission::Operation;
use crate::admission::record::{Record, is_removable_parent};
use crate::json::pointer::Pointer;
use crate::json::view::{Container, View};
use crate::role::Role;
use crate::rules::rule::{Active, Field, Rule};

pub(super) fn rewrite(rule: &Rule, subject: &Subject<'_>) -> Result<Rewrite, RewriteError> {
    let object = &subject.object;
    let mut notes = Vec::new();
    let sources = Sources::read(rule, subject, &mut notes);
    let mut patch = patch_builder(rule, object);
    let mut changes = Vec::new();
    let mut records = Records::default();

    for (i, field) in rule.fields.iter().enumerate() {
        let incoming = object.value(i);
        if incoming.is_none() && field.absent_is_passive {
            // Its writer has removed it: there is no original to record.
            continue;
        }
        if field.is_passive(incoming.as_ref()) {
            if field.safeguard && says_passive(field, subject) && !sources.is_own(field) {
                // It does no harm and its writer wants it: there is nothing to record and nothing to report.
                continue;
            }
            sources.keep(field, i, subject, &mut records);
            if says_passive(field, subject)
                && records.restore.get(&field.pointer).is_some()
                && !sources.is_own(field)
            {
                records
                    .restore
                    .insert(field.pointer.clone(), incoming.clone(), None);
            }
            if records
                .restore
                .get(&field.pointer)
                .flatten()
                .is_some_and(|v| field.is_passive(Some(v)))
            {
                notes.push(Note::StaysPassive(field.pointer.clone()));
            }
            if records.waits_for_consent(field) {
                notes.push(Note::Held(field.pointer.clone()));
            }
            continue;
        }
        check_type(field, incoming.as_ref())?;
        let forced = forced_value(field, i, subject);
        patch.set(&field.pointer, forced.clone())?;
        sources.record(field, i, subject, &mut records);
        changes.push(FieldChange {
            pointer: field.pointer.clone(),
            before: incoming,
            after: Some(forced),
        });
    }
    sources.record_what_is_guarded(rule, subject, &mut records);
    if !changes.is_empty()
        && let Some(old) = &subject.old
        && let Some(timestamp) = ownership::lost_timestamp(object, old)
    {
        patch.set(
            &Pointer::of(&["metadata", "creationTimestamp"]),
            timestamp.into(),
        )?;
    }
    if drops_incoming(subject, &records) {
        notes.push(Note::DroppedRecord);
    }
    records.write(object, &mut patch)?;
    Ok(Rewrite {
        role: Some(Role::Secondary),
        patch: patch.build(),
        changes,
        notes,
    })
}

/// The value to force: the passive value, or the stored one if that is passive in another way. An operator's `resync`
/// of a volume must survive the next reconcile, which asks for `primary`.
fn forced_value(field: &Field, i: usize, subject: &Subject<'_>) -> Value {
    let old = subject.old.as_ref().and_then(|old| old.value(i));
    match old {
        Some(old) if field.is_passive(Some(&old)) => old,
        _ => field.passive.clone(),
    }
}

/// Whether the manifest behind the request itself asks for the passive value. Only for fields that are restored from
/// the record alone: many a manifest sets a VolumeReplication to `secondary`, and it must still follow its site.
fn says_passive(field: &Field, subject: &Subject<'_>) -> bool {
    field.active == Active::Restore { or: None } && ownership::manifest_says_passive(field, subject)
}

fn check_type(field: &Field, value: Option<&Value>) -> Result<(), RewriteError> {
    match value {
        Some(value) if !field.value_type.matches(value) => Err(RewriteError::WrongType {
            pointer: field.pointer.clone(),
            value: kind_of(value).to_owned(),
            expected: field.value_type.as_str(),
        }),
        Some(value) if !field.takes(value) => Err(RewriteError::NotTaken {
            pointer: field.pointer.clone(),
            value: shorten(value),
        }),
        _ => Ok(()),
    }
}

fn shorten(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Where original values come from: see the documentation of [`super`].
struct Sources {
    /// From the old object; from the incoming one on a create.
    stored: Records,
    /// Written by an earlier call for the same request.
    own: Records,
}

impl Sources {
    fn read(rule: &Rule, subject: &Subject<'_>, notes: &mut Vec<Note>) -> Self {
        match (&subject.operation, &subject.old) {
            (Operation::Update, Some(old)) => {
                let stored = Records::parse(old, &rule.fields, notes);
                let own = if ownership::is_unowned(&subject.object, old) {
                    Records::parse(&subject.object, &rule.fields, notes)
                } else {
                    Records::default()
                };
                Self { stored, own }
            }
            _ => Self {
                stored: Records::parse(&subject.object, &rule.fields, notes),
                own: Records::default(),
            },
        }
    }

    fn is_own(&self, field: &Field) -> bool {
        self.own.restore.get(&field.pointer).is_some()
    }

    /// The field is passive already: copies its recorded original.
    fn keep(&self, field: &Field, i: usize, subject: &Subject<'_>, records: &mut Records) {
        if records.held.copy_from(&self.own.held, &field.pointer)
            || records.restore.copy_from(&self.own.restore, &field.pointer)
        {
            return;
        }
        if let Some(old) = &subject.old {
            let value = old.value(i);
            if !field.is_passive(value.as_ref())
                && value.as_ref().is_none_or(|v| field.value_type.matches(v))
            {
                // Stored as active while its layer is secondary: nobody rewrote it then, and the stored value is more
                // recent than any record.
                self.put(
                    field,
                    value,
                    absent_parent(old, i, &field.pointer),
                    subject,
                    records,
                );
                return;
            }
        }
        let held = records.held.copy_from(&self.stored.held, &field.pointer);
        if !held && self.needs_consent(field, subject) {
            // A record on a new object, for example from a backup, says what the object asked for, not that it ran
            // here. A queue may later resume an object that was created passive: it has not run either.
            if !records.held.copy_from(&self.stored.restore, &field.pointer) {
                let value = subject.object.value(i);
                records.held.insert(field.pointer.clone(), value, None);
            }
        } else if !held {
            records
                .restore
                .copy_from(&self.stored.restore, &field.pointer);
        }
    }

    /// The field is forced: records the value that was asked for.
    fn record(&self, field: &Field, i: usize, subject: &Subject<'_>, records: &mut Records) {
        let parent = absent_parent(&subject.object, i, &field.pointer);
        self.put(field, subject.object.value(i), parent, subject, records);
    }

    /// When a safeguard is recorded for the first time, the first field is recorded with it, even if that was passive
    /// by itself. Otherwise a promotion could not distinguish it from one whose record was lost, and must not restore a
    /// value that destroys data.
    fn record_what_is_guarded(&self, rule: &Rule, subject: &Subject<'_>, records: &mut Records) {
        let has = |record: &Record| {
            rule.safeguards()
                .any(|field| record.get(&field.pointer).is_some())
        };
        let Some(first) = rule.fields.first() else {
            return;
        };
        let is_first_time = has(&records.restore) && !has(&self.stored.restore);
        if is_first_time
            && matches!(first.active, Active::Restore { .. })
            && records.restore.get(&first.pointer).is_none()
        {
            let parent = absent_parent(&subject.object, 0, &first.pointer);
            records
                .restore
                .insert(first.pointer.clone(), subject.object.value(0), parent);
        }
    }

    fn put(
        &self,
        field: &Field,
        value: Option<Value>,
        parent: Option<Pointer>,
        subject: &Subject<'_>,
        records: &mut Records,
    ) {
        let record: &mut Record = match field.active {
            Active::Fixed(_) => return,
            Active::Restore { .. } => &mut records.restore,
            Active::Manual if self.needs_consent(field, subject) => &mut records.held,
            Active::Manual => &mut records.restore,
        };
        record.insert(field.pointer.clone(), value, parent);
    }

    /// Whether the original of this field needs consent: the object is being created, or has waited since its creation.
    fn needs_consent(&self, field: &Field, subject: &Subject<'_>) -> bool {
        field.active == Active::Manual
            && (subject.operation == Operation::Create
                || self.stored.held.get(&field.pointer).is_some())
    }
}

/// Whether the request contains a record that is not kept.
fn drops_incoming(subject: &Subject<'_>, records: &Records) -> bool {
    let object = &subject.object;
    let foreign = match &subject.old {
        Some(old) => object.restore() != old.restore() || object.held() != old.held(),
        None => true,
    };
    foreign
        && ((object.has_restore() && records.restore.is_empty())
            || (object.has_held() && records.held.is_empty()))
}

/// The topmost absent parent of a field that is removed together with the field.
fn absent_parent(view: &View<'_>, i: usize, pointer: &Pointer) -> Option<Pointer> {
    (1..pointer.len())
        .find(|depth| view.container(i, *depth) == Container::Absent)
        .map(|depth| pointer.prefix(depth))
        .filter(|parent| is_removable_parent(parent, pointer))
}
