//! Generated objects for property tests: with and without parents, labels, annotations and unknown fields, with deep
//! free-form content and hostile records.
//!
//! Objects are in the normal form that the API server stores: no `null` at a place that a rule reads, and no empty map
//! of labels or annotations (`omitempty` in ObjectMeta).

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::api::ValueType;
use crate::json::pointer::Pointer;
use crate::names::{HELD_ANNOTATION, RESTORE_ANNOTATION};
use crate::rules::rule::{Active, Field, Reach, Rule};
use crate::rules::set::RuleSet;

/// The built-in rules, and five that use everything that only a RoleRule can have: deep pointers with shared parents,
/// labels, fixed and manual values, optional fields, and safeguards.
pub(crate) fn rules() -> Vec<Rule> {
    let field = |pointer: &str, value_type, passive: Value, active| Field {
        pointer: pointer.parse().unwrap(),
        value_type,
        passive,
        also_passive: vec![],
        absent_is_passive: false,
        active,
        safeguard: false,
    };
    let optional = |field: Field| Field {
        absent_is_passive: true,
        ..field
    };
    let restore = || Active::Restore { or: None };
    let custom = |resource: &'static str, fields| Rule {
        group: "example.com".into(),
        version: "v1".into(),
        kind: "Example".into(),
        resource: resource.into(),
        layer: crate::Layer::Workloads,
        fields,
        scale: false,
        reach: Reach::All,
        ready: None,
    };
    let mut rules: Vec<Rule> = RuleSet::built_in().iter().cloned().collect();
    rules.push(custom(
        "shared",
        vec![
            field(
                "/spec/run/pause/enabled",
                ValueType::Boolean,
                json!(true),
                restore(),
            ),
            field(
                "/spec/run/pause/mode",
                ValueType::String,
                json!("off"),
                Active::Restore {
                    or: Some(json!("on")),
                },
            ),
            field("/spec/run/count", ValueType::Integer, json!(0), restore()),
        ],
    ));
    rules.push(custom(
        "fixed",
        vec![
            field(
                "/metadata/labels/state",
                ValueType::String,
                json!("idle"),
                restore(),
            ),
            field(
                "/config/mode",
                ValueType::String,
                json!("standby"),
                Active::Fixed(json!("live")),
            ),
        ],
    ));
    rules.push(custom(
        "manual",
        vec![field(
            "/a/b/c/d/e/f",
            ValueType::Boolean,
            json!(true),
            Active::Manual,
        )],
    ));
    rules.push(custom(
        "optional",
        vec![
            optional(field(
                "/spec/running",
                ValueType::Boolean,
                json!(false),
                restore(),
            )),
            optional(field(
                "/spec/runStrategy",
                ValueType::String,
                json!("Halted"),
                restore(),
            )),
            optional(field(
                "/spec/receive/paused",
                ValueType::Boolean,
                json!(false),
                Active::Fixed(json!(true)),
            )),
        ],
    ));
    rules.push(guarded());
    rules
}

/// The fields that a rule with safeguards adds: a required one and an optional one.
fn guarded() -> Rule {
    let field = |pointer: &str, value_type, passive: Value, safeguard| Field {
        pointer: pointer.parse().unwrap(),
        value_type,
        passive,
        also_passive: vec![],
        absent_is_passive: false,
        active: Active::Restore { or: None },
        safeguard,
    };
    Rule {
        resource: "guarded".into(),
        fields: vec![
            field("/spec/on", ValueType::Boolean, json!(false), false),
            field("/spec/keep/mode", ValueType::String, json!("all"), true),
            Field {
                absent_is_passive: true,
                ..field("/spec/wipe", ValueType::Boolean, json!(false), true)
            },
        ],
        ..RuleSet::built_in()
            .find("batch", "cronjobs")
            .unwrap()
            .clone()
    }
}

pub(crate) fn rule() -> impl Strategy<Value = Rule> {
    proptest::sample::select(rules())
}

/// Any object, for any rule or none.
pub(crate) fn object() -> impl Strategy<Value = Value> {
    rule().prop_flat_map(|rule| object_of(&rule))
}

/// A rule and an object of its kind.
pub(crate) fn case() -> impl Strategy<Value = (Rule, Value)> {
    rule().prop_flat_map(|rule| (Just(rule.clone()), object_of(&rule)))
}

/// A rule, the stored object and the written object.
pub(crate) fn update() -> impl Strategy<Value = (Rule, Value, Value)> {
    rule().prop_flat_map(|rule| (Just(rule.clone()), object_of(&rule), object_of(&rule)))
}

