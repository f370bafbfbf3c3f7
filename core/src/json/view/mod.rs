//! A view of a few fields of a JSON object, without parsing the whole object.
//!
//! An admission review carries up to 6 MiB of JSON, and a rule concerns a handful of its fields. [`View::parse`] reads
//! the text once, keeps slices of the requested fields, and skips the others without recursion, so that neither the
//! size of an object nor the depth of foreign content costs more than reading it.

mod traversal;

use std::sync::LazyLock;

use serde::de::DeserializeSeed as _;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::pointer::{MAX_SEGMENTS, Pointer};
use crate::names::{ENFORCE_LABEL, HELD_ANNOTATION, RESTORE_ANNOTATION};
use traversal::Traversal;

/// The annotation in which `kubectl apply` keeps its last configuration.
const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The fields of every view, in the order of the constants below.
static FIXED: LazyLock<[Pointer; 9]> = LazyLock::new(|| {
    [
        Pointer::of(&["metadata", "name"]),
        Pointer::of(&["metadata", "generateName"]),
        Pointer::of(&["metadata", "ownerReferences"]),
        Pointer::of(&["metadata", "managedFields"]),
        Pointer::of(&["metadata", "labels", ENFORCE_LABEL]),
        Pointer::annotation(RESTORE_ANNOTATION),
        Pointer::annotation(HELD_ANNOTATION),
        Pointer::annotation(LAST_APPLIED_ANNOTATION),
        Pointer::of(&["metadata", "creationTimestamp"]),
    ]
});
const NAME: usize = 0;
const GENERATE_NAME: usize = 1;
const OWNERS: usize = 2;
const MANAGED_FIELDS: usize = 3;
const ENFORCE: usize = 4;
const RESTORE: usize = 5;
const HELD: usize = 6;
const LAST_APPLIED: usize = 7;
const CREATION_TIMESTAMP: usize = 8;

/// The value at a place above a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Container {
    /// Nothing, or `null`, which Kubernetes treats alike.
    #[default]
    Absent,
    /// An object with this many members.
    Object(usize),
    /// A value without members.
    Other,
}

/// Slices of one JSON object.
#[derive(Debug)]
pub(crate) struct View<'a> {
    text: &'a str,
    leaves: Vec<Option<&'a RawValue>>,
    /// Per path, the containers after 1, 2, ... segments.
    containers: Vec<[Container; MAX_SEGMENTS]>,
}

