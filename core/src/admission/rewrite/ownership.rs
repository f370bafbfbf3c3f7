//! What `managedFields` and `last-applied-configuration` tell about who asked for a value.
//!
//! Measured on the API server: an apply that leaves the live object as it is leaves the time of the manager's `Apply`
//! entry too, one that changes it renews that; a patch by the same manager adds or renews an `Update` entry of its own.
//! Both arrive as UpdateOptions, so the entries are the only way to tell an apply from a patch. All of them are computed
//! before admission, and a webhook's own changes are owned by nobody.
//!
//! Flux, and whatever else sends built-in kinds as Go has them, applies `creationTimestamp: null`. So its applies always
//! change the object, and renew the time; the API server puts the timestamp back only after admission.

use std::borrow::Cow;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Subject;
use crate::json::pointer::Pointer;
use crate::json::view::View;
use crate::names::{CONTROLLER_MANAGER, HELD_ANNOTATION, RESTORE_ANNOTATION};
use crate::rules::rule::{Field, Rule};

const MANAGED_FIELDS: [&str; 2] = ["metadata", "managedFields"];

/// Whether the manifest behind this request says the passive value itself: it was applied by the request's manager, or
/// `kubectl apply` says so.
pub(super) fn manifest_says_passive(field: &Field, subject: &Subject<'_>) -> bool {
    let Some(old) = &subject.old else {
        return false;
    };
    is_applied(&field.pointer, subject, old)
        || last_applied_turned_passive(field, &subject.object, old)
        || (field.absent_is_passive && is_taken_out(&field.pointer, &subject.object, old))
}

/// Whoever owned the field does so no longer, and nobody else does: a manifest has dropped it. Where the API has a default
/// that is passive, that is all there is to see of it.
fn is_taken_out(pointer: &Pointer, object: &View<'_>, old: &View<'_>) -> bool {
    let pointer = in_fields_v1(pointer);
    let is_owned = |view| {
        entries(view)
            .iter()
            .any(|entry| entry.manager != CONTROLLER_MANAGER && entry.covers(&pointer))
    };
    is_owned(old) && !is_owned(object)
}

/// Whether a record on the incoming object was put there by an earlier admission call for the same request: it is not the
/// stored one, and nobody owns it.
pub(super) fn is_unowned(object: &View<'_>, old: &View<'_>) -> bool {
    if object.restore() == old.restore() && object.held() == old.held() {
        return false;
    }
    let entries = entries(object);
    // An object whose fields are not tracked at all proves nothing.
    !entries.is_empty()
        && [RESTORE_ANNOTATION, HELD_ANNOTATION].iter().all(|key| {
            let pointer = in_fields_v1(&Pointer::annotation(key));
            !entries.iter().any(|entry| entry.covers(&pointer))
        })
}

/// The request's manager applies this field as it is stored, and the request is no patch or update by the same manager.
///
/// "As it is stored" needs proof, or the second call for a repeated apply of an active value would look like this too: by
/// then the value is the passive one that the first call forced. Proof is the time of the manager's `Apply` entry, or that
/// no call of ours has forced anything yet ([`lost_timestamp`]).
fn is_applied(pointer: &Pointer, subject: &Subject<'_>, old: &View<'_>) -> bool {
    let Some(manager) = subject.manager else {
        return false;
    };
    let entries = entries(&subject.object);
    let old_entries = self::entries(old);
    let pointer = in_fields_v1(pointer);
    let Some(applied) = entries
        .iter()
        .find(|e| e.is(manager, "Apply") && e.covers(&pointer))
    else {
        return false;
    };
    let applied_before = old_entries.iter().find(|e| e.is(manager, "Apply"));
    let changes_nothing = applied.time == applied_before.and_then(|e| e.time.clone());
    if !changes_nothing && lost_timestamp(&subject.object, old).is_none() {
        return false;
    }
    let updates = |entries: &[Entry<'_>]| -> Vec<(Option<String>, String)> {
        entries
            .iter()
            .filter(|e| e.is(manager, "Update"))
            .map(|e| {
                (
                    e.time.as_deref().map(str::to_owned),
                    e.fields_v1.map_or("", RawValue::get).to_owned(),
                )
            })
            .collect()
    };
    updates(&entries) == updates(&old_entries)
}

/// The `creationTimestamp` that an apply has taken away and the API server will put back. Whoever forces a value puts it
/// back at once: where it is still missing, the object is as its writer sent it.
pub(super) fn lost_timestamp(object: &View<'_>, old: &View<'_>) -> Option<String> {
    match object.creation_timestamp() {
        Some(_) => None,
        None => old.creation_timestamp(),
    }
}