fn object_of(rule: &Rule) -> impl Strategy<Value = Value> + use<> {
    let fields: Vec<_> = rule
        .fields
        .iter()
        .map(|f| (Just(f.clone()), state_of(f)))
        .collect();
    (
        btree_map("[a-z]{1,6}", free(), 0..4),
        btree_map("[a-z/.~]{1,12}", "\\PC{0,12}", 0..3),
        btree_map("[a-z/.~]{1,12}", "[a-z]{0,12}", 0..3),
        fields,
        option::weighted(0.3, record_of(rule)),
        option::weighted(0.1, record_of(rule)),
        any::<bool>(),
    )
        .prop_map(
            |(foreign, annotations, labels, fields, record, held, tracked)| {
                let mut object: Map<String, Value> = foreign.into_iter().collect();
                let mut metadata = json!({"name": "web"});
                let mut annotations: Map<String, Value> = annotations
                    .into_iter()
                    .map(|(k, v)| (k, Value::String(v)))
                    .collect();
                annotations.extend(
                    record.map(|text| (RESTORE_ANNOTATION.to_owned(), Value::String(text))),
                );
                annotations
                    .extend(held.map(|text| (HELD_ANNOTATION.to_owned(), Value::String(text))));
                if !annotations.is_empty() {
                    metadata["annotations"] = Value::Object(annotations);
                }
                if !labels.is_empty() {
                    metadata["labels"] = labels
                        .into_iter()
                        .map(|(k, v)| (k, Value::String(v)))
                        .collect();
                }
                if tracked {
                    metadata["managedFields"] = json!([{
                        "manager": "someone", "operation": "Update", "time": "2026-01-01T00:00:00Z",
                        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:x": {}}}
                    }]);
                }
                object.insert("metadata".to_owned(), metadata);
                let mut object = Value::Object(object);
                for (field, state) in fields {
                    state.put(&field.pointer, &mut object);
                }
                object
            },
        )
}

/// The state of a field of a generated object.
#[derive(Clone, Debug)]
enum State {
    Value(Value),
    /// Absent; this many of its parents exist.
    Absent(usize),
}

impl State {
    fn put(self, pointer: &Pointer, object: &mut Value) {
        let (parents, value) = match self {
            Self::Value(value) => (pointer.len() - 1, Some(value)),
            Self::Absent(parents) => (parents.min(pointer.len() - 1), None),
        };
        // The maps of metadata are never empty.
        if pointer.segment(0) == Some("metadata") && value.is_none() {
            return;
        }
        let mut place = object;
        for segment in pointer.segments().take(parents) {
            let members = place.as_object_mut().unwrap();
            let slot = members
                .entry(segment.to_owned())
                .or_insert_with(|| json!({}));
            if !slot.is_object() {
                *slot = json!({});
            }
            place = slot;
        }
        let next = pointer.segment(parents).unwrap().to_owned();
        match value {
            Some(value) => {
                place.as_object_mut().unwrap().insert(next, value);
            }
            None => {
                place.as_object_mut().unwrap().remove(&next);
            }
        }
    }
}

fn state_of(field: &Field) -> impl Strategy<Value = State> + use<> {
    let passive = std::iter::once(field.passive.clone())
        .chain(field.also_passive.clone())
        .collect::<Vec<_>>();
    let active = match &field.active {
        // No other value has a meaning for a fixed field.
        Active::Fixed(value) => Just(value.clone()).boxed(),
        Active::Restore { .. } | Active::Manual => value_of(field),
    };
    let fixed = matches!(field.active, Active::Fixed(_));
    prop_oneof![
        3 => active.prop_map(State::Value),
        3 => proptest::sample::select(passive).prop_map(State::Value),
        if fixed { 0 } else { 3 } => (0usize..6).prop_map(State::Absent),
    ]
}

/// An active value of the field's type that an API server accepts.
fn value_of(field: &Field) -> BoxedStrategy<Value> {
    let (passive, taken) = (field.clone(), field.clone());
    let any = match field.value_type {
        ValueType::Integer => (0i64..100).prop_map(|n| json!(n)).boxed(),
        ValueType::Boolean => any::<bool>().prop_map(|b| json!(b)).boxed(),
        ValueType::String => prop_oneof![Just("primary".to_owned()), "\\PC{0,8}".prop_map(|s| s)]
            .prop_map(|s| json!(s))
            .prop_map(move |value| {
                if taken.takes(&value) {
                    value
                } else {
                    json!("primary")
                }
            })
            .boxed(),
    };
    any.prop_filter("active", move |value| !passive.is_passive(Some(value)))
        .boxed()
}

/// Text of a record annotation: valid, of the wrong type, for other fields, or no JSON at all.
pub(crate) fn record_of(rule: &Rule) -> impl Strategy<Value = String> + use<> {
    let pointers: Vec<String> = rule
        .fields
        .iter()
        .flat_map(|f| (1..=f.pointer.len()).map(|n| f.pointer.prefix(n).to_string()))
        .chain([
            "/spec/template".to_owned(),
            "/metadata/name".to_owned(),
            "nonsense".to_owned(),
            "/status/x".to_owned(),
        ])
        .collect();
    let sound: Vec<_> = rule
        .fields
        .iter()
        .map(|f| (Just(f.pointer.to_string()), option::of(value_of(f))))
        .collect();
    prop_oneof![
        3 => sound.prop_map(|entries| {
            let entries: Map<String, Value> =
                entries.into_iter().map(|(pointer, value)| (pointer, value.unwrap_or(Value::Null))).collect();
            Value::Object(entries).to_string()
        }),
        2 => vec((proptest::sample::select(pointers), free()), 0..4).prop_map(|entries| {
            Value::Object(entries.into_iter().collect()).to_string()
        }),
        1 => "\\PC{0,20}",
        1 => Just("[".repeat(500)),
    ]
}

/// Free-form content, as a CRD with unknown fields may have.
fn free() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,10}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-z/~.]{1,6}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}
