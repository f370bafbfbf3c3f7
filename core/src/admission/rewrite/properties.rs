//! Properties of every object, over [`super::generate`].

use proptest::prelude::*;
use serde_json::{Value, json};

use super::generate::{case, record_of, rule, update};
use super::{Rewrite, Subject, rewrite, rewrite_stored};
use crate::admission::Operation;
use crate::json::pointer::Pointer;
use crate::names::{HELD_ANNOTATION, RESTORE_ANNOTATION};
use crate::role::Role;
use crate::rules::rule::{Active, Rule};

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Primary), Just(Role::Secondary)]
}

fn run(
    rule: &Rule,
    role: Role,
    old: Option<&Value>,
    object: &Value,
    manager: Option<&str>,
) -> Rewrite {
    let (object, old) = (object.to_string(), old.map(Value::to_string));
    let operation = if old.is_some() {
        Operation::Update
    } else {
        Operation::Create
    };
    let subject = Subject::parse(rule, operation, manager, &object, old.as_deref()).unwrap();
    rewrite(rule, role, &subject).unwrap()
}

/// The object after the rewrite. Every property asserts that the patch applies.
fn stored(rule: &Rule, role: Role, old: Option<&Value>, object: &Value) -> Value {
    apply(&run(rule, role, old, object, None), object)
}

fn apply(rewrite: &Rewrite, object: &Value) -> Value {
    let mut after = object.clone();
    json_patch::patch(&mut after, &rewrite.patch).expect("the patch applies");
    after
}

fn settled(rule: &Rule, role: Role, object: &Value) -> Value {
    stored(rule, role, Some(object), object)
}

/// The object without anything that a rule may change: its fields, our annotations, and parents that are empty
/// afterwards.
fn foreign(rule: &Rule, object: &Value) -> Value {
    let mut object = object.clone();
    let ours = [RESTORE_ANNOTATION, HELD_ANNOTATION].map(Pointer::annotation);
    for pointer in rule.fields.iter().map(|f| &f.pointer).chain(&ours) {
        remove(&mut object, pointer, pointer.len());
        for depth in (1..pointer.len()).rev() {
            let parent = pointer.prefix(depth);
            if parent.lookup(&object) == Some(&json!({})) {
                remove(&mut object, &parent, depth);
            }
        }
    }
    object
}

fn remove(object: &mut Value, pointer: &Pointer, depth: usize) {
    let mut place = object;
    for segment in pointer.segments().take(depth - 1) {
        let Some(next) = place
            .as_object_mut()
            .and_then(|members| members.get_mut(segment))
        else {
            return;
        };
        place = next;
    }
    if let Some(members) = place.as_object_mut() {
        members.remove(pointer.segments().nth(depth - 1).unwrap());
    }
}

fn with_annotation(object: &Value, key: &str, text: Option<&str>) -> Value {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    let annotations = metadata
        .entry("annotations")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .unwrap();
    match text {
        Some(text) => annotations.insert(key.to_owned(), json!(text)),
        None => annotations.remove(key),
    };
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    object
}

