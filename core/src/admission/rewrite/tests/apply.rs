//! Applies: whether the manifest itself asks for the passive value, and second calls for the same request.

use super::*;

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
