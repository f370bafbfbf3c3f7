//! Single cases, by subject. The general properties are in [`super::properties`].

mod apply;
mod invalid;
mod kinds;
mod ownership;
mod safeguards;

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::rules::set::RuleSet;

fn rule(resource: &str) -> Rule {
    RuleSet::built_in()
        .iter()
        .find(|r| r.resource == resource)
        .unwrap()
        .clone()
}

fn deployment(replicas: i64) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas}})
}

fn recorded(replicas: i64, record: &Value) -> Value {
    let mut object = deployment(replicas);
    object["metadata"]["annotations"] = json!({RESTORE_ANNOTATION: record.to_string()});
    object
}

struct Written {
    object: Value,
    rewrite: Rewrite,
}

fn write_as(
    rule: &Rule,
    role: Role,
    manager: Option<&str>,
    old: Option<&Value>,
    object: &Value,
) -> Written {
    let (text, old) = (object.to_string(), old.map(Value::to_string));
    let operation = if old.is_some() {
        Operation::Update
    } else {
        Operation::Create
    };
    let subject = Subject::parse(rule, operation, manager, &text, old.as_deref()).unwrap();
    let rewrite = rewrite(rule, role, &subject).unwrap();
    let mut object = object.clone();
    json_patch::patch(&mut object, &rewrite.patch).unwrap();
    Written { object, rewrite }
}

fn write(role: Role, old: Option<&Value>, object: &Value) -> Written {
    write_as(&rule("deployments"), role, None, old, object)
}

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][RESTORE_ANNOTATION].as_str()
}

#[test]
fn demotion_forces_and_records() {
    let written = write(Role::Secondary, Some(&deployment(3)), &deployment(3));
    assert_eq!(written.object, recorded(0, &json!({"/spec/replicas": 3})));
    assert_eq!(
        written.rewrite.warnings(Some("east"), "deployments/web"),
        ["site east is secondary: deployments/web replicas 3 -> 0 (kubectl failover status)"]
    );
}

#[test]
fn promotion_restores_the_recorded_replicas() {
    let standby = recorded(0, &json!({"/spec/replicas": 3}));
    let written = write(Role::Primary, Some(&standby), &standby);
    assert_eq!(written.object, deployment(3));
    assert_eq!(
        written.rewrite.warnings(Some("east"), "deployments/web"),
        ["site east is primary: deployments/web replicas 0 -> 3 (kubectl failover status)"]
    );
}

#[test]
fn on_a_primary_an_object_without_record_is_unchanged() {
    for object in [deployment(0), deployment(3)] {
        let written = write(Role::Primary, Some(&object), &object);
        assert!(written.rewrite.is_empty());
    }
    let written = write(Role::Primary, Some(&deployment(3)), &deployment(0));
    assert_eq!(
        written.object,
        deployment(0),
        "scaling down on a primary is nobody's business"
    );
}

#[test]
fn a_promotion_restores_what_git_asked_for_during_the_outage() {
    let standby = recorded(0, &json!({"/spec/replicas": 3}));
    let mut asked = standby.clone();
    asked["spec"]["replicas"] = json!(5);
    let written = write(Role::Secondary, Some(&standby), &asked);
    assert_eq!(written.object, recorded(0, &json!({"/spec/replicas": 5})));
}

#[test]
fn the_second_apply_of_the_same_manifest_changes_nothing_stored() {
    let standby = recorded(0, &json!({"/spec/replicas": 3}));
    let mut asked = standby.clone();
    asked["spec"]["replicas"] = json!(3);
    let written = write(Role::Secondary, Some(&standby), &asked);
    assert_eq!(written.object, standby);
}