fn annotation<'v>(object: &'v Value, key: &str) -> Option<&'v str> {
    object["metadata"]["annotations"][key].as_str()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_stored_object_conforms((rule, old, object) in update(), role in role(), create in any::<bool>()) {
        let old = (!create).then_some(&old);
        let after = stored(&rule, role, old, &object);
        let again = rewrite_stored(&rule, role, &after).unwrap();
        prop_assert!(again.is_empty(), "{after} -> {again:?}");
    }

    #[test]
    fn a_second_call_for_the_same_request_changes_nothing((rule, old, object) in update(), role in role(), create in any::<bool>()) {
        // Enforced so far: an old object that conforms. (If it was stored as active beside a stale record, while nobody
        // enforced, the two calls are indistinguishable when both records are the same.)
        let old = settled(&rule, role, &old);
        let old = (!create).then_some(&old);
        let mut object = object;
        // As the API server tracks it: the request owns something, but not our annotations, which it did not contain.
        object["metadata"]["managedFields"] = json!([{"manager": "m", "operation": "Update", "fieldsV1": {"f:spec": {"f:x": {}}}}]);
        for key in [RESTORE_ANNOTATION, HELD_ANNOTATION] {
            object = with_annotation(&object, key, old.and_then(|old| annotation(old, key)));
        }
        let after = stored(&rule, role, old, &object);
        let again = run(&rule, role, old, &after, None);
        prop_assert!(again.is_empty(), "{after} -> {again:?}");
    }

    #[test]
    fn the_same_input_gives_the_same_bytes((rule, old, object) in update(), role in role()) {
        let text = || serde_json::to_string(&run(&rule, role, Some(&old), &object, Some("flux")).patch).unwrap();
        prop_assert_eq!(text(), text());
    }

    #[test]
    fn nothing_else_of_the_object_changes((rule, old, object) in update(), role in role(), create in any::<bool>()) {
        let rewrite = run(&rule, role, (!create).then_some(&old), &object, None);
        let after = apply(&rewrite, &object);
        prop_assert_eq!(foreign(&rule, &object), foreign(&rule, &after));
        for operation in &rewrite.patch.0 {
            let path = match operation {
                json_patch::PatchOperation::Add(op) => op.path.to_string(),
                json_patch::PatchOperation::Remove(op) => op.path.to_string(),
                other => panic!("neither add nor remove: {other:?}"),
            };
            let path: Pointer = path.parse().unwrap();
            let ours = [RESTORE_ANNOTATION, HELD_ANNOTATION].map(Pointer::annotation);
            let allowed = rule.fields.iter().map(|f| &f.pointer).chain(&ours)
                .any(|p| *p == path || path.is_ancestor_of(p));
            prop_assert!(allowed, "{path}");
        }
    }

    #[test]
    fn demotion_makes_every_field_passive((rule, object) in case(), create in any::<bool>()) {
        let after = stored(&rule, Role::Secondary, (!create).then_some(&object), &object);
        for field in &rule.fields {
            prop_assert!(field.is_passive(field.pointer.lookup(&after)), "{after}");
        }
    }

    #[test]
    fn promotion_after_demotion_is_the_identity((rule, object) in case()) {
        let live = settled(&rule, Role::Primary, &object);
        let standby = settled(&rule, Role::Secondary, &live);
        prop_assert_eq!(settled(&rule, Role::Primary, &standby), live, "by way of {}", standby);
    }

    #[test]
    fn a_promotion_restores_what_an_object_created_on_a_secondary_asked_for((rule, object) in case()) {
        prop_assume!(rule.fields.iter().all(|f| f.active != Active::Manual));
        let asked = settled(&rule, Role::Primary, &object);
        let standby = stored(&rule, Role::Secondary, None, &asked);
        prop_assert_eq!(settled(&rule, Role::Primary, &standby), asked);
    }

    #[test]
    fn a_promotion_restores_the_last_value_that_was_asked_for((rule, first, second) in update()) {
        prop_assume!(rule.fields.iter().all(|f| f.active != Active::Manual));
        let first = settled(&rule, Role::Primary, &first);
        let second = settled(&rule, Role::Primary, &second);
        let standby = settled(&rule, Role::Secondary, &first);
        // The new manifest, with every field active, is written over the stored object.
        prop_assume!(rule.fields.iter().all(|f| !f.is_passive(f.pointer.lookup(&second))));
        let mut written = second.clone();
        for key in [RESTORE_ANNOTATION, HELD_ANNOTATION] {
            written = with_annotation(&written, key, annotation(&standby, key));
        }
        let standby = stored(&rule, Role::Secondary, Some(&standby), &written);
        prop_assert_eq!(settled(&rule, Role::Primary, &standby), second);
    }

    #[test]
    fn a_record_that_a_request_brings_is_not_used(
        (rule, object, poison) in rule().prop_flat_map(|rule| {
            let poison = record_of(&rule);
            (Just(rule.clone()), super::generate::case().prop_map(|(_, o)| o), poison)
        }),
        tracked in any::<bool>(),
        role in role(),
    ) {
        // The object is of the rule's kind only by chance; settle it so that every field is valid.
        let object = settled(&rule, Role::Primary, &with_annotation(&with_annotation(&object, RESTORE_ANNOTATION, None), HELD_ANNOTATION, None));
        prop_assume!(Subject::parse(&rule, Operation::Create, None, &object.to_string(), None)
            .is_ok_and(|s| rewrite(&rule, Role::Secondary, &s).is_ok()));
        let standby = settled(&rule, Role::Secondary, &object);
        let mut clean = standby.clone();
        if tracked {
            // As the API server tracks it: the writer of an annotation owns it.
            clean["metadata"]["managedFields"] = json!([{
                "manager": "m", "operation": "Update",
                "fieldsV1": {"f:metadata": {"f:annotations": {format!("f:{RESTORE_ANNOTATION}"): {}}}}
            }]);
        } else {
            clean["metadata"].as_object_mut().unwrap().remove("managedFields");
        }
        let poisoned = with_annotation(&clean, RESTORE_ANNOTATION, Some(&poison));
        prop_assert_eq!(
            stored(&rule, role, Some(&standby), &poisoned),
            stored(&rule, role, Some(&standby), &clean)
        );
    }

    #[test]
    fn only_values_of_the_right_type_are_restored_from_a_record((rule, object) in case(), role in role()) {
        let after = settled(&rule, role, &object);
        for field in &rule.fields {
            let sound = field.pointer.lookup(&after).is_none_or(|v| field.value_type.matches(v));
            prop_assert!(sound, "{after}");
        }
    }
}