/// `kubectl apply` sent another configuration than before, and the new one says passive.
fn last_applied_turned_passive(field: &Field, object: &View<'_>, old: &View<'_>) -> bool {
    let Some(now) = object.last_applied() else {
        return false;
    };
    if old.last_applied().as_deref() == Some(&now) {
        return false;
    }
    serde_json::from_str::<Value>(&now)
        .is_ok_and(|applied| field.is_passive(field.pointer.lookup(&applied)))
}

/// Takes the rule's fields and our annotations out of what the controller owns, as operations of a patch.
///
/// Where the webhook is down the controller forces a value itself, and so becomes an owner of the field. Once the field is
/// its writers' again, that would make every apply of another value a conflict that they can only force. An object with no
/// other entry is left alone: without any, the API server's next apply makes all fields the property of
/// `before-first-apply`.
pub(super) fn given_back(rule: &Rule, object: &View<'_>) -> Vec<PatchOperation> {
    let is_named = |raw: &&RawValue| raw.get().contains(CONTROLLER_MANAGER);
    let Some(raw) = object.managed_fields().filter(is_named) else {
        return vec![];
    };
    let entries: Vec<Value> = serde_json::from_str(raw.get()).unwrap_or_default();
    let ours = |entry: &Value| {
        entry["manager"] == CONTROLLER_MANAGER
            && entry["operation"] == "Update"
            && entry["subresource"].as_str().is_none_or(str::is_empty)
    };
    if entries.iter().all(ours) {
        return vec![];
    }
    let annotations = [RESTORE_ANNOTATION, HELD_ANNOTATION].map(Pointer::annotation);
    let pointers: Vec<Pointer> = rule
        .fields
        .iter()
        .map(|field| &field.pointer)
        .chain(&annotations)
        .map(in_fields_v1)
        .collect();
    let mut operations = Vec::new();
    // From the end, so that what is taken out moves none of those that are still to come.
    for (i, entry) in entries.into_iter().enumerate().rev() {
        if !ours(&entry) {
            continue;
        }
        let mut left = entry.clone();
        for pointer in &pointers {
            let segments: Vec<&str> = pointer.segments().collect();
            take_out(&mut left["fieldsV1"], &segments);
        }
        if left == entry {
            continue;
        }
        let place = i.to_string();
        let path = PointerBuf::from_tokens(MANAGED_FIELDS.into_iter().chain([place.as_str()]));
        operations.push(PatchOperation::Remove(RemoveOperation {
            path: path.clone(),
        }));
        let owns_nothing = left["fieldsV1"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty);
        if !owns_nothing {
            operations.push(PatchOperation::Add(AddOperation { path, value: left }));
        }
    }
    operations
}

/// Whether an operation is one of [`given_back`].
pub(super) fn is_about_owners(operation: &PatchOperation) -> bool {
    let path = match operation {
        PatchOperation::Add(add) => &add.path,
        PatchOperation::Remove(remove) => &remove.path,
        _ => return false,
    };
    path.starts_with(&PointerBuf::from_tokens(MANAGED_FIELDS))
}

/// Removes a path from a set of fields, and every part above that is empty then.
fn take_out(fields: &mut Value, path: &[&str]) {
    let (Some(fields), [first, rest @ ..]) = (fields.as_object_mut(), path) else {
        return;
    };
    let Some(below) = fields.get_mut(*first) else {
        return;
    };
    if !rest.is_empty() {
        let was_empty = below.as_object().is_none_or(serde_json::Map::is_empty);
        take_out(below, rest);
        // `{".": {}}` owns the map itself, which is there for what was in it.
        let is_empty = below
            .as_object()
            .is_none_or(|left| left.keys().all(|key| key == "."));
        if was_empty || !is_empty {
            return;
        }
    }
    fields.remove(*first);
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    manager: Cow<'a, str>,
    #[serde(borrow, default)]
    operation: Cow<'a, str>,
    #[serde(borrow, default)]
    subresource: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "fieldsV1")]
    fields_v1: Option<&'a RawValue>,
}

impl Entry<'_> {
    fn is(&self, manager: &str, operation: &str) -> bool {
        self.manager == manager
            && self.operation == operation
            && self.subresource.as_deref().is_none_or(str::is_empty)
    }

    fn covers(&self, pointer: &Pointer) -> bool {
        self.fields_v1
            .is_some_and(|fields| View::covers(fields.get(), pointer))
    }
}

fn entries<'a>(view: &View<'a>) -> Vec<Entry<'a>> {
    view.managed_fields()
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

/// `/spec/replicas` as it stands in `fieldsV1`: `/f:spec/f:replicas`.
fn in_fields_v1(pointer: &Pointer) -> Pointer {
    pointer.map_segments(|segment| format!("f:{segment}"))
}
