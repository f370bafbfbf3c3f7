//! A rewrite never makes an object invalid: the API server would refuse it with 422. kustomize-controller takes that
//! for "immutable" and, with `force`, deletes the object.

use super::*;
use crate::admission::annotations::LIMIT;

fn rewrite_of(
    resource: &str,
    role: Role,
    old: Option<&Value>,
    object: &Value,
) -> Result<Rewrite, RewriteError> {
    let rules = RuleSet::built_in();
    let rule = rules.iter().find(|r| r.resource == resource).unwrap();
    let (text, old) = (object.to_string(), old.map(Value::to_string));
    let operation = match old {
        Some(_) => Operation::Update,
        None => Operation::Create,
    };
    let subject = Subject::parse(rule, operation, None, &text, old.as_deref()).unwrap();
    rewrite(rule, role, &subject)
}

/// A Deployment whose annotations leave this much room.
fn full(room: usize) -> Value {
    json!({
        "metadata": {"name": "web", "annotations": {"x": "y".repeat(LIMIT - "x".len() - room)}},
        "spec": {"replicas": 3},
    })
}

#[test]
fn a_record_without_room_is_refused_and_one_that_fits_is_written() {
    let record = RESTORE_ANNOTATION.len() + r#"{"/spec/replicas":3}"#.len();
    for old in [None, Some(full(record))] {
        let of = |room| rewrite_of("deployments", Role::Secondary, old.as_ref(), &full(room));
        assert!(of(record).is_ok());
        match of(record - 1) {
            Err(RewriteError::NoRoom { size }) => assert_eq!(size, LIMIT + 1),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn on_a_primary_a_value_without_room_is_left_out_and_the_write_passes() {
    // The record is removed when the value is restored, so only a value without a record can exceed the limit.
    let mut rule = RuleSet::built_in()
        .iter()
        .find(|r| r.resource == "virtualservices")
        .unwrap()
        .clone();
    for field in &mut rule.fields {
        field.active = Active::Fixed(json!("dns-controller"));
    }
    let mut object = full(0);
    let key = rule.fields[0].pointer.field().to_owned();
    let padding = LIMIT - "x".len() - key.len() - "ignore".len();
    object["metadata"]["annotations"] = json!({"x": "y".repeat(padding), key: "ignore"});
    let text = object.to_string();
    let subject = Subject::parse(&rule, Operation::Update, None, &text, Some(&text)).unwrap();
    let rewrite = rewrite(&rule, Role::Primary, &subject).unwrap();
    assert!(rewrite.is_empty());
    assert!(
        matches!(rewrite.notes[..], [Note::NoRoom { .. }]),
        "{:?}",
        rewrite.notes
    );
}

#[rstest]
#[case::negative("deployments", "/spec/replicas", json!(-3))]
#[case::beyond_int32("statefulsets", "/spec/replicas", json!(2_147_483_648_i64))]
#[case::no_number("deployments", "/spec/replicas", json!("three"))]
#[case::no_state("volumereplications", "/spec/replicationState", json!("live"))]
#[case::no_boolean("cronjobs", "/spec/suspend", json!("no"))]
fn an_invalid_value_is_neither_masked_nor_recorded(
    #[case] resource: &str,
    #[case] pointer: &str,
    #[case] value: Value,
) {
    let field = pointer.rsplit('/').next().unwrap();
    let object = json!({"metadata": {"name": "x"}, "spec": {field: value}});
    assert!(
        rewrite_of(resource, Role::Secondary, None, &object).is_err(),
        "its writer gets the error, as on a primary"
    );

    let passive = RuleSet::built_in()
        .iter()
        .find(|r| r.resource == resource)
        .unwrap()
        .fields[0]
        .passive
        .clone();
    let record = json!({pointer: value}).to_string();
    let forged = json!({
        "metadata": {"name": "x", "annotations": {RESTORE_ANNOTATION: record}}, "spec": {field: passive},
    });
    let restored = rewrite_of(resource, Role::Primary, Some(&forged), &forged).unwrap();
    assert!(
        restored
            .changes
            .iter()
            .all(|c| c.after != Some(value.clone())),
        "{restored:?}"
    );
    assert!(
        matches!(restored.notes.first(), Some(Note::InvalidRecord(_))),
        "{restored:?}"
    );
}
