//! Who asked for a value, read from `managedFields` and `last-applied-configuration`.
//!
//! Measured on the API server: an apply that does not change the live object keeps the time of the manager's `Apply`
//! entry, and an apply that changes it renews the time. A patch by the same manager adds or renews an `Update` entry of
//! its own. Both arrive as UpdateOptions, so only the entries distinguish an apply from a patch. All of them are
//! computed before admission, and nobody owns a webhook's own changes.
//!
//! Flux, and every client that sends built-in kinds as Go structs, applies `creationTimestamp: null`. So its applies
//! always change the object and renew the time; the API server restores the timestamp only after admission.

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

/// Whether the manifest behind this request sets the passive value itself: the request's manager applied it, or
/// `kubectl apply` recorded it.
pub(super) fn manifest_says_passive(field: &Field, subject: &Subject<'_>) -> bool {
    let Some(old) = &subject.old else {
        return false;
    };
    is_applied(&field.pointer, subject, old)
        || last_applied_became_passive(field, &subject.object, old)
        || (field.absent_is_passive && is_dropped(&field.pointer, &subject.object, old))
}

/// Whether the previous owner no longer owns the field, and nobody else does: a manifest has dropped it. If the API has
/// a passive default, nothing else shows this.
fn is_dropped(pointer: &Pointer, object: &View<'_>, old: &View<'_>) -> bool {
    let pointer = in_fields_v1(pointer);
    let is_owned = |view| {
        entries(view)
            .iter()
            .any(|entry| entry.manager != CONTROLLER_MANAGER && entry.covers(&pointer))
    };
    is_owned(old) && !is_owned(object)
}

/// Whether an earlier admission call for the same request wrote the record on the incoming object: it differs from the
/// stored one, and nobody owns it.
pub(super) fn is_unowned(object: &View<'_>, old: &View<'_>) -> bool {
    if object.restore() == old.restore() && object.held() == old.held() {
        return false;
    }
    let entries = entries(object);
    // An object without tracked fields proves nothing.
    !entries.is_empty()
        && [RESTORE_ANNOTATION, HELD_ANNOTATION].iter().all(|key| {
            let pointer = in_fields_v1(&Pointer::annotation(key));
            !entries.iter().any(|entry| entry.covers(&pointer))
        })
}

/// Whether the request's manager applies this field with its stored value, and the request is no patch or update by the
/// same manager.
///
/// "With its stored value" needs proof. Otherwise the second call for a repeated apply of an active value would look
/// the same: by then the value is the passive one that the first call forced. Proof is the time of the manager's
/// `Apply` entry, or that no call of ours has forced anything yet ([`lost_timestamp`]).
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

/// The `creationTimestamp` that an apply has removed and the API server will restore. A rewrite that forces a value
/// restores it at once: while it is missing, the object is as its writer sent it.
pub(super) fn lost_timestamp(object: &View<'_>, old: &View<'_>) -> Option<String> {
    match object.creation_timestamp() {
        Some(_) => None,
        None => old.creation_timestamp(),
    }
}

/// Whether `kubectl apply` sent another configuration than before, and the new one sets the passive value.
fn last_applied_became_passive(field: &Field, object: &View<'_>, old: &View<'_>) -> bool {
    let Some(now) = object.last_applied() else {
        return false;
    };
    if old.last_applied().as_deref() == Some(&now) {
        return false;
    }
    serde_json::from_str::<Value>(&now)
        .is_ok_and(|applied| field.is_passive(field.pointer.lookup(&applied)))
}

/// Removes the rule's fields and our annotations from the controller's ownership, as operations of a patch.
///
/// While the webhook is down the controller forces a value itself, and becomes an owner of the field. Once the field
/// belongs to its writers again, every apply of another value would be a conflict that they can only force. An object
/// without another entry is left unchanged: without any entry, the API server's next apply assigns all fields to
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
    // From the end, so that a removal does not shift the entries before it.
    for (i, entry) in entries.into_iter().enumerate().rev() {
        if !ours(&entry) {
            continue;
        }
        let mut left = entry.clone();
        for pointer in &pointers {
            let segments: Vec<&str> = pointer.segments().collect();
            remove_path(&mut left["fieldsV1"], &segments);
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

/// Whether an operation comes from [`given_back`].
pub(super) fn is_about_owners(operation: &PatchOperation) -> bool {
    let path = match operation {
        PatchOperation::Add(add) => &add.path,
        PatchOperation::Remove(remove) => &remove.path,
        _ => return false,
    };
    path.starts_with(&PointerBuf::from_tokens(MANAGED_FIELDS))
}

/// Removes a path from a set of fields, and every parent that is empty afterwards.
fn remove_path(fields: &mut Value, path: &[&str]) {
    let (Some(fields), [first, rest @ ..]) = (fields.as_object_mut(), path) else {
        return;
    };
    let Some(below) = fields.get_mut(*first) else {
        return;
    };
    if !rest.is_empty() {
        let was_empty = below.as_object().is_none_or(serde_json::Map::is_empty);
        remove_path(below, rest);
        // `{".": {}}` owns the map itself, which exists only for its content.
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

/// `/spec/replicas` as `fieldsV1` writes it: `/f:spec/f:replicas`.
fn in_fields_v1(pointer: &Pointer) -> Pointer {
    pointer.map_segments(|segment| format!("f:{segment}"))
}
