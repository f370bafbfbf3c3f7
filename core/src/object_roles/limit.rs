//! Limits the annotation to a size that an API server stores: a namespace whose annotation is refused could no longer
//! be demoted, and everybody who may label objects could cause that.

use crate::namespace::{ObjectRole, ObjectRoles};
use crate::object::ObjectKey;

/// Longest annotation in bytes. All annotations of an object together may have 256 KiB; this is our share.
pub(super) const ROOM: usize = 128 * 1024;

/// Drops new entries until the others fit: exemptions first, and in reverse order of their names. Entries in force
/// stay.
pub(super) fn make_room(
    namespace: &str,
    current: &ObjectRoles,
    objects: &mut ObjectRoles,
) -> Vec<ObjectKey> {
    let mut length = objects.to_string().len();
    if length <= ROOM {
        return Vec::new();
    }
    let mut new: Vec<(bool, ObjectKey, usize)> = objects
        .iter()
        .filter(|(resource, name, _)| current.get(resource, name).is_none())
        .map(|(resource, name, role)| {
            let key = ObjectKey {
                namespace: namespace.to_owned(),
                resource: resource.to_owned(),
                name: name.to_owned(),
            };
            // `resource/name=role` and the space before the next.
            let entry = resource.len() + name.len() + role.as_str().len() + 3;
            (role != ObjectRole::Exempt, key, entry)
        })
        .collect();
    // The entries to drop first come last.
    new.sort_by(|a, b| (!a.0, &a.1).cmp(&(!b.0, &b.1)));
    let mut dropped = Vec::new();
    while length > ROOM {
        let Some((_, key, entry)) = new.pop() else {
            break;
        };
        objects.remove(&key.resource, &key.name);
        length = length.saturating_sub(entry);
        dropped.push(key);
    }
    dropped
}

pub(super) fn no_room(key: &ObjectKey) -> String {
    format!(
        "the annotation failover.dev/objects has no room for {}/{} of namespace {}: enrol the namespace with --policy-only, or name fewer objects",
        key.resource, key.name, key.namespace
    )
}
