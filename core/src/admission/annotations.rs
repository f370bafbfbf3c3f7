//! The room that an object has for annotations. The API server refuses an object that exceeds it with 422, and Flux
//! with `force: true` then deletes the object and creates it anew. So a change of ours must never exceed it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use json_patch::{Patch, PatchOperation};
use serde::Deserialize;

use crate::json::view::View;

/// The limit of the total size of an object's annotations, keys and values, in bytes (`TotalAnnotationSizeLimitB` in
/// `k8s.io/apimachinery/pkg/api/validation`).
pub const LIMIT: usize = 256 * 1024;

/// The size of the annotations after a patch, if the patch makes them too large.
pub(crate) fn overflow(view: &View<'_>, patch: &Patch) -> Option<usize> {
    let added: Vec<(String, &str)> = patch.0.iter().filter_map(added).collect();
    if added.is_empty() {
        return None;
    }
    let mut annotations = annotations(view.text())?;
    let before = size(&annotations);
    for operation in &patch.0 {
        if let PatchOperation::Remove(remove) = operation
            && let Some(key) = key_of(&remove.path.to_string())
        {
            annotations.remove(key.as_str());
        }
    }
    for (key, value) in added {
        annotations.insert(key.into(), value.into());
    }
    let after = size(&annotations);
    (before <= LIMIT && after > LIMIT).then_some(after)
}

fn size(annotations: &BTreeMap<Cow<'_, str>, Cow<'_, str>>) -> usize {
    annotations
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

/// `None` if a value is not a string: the API server refuses such an object anyway.
fn annotations(object: &str) -> Option<BTreeMap<Cow<'_, str>, Cow<'_, str>>> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow, default)]
        metadata: Option<Metadata<'a>>,
    }
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow, default)]
        annotations: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
    }
    let object: Object<'_> = serde_json::from_str(object).ok()?;
    Some(
        object
            .metadata
            .and_then(|metadata| metadata.annotations)
            .unwrap_or_default(),
    )
}

fn added(operation: &PatchOperation) -> Option<(String, &str)> {
    match operation {
        PatchOperation::Add(add) => Some((key_of(&add.path.to_string())?, add.value.as_str()?)),
        _ => None,
    }
}

/// The annotation that a path of a patch changes.
fn key_of(path: &str) -> Option<String> {
    let key = path.strip_prefix("/metadata/annotations/")?;
    Some(key.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    /// An object whose annotations leave this much room.
    fn with_room(room: usize) -> String {
        json!({"metadata": {"annotations": {"a": "x".repeat(LIMIT - 1 - room)}}}).to_string()
    }

    #[rstest]
    #[case::exactly_full(9, None)]
    #[case::one_too_many(8, Some(LIMIT + 1))]
    fn a_patch_that_exceeds_the_limit_is_found(
        #[case] room: usize,
        #[case] expected: Option<usize>,
    ) {
        let object = with_room(room);
        let view = View::parse(&object, []).unwrap();
        let patch: Patch = serde_json::from_value(json!([
            {"op": "add", "path": "/spec/replicas", "value": 0},
            {"op": "add", "path": "/metadata/annotations/b~1c", "value": "123456"},
        ]))
        .unwrap();
        assert_eq!(overflow(&view, &patch), expected);
    }

    #[test]
    fn annotations_that_are_too_large_before_the_patch_are_not_reported() {
        let object = json!({"metadata": {"annotations": {"a": "x".repeat(LIMIT)}}}).to_string();
        let view = View::parse(&object, []).unwrap();
        let patch: Patch = serde_json::from_value(
            json!([{"op": "add", "path": "/metadata/annotations/b", "value": "1"}]),
        )
        .unwrap();
        assert_eq!(overflow(&view, &patch), None);
    }

    #[test]
    fn a_replaced_or_removed_annotation_makes_room() {
        let object = with_room(0);
        let view = View::parse(&object, []).unwrap();
        let patch: Patch = serde_json::from_value(json!([
            {"op": "add", "path": "/metadata/annotations/a", "value": "short"},
            {"op": "add", "path": "/metadata/annotations/b", "value": "1"},
        ]))
        .unwrap();
        assert_eq!(overflow(&view, &patch), None);
    }
}