#[rstest]
#[case::somebody_edits_it(json!({"/spec/replicas": 99}))]
#[case::a_rollout_brings_an_old_one_back(json!({"/spec/replicas": 1}))]
#[case::poisoned(json!({"/spec/replicas": "many"}))]
fn the_incoming_record_is_not_read(#[case] incoming: Value) {
    let standby = recorded(0, &json!({"/spec/replicas": 3}));
    let mut written = recorded(0, &incoming);
    written["metadata"]["managedFields"] = json!([{
        "manager": "kubectl-rollout", "operation": "Update",
        "fieldsV1": {"f:metadata": {"f:annotations": {"f:failover.dev/restore": {}}}}
    }]);
    let mut stored = write(Role::Secondary, Some(&standby), &written).object;
    stored["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    assert_eq!(stored, standby);
}

#[test]
fn a_record_of_the_wrong_type_is_dropped_and_reported_and_never_restored() {
    let standby = recorded(0, &json!({"/spec/replicas": "many"}));
    let written = write(Role::Primary, Some(&standby), &standby);
    assert_eq!(written.object, deployment(0));
    assert!(
        matches!(written.rewrite.notes[0], Note::InvalidRecord(_)),
        "{:?}",
        written.rewrite.notes
    );
}

#[test]
fn the_record_of_a_new_object_is_kept_on_a_secondary_and_restored_on_a_primary() {
    let brought = recorded(0, &json!({"/spec/replicas": 3, "/spec/template": {}}));
    let written = write(Role::Secondary, None, &brought);
    assert_eq!(written.object, recorded(0, &json!({"/spec/replicas": 3})));
    let written = write(Role::Primary, None, &brought);
    assert_eq!(written.object, deployment(3));
    assert!(!written.rewrite.notes.contains(&Note::DroppedRecord));
}

#[rstest]
#[case::active_already(recorded(2, &json!({"/spec/replicas": 3})), deployment(2))]
#[case::of_the_wrong_type(recorded(0, &json!({"/spec/replicas": "many"})), deployment(0))]
#[case::of_another_field(recorded(0, &json!({"/spec/paused": true})), deployment(0))]
fn a_new_object_is_unchanged_if_its_record_is_of_no_use(
    #[case] brought: Value,
    #[case] stored: Value,
) {
    let written = write(Role::Primary, None, &brought);
    assert_eq!(written.object, stored);
    assert!(written.rewrite.notes.contains(&Note::DroppedRecord));
}

#[test]
fn the_record_of_a_new_object_with_a_controlling_owner_is_ignored() {
    let mut brought = recorded(0, &json!({"/spec/replicas": 3}));
    brought["metadata"]["ownerReferences"] =
        json!([{"kind": "Parent", "name": "web", "controller": true}]);
    let written = write(Role::Primary, None, &brought);
    assert_eq!(written.object["spec"]["replicas"], json!(0));
}

#[test]
fn a_value_stored_as_active_without_enforcement_replaces_the_record() {
    let unnoticed = recorded(5, &json!({"/spec/replicas": 3}));
    let mut scaled_down = unnoticed.clone();
    scaled_down["spec"]["replicas"] = json!(0);
    let written = write(Role::Secondary, Some(&unnoticed), &scaled_down);
    assert_eq!(written.object, recorded(0, &json!({"/spec/replicas": 5})));
}

#[test]
fn an_absent_field_is_restored_by_removing_it_and_its_created_parent() {
    let cron_jobs = rule("cronjobs");
    for live in [
        json!({"metadata": {"name": "x"}}),
        json!({"metadata": {"name": "x"}, "spec": {}}),
        json!({"metadata": {"name": "x"}, "spec": {"a": 1}}),
    ] {
        let standby = write_as(&cron_jobs, Role::Secondary, None, Some(&live), &live).object;
        assert_eq!(standby["spec"]["suspend"], json!(true));
        let promoted = write_as(&cron_jobs, Role::Primary, None, Some(&standby), &standby).object;
        assert_eq!(promoted, live);
    }
}

#[test]
fn a_created_parent_stays_once_it_holds_something_else() {
    let cron_jobs = rule("cronjobs");
    let live = json!({"metadata": {"name": "x"}});
    let mut standby = write_as(&cron_jobs, Role::Secondary, None, Some(&live), &live).object;
    standby["spec"]["schedule"] = json!("* * * * *");
    let promoted = write_as(&cron_jobs, Role::Primary, None, Some(&standby), &standby).object;
    assert_eq!(
        promoted,
        json!({"metadata": {"name": "x"}, "spec": {"schedule": "* * * * *"}})
    );
}

#[rstest]
#[case(json!({"spec": {"replicas": "3"}}), "/spec/replicas is a string, not of type integer: it cannot be recorded and so is not overwritten")]
#[case(json!({"spec": []}), "/spec is not an object")]
fn a_write_that_cannot_be_made_passive_without_loss_is_refused(
    #[case] object: Value,
    #[case] message: &str,
) {
    let error = rewrite_stored(&rule("deployments"), Role::Secondary, &object).unwrap_err();
    assert_eq!(error.to_string(), message);
    assert!(
        rewrite_stored(&rule("deployments"), Role::Primary, &object)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_warning_never_exceeds_the_limit_of_the_api_server() {
    let written = write(Role::Secondary, Some(&deployment(3)), &deployment(3));
    for name_length in [1, 40, 70, 253] {
        let object = format!("deployments/{}", "x".repeat(name_length));
        let [warning] = written
            .rewrite
            .warnings(Some("east"), &object)
            .try_into()
            .unwrap();
        assert!(warning.chars().count() <= 120, "{warning}");
        assert!(
            warning.starts_with("site east is secondary: deployments/x"),
            "{warning}"
        );
    }
}
