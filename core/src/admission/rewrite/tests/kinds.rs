//! Kinds with values or owners of their own: volume replications, Jobs, ReplicaSets.

use super::*;

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
