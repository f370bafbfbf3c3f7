//! The cases of the rules, one by one.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::rules::set::RuleSet;

pub(super) fn rule(resource: &str) -> Rule {
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

pub(super) struct Written {
    pub(super) object: Value,
    pub(super) rewrite: Rewrite,
}

pub(super) fn write_as(
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

/// An object with these entries of `managedFields` that own `/spec/replicas`: manager, operation, time.
fn owning(mut object: Value, entries: &[(&str, &str, &str)]) -> Value {
    object["metadata"]["managedFields"] = entries
        .iter()
        .map(|(manager, operation, time)| {
            json!({
                "manager": manager, "operation": operation, "time": time,
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}
            })
        })
        .collect();
    object
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
fn an_applied_passive_value_stays_passive_after_promotion() {
    let standby = owning(
        recorded(0, &json!({"/spec/replicas": 3})),
        &[("flux", "Apply", "t1")],
    );
    let written = write_as(
        &rule("deployments"),
        Role::Secondary,
        Some("flux"),
        Some(&standby),
        &standby,
    );
    assert_eq!(annotation(&written.object), Some(r#"{"/spec/replicas":0}"#));
    assert_eq!(
        written.rewrite.notes,
        [Note::StaysPassive("/spec/replicas".parse().unwrap())]
    );

    let promoted = write(Role::Primary, Some(&written.object), &written.object);
    assert_eq!(promoted.object["spec"]["replicas"], json!(0));
    assert_eq!(annotation(&promoted.object), None);
}

#[rstest]
#[case::another_manager(&[("helm", "Apply", "t1")], &[("helm", "Apply", "t1")])]
#[case::a_patch_by_the_same_manager(&[("flux", "Apply", "t1")], &[("flux", "Apply", "t1"), ("flux", "Update", "t2")])]
#[case::a_newer_patch_by_the_same_manager(&[("flux", "Apply", "t1"), ("flux", "Update", "t1")], &[("flux", "Apply", "t1"), ("flux", "Update", "t2")])]
#[case::untracked(&[], &[])]
fn a_passive_value_that_was_not_applied_keeps_the_record(
    #[case] before: &[(&str, &str, &str)],
    #[case] after: &[(&str, &str, &str)],
) {
    let standby = recorded(0, &json!({"/spec/replicas": 3}));
    let (old, object) = (owning(standby.clone(), before), owning(standby, after));
    let written = write_as(
        &rule("deployments"),
        Role::Secondary,
        Some("flux"),
        Some(&old),
        &object,
    );
    assert_eq!(annotation(&written.object), Some(r#"{"/spec/replicas":3}"#));
}

#[test]
fn an_apply_beside_an_older_patch_by_the_same_manager_is_an_apply() {
    let entries = [("flux", "Apply", "t1"), ("flux", "Update", "t0")];
    let standby = owning(recorded(0, &json!({"/spec/replicas": 3})), &entries);
    let written = write_as(
        &rule("deployments"),
        Role::Secondary,
        Some("flux"),
        Some(&standby),
        &standby,
    );
    assert_eq!(annotation(&written.object), Some(r#"{"/spec/replicas":0}"#));
}

#[test]
fn client_side_apply_sets_passive_by_its_last_applied_configuration() {
    let applied = |mut object: Value, replicas: i64| {
        object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
            json!(deployment(replicas).to_string());
        object
    };
    let standby = applied(recorded(0, &json!({"/spec/replicas": 3})), 3);
    let written = write(
        Role::Secondary,
        Some(&standby),
        &applied(standby.clone(), 0),
    );
    assert_eq!(annotation(&written.object), Some(r#"{"/spec/replicas":0}"#));
    let written = write(Role::Secondary, Some(&standby), &standby);
    assert_eq!(
        annotation(&written.object),
        Some(r#"{"/spec/replicas":3}"#),
        "not changed by this request"
    );
}

#[test]
fn a_second_call_for_the_same_request_keeps_its_own_record() {
    let standby = recorded(0, &json!({"/spec/replicas": 3}));
    let mut asked = owning(standby.clone(), &[("flux", "Apply", "t1")]);
    asked["spec"]["replicas"] = json!(5);
    let first = write_as(
        &rule("deployments"),
        Role::Secondary,
        Some("flux"),
        Some(&standby),
        &asked,
    );
    assert_eq!(annotation(&first.object), Some(r#"{"/spec/replicas":5}"#));
    let second = write_as(
        &rule("deployments"),
        Role::Secondary,
        Some("flux"),
        Some(&standby),
        &first.object,
    );
    assert!(second.rewrite.is_empty(), "{:?}", second.rewrite);
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

#[test]
fn an_operators_resync_survives_the_next_reconcile() {
    let replication =
        |state: &str| json!({"metadata": {"name": "data"}, "spec": {"replicationState": state}});
    let rule = rule("volumereplications");
    let written = write_as(
        &rule,
        Role::Secondary,
        None,
        Some(&replication("resync")),
        &replication("primary"),
    );
    assert_eq!(written.object["spec"]["replicationState"], json!("resync"));
    let promoted = write_as(
        &rule,
        Role::Primary,
        None,
        Some(&written.object),
        &written.object,
    );
    assert_eq!(promoted.object, replication("primary"));
}

#[test]
fn a_volume_replication_without_record_becomes_primary() {
    let standby = json!({"metadata": {"name": "data"}, "spec": {"replicationState": "secondary"}});
    let promoted = write_as(
        &rule("volumereplications"),
        Role::Primary,
        None,
        Some(&standby),
        &standby,
    );
    assert_eq!(
        promoted.object["spec"]["replicationState"],
        json!("primary")
    );
}

#[test]
fn a_promotion_restores_a_job_that_ran_and_not_one_that_never_ran() {
    let jobs = rule("jobs");
    let job = json!({"metadata": {"name": "migrate"}, "spec": {"suspend": false}});

    let created = write_as(&jobs, Role::Secondary, None, None, &job).object;
    assert_eq!(created["spec"]["suspend"], json!(true));
    let promoted = write_as(&jobs, Role::Primary, None, Some(&created), &created);
    assert!(promoted.rewrite.is_empty());
    assert_eq!(
        promoted.rewrite.notes,
        [Note::Held("/spec/suspend".parse().unwrap())]
    );
    let mut consented = created.clone();
    consented["spec"]["suspend"] = json!(false);
    assert_eq!(
        write_as(&jobs, Role::Primary, None, Some(&created), &consented).object,
        job
    );
    let still = write_as(&jobs, Role::Secondary, None, Some(&created), &consented).object;
    assert_eq!(
        still, created,
        "not on a secondary, and it still needs consent"
    );

    let demoted = write_as(&jobs, Role::Secondary, None, Some(&job), &job).object;
    assert_eq!(
        write_as(&jobs, Role::Primary, None, Some(&demoted), &demoted).object,
        job
    );
}

/// Kueue creates Jobs suspended and resumes them when it admits them.
#[test]
fn a_job_created_suspended_and_resumed_on_a_secondary_waits_for_consent() {
    let jobs = rule("jobs");
    let job = |suspend: bool| json!({"metadata": {"name": "train"}, "spec": {"suspend": suspend}});
    let notes = [Note::Held("/spec/suspend".parse().unwrap())];

    let created = write_as(&jobs, Role::Secondary, None, None, &job(true));
    assert_eq!(created.object["spec"]["suspend"], json!(true));
    assert_eq!(
        created.rewrite.notes,
        [],
        "its writer does not want it to run"
    );
    let resumed = created.object.clone();
    let resumed = {
        let mut asked = resumed;
        asked["spec"]["suspend"] = json!(false);
        write_as(&jobs, Role::Secondary, None, Some(&created.object), &asked).object
    };
    assert_eq!(resumed["spec"]["suspend"], json!(true));
    let promoted = write_as(&jobs, Role::Primary, None, Some(&resumed), &resumed);
    assert!(promoted.rewrite.is_empty());
    assert_eq!(promoted.rewrite.notes, notes);

    // A Job that nobody has resumed yet belongs to its writer again.
    let promoted = write_as(
        &jobs,
        Role::Primary,
        None,
        Some(&created.object),
        &created.object,
    );
    assert_eq!(promoted.object, job(true));
}

#[test]
fn a_replica_set_of_a_deployment_follows_its_deployment() {
    let mut set = deployment(3);
    set["metadata"]["ownerReferences"] =
        json!([{"kind": "Deployment", "name": "web", "controller": true}]);
    assert!(!rule("replicasets").reaches(&set) && rule("deployments").reaches(&set));
    assert!(
        rewrite_stored(&rule("replicasets"), Role::Secondary, &set)
            .unwrap()
            .is_empty()
    );
    assert!(
        !rewrite_stored(&rule("replicasets"), Role::Secondary, &deployment(3))
            .unwrap()
            .is_empty()
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

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][RESTORE_ANNOTATION].as_str()
}

/// Another webhook that changes the object, for example one that rewrites images, makes the API server call ours twice
/// on every reconcile, even if the manifest is unchanged.
#[test]
fn a_second_call_for_a_repeated_apply_keeps_the_record() {
    let standby = owning(
        recorded(0, &json!({"/spec/replicas": 3})),
        &[("flux", "Apply", "t1")],
    );
    // 3 is not what is stored, so the API server renews the time.
    let mut asked = owning(standby.clone(), &[("flux", "Apply", "t2")]);
    asked["spec"]["replicas"] = json!(3);
    let call = |object| {
        write_as(
            &rule("deployments"),
            Role::Secondary,
            Some("flux"),
            Some(&standby),
            object,
        )
    };
    let second = call(&call(&asked).object);
    assert_eq!(annotation(&second.object), Some(r#"{"/spec/replicas":3}"#));
}

/// Flux applies `creationTimestamp: null` on built-in kinds, which always changes the object and so renews the time.
/// The missing timestamp shows that nothing was forced before.
#[rstest]
#[case::lowered_to_passive(0)]
#[case::active_as_ever(3)]
fn an_apply_without_creation_timestamp_is_distinguished_from_its_second_call(
    #[case] replicas: i64,
) {
    let mut standby = owning(
        recorded(0, &json!({"/spec/replicas": 3})),
        &[("flux", "Apply", "t1")],
    );
    standby["metadata"]["creationTimestamp"] = json!("2026-11-21T10:42:36Z");
    let mut asked = owning(standby.clone(), &[("flux", "Apply", "t2")]);
    asked["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("creationTimestamp");
    asked["spec"]["replicas"] = json!(replicas);
    let call = |object| {
        write_as(
            &rule("deployments"),
            Role::Secondary,
            Some("flux"),
            Some(&standby),
            object,
        )
    };
    let first = call(&asked);
    let record = json!({"/spec/replicas": replicas}).to_string();
    assert_eq!(annotation(&first.object), Some(record.as_str()));
    let second = call(&first.object);
    assert!(second.rewrite.is_empty(), "{:?}", second.rewrite);
}
