//! Passive values that destroy beside the value of another field: both are forced in one write, and come back in one.

use rstest::rstest;
use serde_json::{Value, json};

use super::tests::{rule, write_as};
use super::*;

const POLICY: &str = "/spec/persistentVolumeClaimRetentionPolicy/whenScaled";

fn stateful_set(replicas: i64, when_scaled: &str) -> Value {
    json!({"metadata": {"name": "db"}, "spec": {
        "replicas": replicas,
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": when_scaled},
    }})
}

fn recorded(mut object: Value, record: &Value) -> Value {
    object["metadata"]["annotations"] = json!({RESTORE_ANNOTATION: record.to_string()});
    object
}

fn stored(role: Role, old: Option<&Value>, object: &Value) -> Value {
    write_as(&rule("statefulsets"), role, None, old, object).object
}

#[rstest]
#[case::demoted(true)]
#[case::enrolled_or_created_on_a_secondary(false)]
fn claims_are_retained_by_the_write_that_takes_the_pods_and_given_back_by_the_one_that_returns_them(
    #[case] exists: bool,
) {
    let live = stateful_set(2, "Delete");
    let standby = stored(Role::Secondary, exists.then_some(&live), &live);
    let record = json!({"/spec/replicas": 2, POLICY: "Delete"});
    assert_eq!(standby, recorded(stateful_set(0, "Retain"), &record));
    assert_eq!(stored(Role::Primary, Some(&standby), &standby), live);
}

#[test]
fn where_the_field_is_absent_claims_are_retained_and_nothing_is_added() {
    let mut live = stateful_set(2, "Delete");
    live["spec"]
        .as_object_mut()
        .unwrap()
        .remove("persistentVolumeClaimRetentionPolicy");
    let standby = stored(Role::Secondary, Some(&live), &live);
    assert!(standby["spec"]["persistentVolumeClaimRetentionPolicy"].is_null());
    assert_eq!(stored(Role::Primary, Some(&standby), &standby), live);
}

#[test]
fn what_was_at_zero_by_itself_gets_its_policy_back() {
    let live = stateful_set(0, "Delete");
    let standby = stored(Role::Secondary, Some(&live), &live);
    assert_eq!(standby["spec"], stateful_set(0, "Retain")["spec"]);
    assert_eq!(stored(Role::Primary, Some(&standby), &standby), live);
}

#[rstest]
#[case::lost(json!({POLICY: "Delete"}))]
#[case::unreadable(json!({"/spec/replicas": "two", POLICY: "Delete"}))]
fn a_record_that_does_not_bring_the_pods_back_does_not_endanger_their_claims(
    #[case] record: Value,
) {
    let standby = recorded(stateful_set(0, "Retain"), &record);
    let standby = stored(Role::Secondary, Some(&standby), &standby);
    let promoted = write_as(
        &rule("statefulsets"),
        Role::Primary,
        None,
        Some(&standby),
        &standby,
    );
    assert_eq!(promoted.object, stateful_set(0, "Retain"));
    assert!(
        promoted
            .rewrite
            .notes
            .contains(&Note::StaysSafe(POLICY.parse().unwrap())),
        "{:?}",
        promoted.rewrite.notes
    );
}

/// The API server fills in `Retain` where a manifest no longer speaks of it; who owns the field is all there is to see.
#[test]
fn a_policy_that_is_dropped_from_git_on_a_secondary_does_not_come_back() {
    let owned = |mut object: Value, owns: bool| {
        let policy = json!({"f:whenScaled": {}});
        let mut fields = json!({"f:replicas": {}});
        if owns {
            fields["f:persistentVolumeClaimRetentionPolicy"] = policy;
        }
        object["metadata"]["managedFields"] = json!([{
            "manager": "flux", "operation": "Apply", "time": "t", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": fields},
        }]);
        object
    };
    let standby = recorded(
        stateful_set(0, "Retain"),
        &json!({"/spec/replicas": 2, POLICY: "Delete"}),
    );
    let mut asked = standby.clone();
    asked["spec"]["replicas"] = json!(2);
    let old = owned(standby, true);
    let next = stored(Role::Secondary, Some(&old), &owned(asked, false));
    let record = json!({"/spec/replicas": 2});
    assert_eq!(
        next,
        owned(recorded(stateful_set(0, "Retain"), &record), false)
    );
}

#[test]
fn a_volume_is_not_resynced_by_force_because_it_was_demoted() {
    for resource in ["volumereplications", "volumegroupreplications"] {
        let rule = rule(resource);
        let live = json!({"metadata": {"name": "data"}, "spec": {"replicationState": "primary", "autoResync": true}});
        let standby = write_as(&rule, Role::Secondary, None, Some(&live), &live).object;
        let expected = json!({"replicationState": "secondary", "autoResync": false});
        assert_eq!(standby["spec"], expected, "{resource}");
        let promoted = write_as(&rule, Role::Primary, None, Some(&standby), &standby);
        assert_eq!(promoted.object, live, "{resource}");
    }
}