impl<'a> View<'a> {
    /// Reads the fixed fields and `pointers`, of which there may be at most 24.
    pub(crate) fn parse<'p>(
        text: &'a str,
        pointers: impl IntoIterator<Item = &'p Pointer>,
    ) -> Result<Self, serde_json::Error> {
        let paths: Vec<&Pointer> = FIXED.iter().chain(pointers).collect();
        Self::read(text, &paths)
    }

    /// Whether `pointer` exists, as a value or inside an empty object. Used on `fieldsV1`, where an empty object covers
    /// everything below it.
    pub(crate) fn covers(text: &'a str, pointer: &Pointer) -> bool {
        Self::read(text, &[pointer]).is_ok_and(|view| {
            view.leaves[0].is_some()
                || view.containers[0][..pointer.len() - 1].contains(&Container::Object(0))
        })
    }

    fn read(text: &'a str, paths: &[&Pointer]) -> Result<Self, serde_json::Error> {
        assert!(paths.len() <= 64, "a rule has at most 24 fields");
        let mut view = Self {
            text,
            leaves: vec![None; paths.len()],
            containers: vec![[Container::Absent; MAX_SEGMENTS]; paths.len()],
        };
        let live = u64::MAX >> (64 - paths.len());
        let mut deserializer = serde_json::Deserializer::from_str(text);
        Traversal::of(&mut view, paths, live).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(view)
    }

    /// The value of the `i`th requested pointer; `null` counts as absent.
    pub(crate) fn value(&self, i: usize) -> Option<Value> {
        // Raw text that was skipped is valid JSON, but may be deep: a value that is too deep is no scalar, and an array
        // is returned in its place.
        let raw = self.leaves[FIXED.len() + i]?;
        match serde_json::from_str(raw.get()) {
            Ok(Value::Null) => None,
            Ok(value) => Some(value),
            Err(_) => Some(Value::Array(Vec::new())),
        }
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// The container `depth` segments down the `i`th requested pointer.
    pub(crate) fn container(&self, i: usize, depth: usize) -> Container {
        self.containers[FIXED.len() + i][depth - 1]
    }

    /// The object's annotations, as a container.
    pub(crate) fn annotations(&self) -> Container {
        self.containers[RESTORE][1]
    }

    /// The object's metadata, as a container.
    pub(crate) fn metadata(&self) -> Container {
        self.containers[RESTORE][0]
    }

    /// The name, or the `generateName` that the API server makes one from.
    pub(crate) fn name(&self) -> Option<String> {
        self.own_name().or_else(|| self.string(GENERATE_NAME))
    }

    /// `None` until the API server has generated one: it cannot be the name of another object then.
    pub(crate) fn own_name(&self) -> Option<String> {
        self.string(NAME)
    }

    pub(crate) fn enforce_label(&self) -> Option<String> {
        self.string(ENFORCE)
    }

    pub(crate) fn restore(&self) -> Option<String> {
        self.string(RESTORE)
    }

    pub(crate) fn held(&self) -> Option<String> {
        self.string(HELD)
    }

    pub(crate) fn has_restore(&self) -> bool {
        self.leaves[RESTORE].is_some()
    }

    pub(crate) fn has_held(&self) -> bool {
        self.leaves[HELD].is_some()
    }

    pub(crate) fn last_applied(&self) -> Option<String> {
        self.string(LAST_APPLIED)
    }

    /// `metadata.managedFields`, not parsed.
    pub(crate) fn managed_fields(&self) -> Option<&'a RawValue> {
        self.leaves[MANAGED_FIELDS]
    }

    pub(crate) fn creation_timestamp(&self) -> Option<String> {
        self.string(CREATION_TIMESTAMP)
    }

    /// Whether another object controls this one.
    pub(crate) fn is_controlled(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Owner {
            #[serde(default)]
            controller: Option<bool>,
        }
        self.leaves[OWNERS]
            .and_then(|raw| serde_json::from_str::<Vec<Owner>>(raw.get()).ok())
            .is_some_and(|owners| owners.iter().any(|o| o.controller == Some(true)))
    }

    fn string(&self, path: usize) -> Option<String> {
        serde_json::from_str(self.leaves[path]?.get()).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pointers(texts: &[&str]) -> Vec<Pointer> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn a_view_finds_values_and_their_containers() {
        let pointers = pointers(&["/spec/a/b", "/spec/a/c/d", "/none/x", "/text/x"]);
        let text = r#"{"metadata":{"annotations":{"x":"y","failover.dev/restore":"{}"}},"spec":{"a":{"b":3,"z":[1,{"b":4}]}},"text":"t"}"#;
        let view = View::parse(text, &pointers).unwrap();
        assert_eq!(view.value(0), Some(json!(3)));
        assert_eq!(
            (view.value(1), view.value(2), view.value(3)),
            (None, None, None)
        );
        assert_eq!(view.container(0, 2), Container::Object(2));
        assert_eq!(view.container(1, 3 - 1), Container::Object(2));
        assert_eq!(view.container(2, 1), Container::Absent);
        assert_eq!(view.container(3, 1), Container::Other);
        assert_eq!(view.annotations(), Container::Object(2));
        assert_eq!(view.restore().as_deref(), Some("{}"));
    }

    #[test]
    fn the_last_of_two_members_of_one_name_counts() {
        let pointers = pointers(&["/spec/replicas"]);
        let view = View::parse(r#"{"spec":{"replicas":3},"spec":{}}"#, &pointers).unwrap();
        assert_eq!(view.value(0), None);
        let view = View::parse(
            r#"{"spec":{"replicas":3},"spec":{"replicas":4}}"#,
            &pointers,
        )
        .unwrap();
        assert_eq!(view.value(0), Some(json!(4)));
        let view = View::parse(r#"{"spec":{"replicas":3},"spec":{"x":4}}"#, &pointers).unwrap();
        assert_eq!(view.value(0), None);
    }

    #[test]
    fn deep_foreign_content_needs_no_stack() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"x":{deep},"spec":{{"y":{deep},"replicas":3,"suspend":{deep}}}}}"#);
        let view = View::parse(&text, &pointers(&["/spec/replicas", "/spec/suspend"])).unwrap();
        assert_eq!(view.value(0), Some(json!(3)));
        assert!(view.value(1).is_some_and(|v| v.is_array()));
    }

    #[test]
    fn a_text_that_is_no_json_object_is_refused() {
        for text in [
            "",
            "[]",
            "3",
            "{",
            r#"{"a":}"#,
            r#"{"a":1}}"#,
            r#"{"a":1} x"#,
        ] {
            assert!(View::parse(text, &pointers(&["/a/b"])).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_view_agrees_with_a_lookup_in_the_whole_object(value in crate::admission::rewrite::generate::object()) {
            let rules = crate::RuleSet::built_in();
            let text = value.to_string();
            for rule in rules.iter() {
                let pointers: Vec<_> = rule.fields.iter().map(|f| f.pointer.clone()).collect();
                let view = View::parse(&text, &pointers).unwrap();
                for (i, pointer) in pointers.iter().enumerate() {
                    prop_assert_eq!(view.value(i), pointer.lookup(&value).cloned());
                }
            }
        }
    }
}
