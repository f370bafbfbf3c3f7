//! Keeping the annotation within what an API server stores: a namespace whose annotation it refuses could not be demoted
//! any more, and anybody who may label objects could bring that about.

use crate::namespace::{ObjectRole, ObjectRoles};
use crate::object::ObjectKey;

/// Longest annotation in bytes. All annotations of an object together may have 256 KiB; this is ours.
pub(super) const ROOM: usize = 128 * 1024;

/// Takes back what is new until the rest fits: exemptions first, and the last by name first. What is in force stays.
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
    // Those to go first stand last.
    new.sort_by(|a, b| (!a.0, &a.1).cmp(&(!b.0, &b.1)));
    let mut gone = Vec::new();
    while length > ROOM {
        let Some((_, key, entry)) = new.pop() else {
            break;
        };
        objects.remove(&key.resource, &key.name);
        length = length.saturating_sub(entry);
        gone.push(key);
    }
    gone
}

pub(super) fn no_room(key: &ObjectKey) -> String {
    format!(
        "the annotation failover.dev/objects has no room for {}/{} of namespace {}: enrol the namespace with --policy-only, or name fewer objects",
        key.resource, key.name, key.namespace
    )
}
