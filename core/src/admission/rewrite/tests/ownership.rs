//! The fields that the controller owns, and gives back.

use super::*;
use crate::names::CONTROLLER_MANAGER;

fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
    json!({"manager": manager, "operation": operation, "time": "t", "fieldsType": "FieldsV1", "fieldsV1": fields})
}

fn flux() -> Value {
    entry("flux", "Apply", &json!({"f:spec": {"f:template": {}}}))
}

/// The entry of the controller after it forced and recorded while the webhook was down.
fn forced() -> Value {
    json!({
        "f:metadata": {"f:annotations": {".": {}, "f:failover.dev/restore": {}}},
        "f:spec": {"f:replicas": {}},
    })
}

fn deployment(entries: &[Value]) -> Value {
    json!({"metadata": {"name": "web", "managedFields": entries}, "spec": {"replicas": 3}})
}

#[rstest]
#[case::only_fields_of_the_rule(forced(), None)]
#[case::other_fields_too(
    json!({"f:metadata": {"f:labels": {"f:x": {}}}, "f:spec": {"f:replicas": {}}}),
    Some(json!({"f:metadata": {"f:labels": {"f:x": {}}}})),
)]
fn on_a_primary_the_controller_owns_no_field_of_a_rule(
    #[case] owned: Value,
    #[case] left: Option<Value>,
) {
    let object = deployment(&[entry(CONTROLLER_MANAGER, "Update", &owned), flux()]);
    let written = write_as(
        &rule("deployments"),
        Role::Primary,
        None,
        Some(&object),
        &object,
    );
    let left = left.map(|fields| entry(CONTROLLER_MANAGER, "Update", &fields));
    let entries: Vec<_> = left.into_iter().chain([flux()]).collect();
    assert_eq!(written.object, deployment(&entries));
    assert!(written.rewrite.only_gives_back());
    assert_eq!(
        written.rewrite.warnings(Some("east"), "deployments/web"),
        Vec::<String>::new()
    );
    let again = rewrite_stored(&rule("deployments"), Role::Primary, &written.object).unwrap();
    assert!(again.is_empty(), "{again:?}");
}

#[rstest]
#[case::somebody_elses(vec![entry("someone", "Update", &forced()), flux()])]
#[case::applied_fields(vec![entry(CONTROLLER_MANAGER, "Apply", &forced()), flux()])]
#[case::the_only_one(vec![entry(CONTROLLER_MANAGER, "Update", &forced())])]
fn ownership_of_other_managers_is_unchanged(#[case] entries: Vec<Value>) {
    let object = deployment(&entries);
    let rewrite = rewrite_stored(&rule("deployments"), Role::Primary, &object).unwrap();
    assert!(rewrite.is_empty(), "{rewrite:?}");
}

#[test]
fn a_restored_field_is_given_back_in_the_same_write() {
    let mut standby = deployment(&[flux(), entry(CONTROLLER_MANAGER, "Update", &forced())]);
    standby["spec"]["replicas"] = json!(0);
    standby["metadata"]["annotations"] = json!({RESTORE_ANNOTATION: r#"{"/spec/replicas":3}"#});
    let kept = rewrite_stored(&rule("deployments"), Role::Secondary, &standby).unwrap();
    assert!(kept.is_empty(), "{kept:?}");
    let written = write_as(
        &rule("deployments"),
        Role::Primary,
        None,
        Some(&standby),
        &standby,
    );
    assert_eq!(written.object, deployment(&[flux()]));
    assert!(!written.rewrite.only_gives_back());
}
