//! Passive values that destroy data unless another field prevents it: both are forced in one write, and restored in
//! one.

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
fn the_policy_is_forced_and_restored_in_the_same_write_as_the_replicas(#[case] exists: bool) {
    let live = stateful_set(2, "Delete");
    let standby = stored(Role::Secondary, exists.then_some(&live), &live);
    let record = json!({"/spec/replicas": 2, POLICY: "Delete"});
    assert_eq!(standby, recorded(stateful_set(0, "Retain"), &record));
    assert_eq!(stored(Role::Primary, Some(&standby), &standby), live);
}

#[test]
fn nothing_is_added_where_the_policy_is_absent() {
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
fn a_stateful_set_at_zero_by_itself_gets_its_policy_back() {
    let live = stateful_set(0, "Delete");
    let standby = stored(Role::Secondary, Some(&live), &live);
    assert_eq!(standby["spec"], stateful_set(0, "Retain")["spec"]);
    assert_eq!(stored(Role::Primary, Some(&standby), &standby), live);
}

#[rstest]
#[case::lost(json!({POLICY: "Delete"}))]
#[case::unreadable(json!({"/spec/replicas": "two", POLICY: "Delete"}))]
fn a_record_that_restores_no_replicas_does_not_restore_the_policy(#[case] record: Value) {
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

/// The API server fills in `Retain` once a manifest no longer sets it; only the ownership of the field shows the
/// change.
#[test]
fn a_policy_that_git_drops_on_a_secondary_is_not_restored() {
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
