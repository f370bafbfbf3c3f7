//! Objects of a list, without the parts that no decision reads.
//!
//! A page of pods is mostly managed fields, containers and their statuses. Parsed completely it takes many times the
//! memory of the parts that are kept, so the others are skipped while the page is parsed, and never become values. Only
//! for objects that are checked: an object that is rewritten must be read as it is stored.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// An object without the parts that nothing reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Lean(pub Value);

impl<'de> Deserialize<'de> for Lean {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields(LEFT_OUT).deserialize(deserializer).map(Self)
    }
}

/// A field that is left out, completely or in part.
struct Part {
    name: &'static str,
    /// Empty: all of it.
    fields: &'static [Part],
}

const fn all(name: &'static str) -> Part {
    Part { name, fields: &[] }
}

const fn some(name: &'static str, fields: &'static [Part]) -> Part {
    Part { name, fields }
}

/// For pods, their owners, and nodes.
const LEFT_OUT: &[Part] = &[
    some(
        "metadata",
        &[
            all("managedFields"),
            some(
                "annotations",
                &[all("kubectl.kubernetes.io/last-applied-configuration")],
            ),
        ],
    ),
    some(
        "spec",
        &[
            all("template"),
            all("jobTemplate"),
            all("containers"),
            all("initContainers"),
            all("ephemeralContainers"),
            all("affinity"),
            all("tolerations"),
            all("topologySpreadConstraints"),
        ],
    ),
    some(
        "status",
        &[
            all("containerStatuses"),
            all("initContainerStatuses"),
            all("ephemeralContainerStatuses"),
            all("images"),
        ],
    ),
];

/// Parses a value; an object without these fields.
#[derive(Clone, Copy)]
struct Fields(&'static [Part]);

impl<'de> DeserializeSeed<'de> for Fields {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            match self.0.iter().find(|part| part.name == name) {
                None => {
                    kept.insert(name, map.next_value()?);
                }
                Some(part) if part.fields.is_empty() => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(part) => {
                    kept.insert(name, map.next_value_seed(Fields(part.fields))?);
                }
            }
        }
        Ok(Value::Object(kept))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(seq))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn lean(text: &str) -> Value {
        serde_json::from_str::<Lean>(text).unwrap().0
    }

    #[test]
    fn parts_that_nothing_reads_are_left_out() {
        let pod = json!({
            "metadata": {
                "name": "web-1", "managedFields": [{"manager": "kubelet"}],
                "annotations": {
                    "team": "a", "kubectl.kubernetes.io/last-applied-configuration": "{}"
                },
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": true}],
            },
            "spec": {
                "containers": [{"name": "web"}], "nodeName": "n1", "hostNetwork": false, "priority": -1,
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            },
            "status": {"phase": "Running", "containerStatuses": [{}], "conditions": [{"type": "Ready", "status": "True"}]},
            "containers": "not those of a spec", "weight": 0.5, "nothing": null,
        });
        let mut expected = pod.clone();
        for (parent, name) in [
            ("/metadata", "managedFields"),
            (
                "/metadata/annotations",
                "kubectl.kubernetes.io/last-applied-configuration",
            ),
            ("/spec", "containers"),
            ("/status", "containerStatuses"),
        ] {
            let parent = expected.pointer_mut(parent).unwrap();
            parent.as_object_mut().unwrap().remove(name);
        }
        assert_eq!(lean(&pod.to_string()), expected);
    }

    #[rstest]
    #[case::spec_of_another_kind(r#"{"spec": "text", "status": null, "metadata": [1]}"#)]
    #[case::no_object(r"[1, -2, 0.5]")]
    #[case::text(r#""\n""#)]
    fn a_value_of_another_shape_is_unchanged(#[case] text: &str) {
        assert_eq!(lean(text), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn a_part_that_is_left_out_must_still_be_json() {
        let damaged = r#"{"spec": {"containers": [}}"#;
        assert!(serde_json::from_str::<Lean>(damaged).is_err());
    }
}
