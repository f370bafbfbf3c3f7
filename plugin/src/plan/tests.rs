use std::sync::Arc;

use failover_core::RuleSet;
use failover_core::namespace::Enforcement;
use failover_core::transition::EnrolledNamespace;
use serde_json::json;

use super::*;

pub(crate) fn enrolled(name: &str, role: Option<Role>) -> EnrolledNamespace {
    EnrolledNamespace {
        name: name.to_owned(),
        state: NamespaceState {
            enforcement: Some(Enforcement::Enabled),
            roles: role.map(Roles::all).unwrap_or_default(),
            site: Some("east".into()),
            revision: Some(1),
            ..NamespaceState::default()
        },
    }
}

pub(crate) fn deployment(name: &str, replicas: i64, record: Option<&str>) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"}, "spec": {"replicas": replicas}
    });
    if let Some(record) = record {
        object["metadata"]["annotations"] = json!({RESTORE_ANNOTATION: record});
    }
    object
}

pub(crate) fn found(
    namespace: &EnrolledNamespace,
    group: &str,
    resource: &str,
    object: Value,
) -> StoredObject {
    StoredObject {
        namespace: Arc::new(namespace.clone()),
        rule: Arc::new(RuleSet::built_in().find(group, resource).unwrap().clone()),
        object,
    }
}

/// Deployments of one namespace.
pub(crate) fn survey(namespace: &EnrolledNamespace, deployments: Vec<Value>) -> Survey {
    Survey {
        found: deployments
            .into_iter()
            .map(|object| found(namespace, "apps", "deployments", object))
            .collect(),
        ..Survey::default()
    }
}

fn now() -> Timestamp {
    "2026-03-01T12:00:30Z".parse().unwrap()
}

#[test]
fn a_plan_names_what_would_change_and_nothing_else() {
    let namespace = enrolled("shop", Some(Role::Primary));
    let survey = survey(
        &namespace,
        vec![deployment("web", 3, None), deployment("idle", 0, None)],
    );
    let plan = plan("east", Role::Secondary, &[namespace], &survey, now());
    assert_eq!(plan.objects, 2);
    let changed: Vec<_> = plan.changed().map(|p| p.item.object.to_string()).collect();
    assert_eq!(changed, ["shop/deployments/web"]);
    assert_eq!(
        plan.items[0].item.rewrite.changes[0].to_string(),
        "replicas 3 -> 0"
    );
}

#[test]
fn a_plan_is_made_for_the_role_that_is_asked_about_not_the_one_in_effect() {
    let namespace = enrolled("shop", Some(Role::Secondary));
    let survey = survey(
        &namespace,
        vec![deployment("web", 0, Some("{\"/spec/replicas\":3}"))],
    );
    let promoted = plan(
        "east",
        Role::Primary,
        std::slice::from_ref(&namespace),
        &survey,
        now(),
    );
    assert_eq!(promoted.items[0].item.after["spec"]["replicas"], 3);
    let demoted = plan("east", Role::Secondary, &[namespace], &survey, now());
    assert_eq!(demoted.changed().count(), 0);
}

#[test]
fn cron_jobs_that_would_start_at_once_and_jobs_that_stay_held_are_named() {
    let namespace = enrolled("shop", Some(Role::Secondary));
    let cron_job = json!({
        "metadata": {"name": "report", "annotations": {RESTORE_ANNOTATION: "{\"/spec/suspend\":false}"}},
        "spec": {"schedule": "0 * * * *", "suspend": true},
        "status": {"lastScheduleTime": "2026-03-01T08:00:00Z"}
    });
    let job = json!({
        "metadata": {"name": "migrate", "annotations": {HELD_ANNOTATION: "{\"/spec/suspend\":false}"}},
        "spec": {"suspend": true}
    });
    let survey = Survey {
        found: vec![
            found(&namespace, "batch", "cronjobs", cron_job),
            found(&namespace, "batch", "jobs", job),
        ],
        ..Survey::default()
    };
    let plan = plan("east", Role::Primary, &[namespace], &survey, now());
    let missed: Vec<_> = plan
        .missed_runs
        .iter()
        .map(|(o, at)| format!("{o} {at}"))
        .collect();
    assert_eq!(missed, ["shop/cronjobs/report 2026-03-01T12:00:00Z"]);
    let held: Vec<_> = plan.held_jobs().map(ToString::to_string).collect();
    assert_eq!(held, ["shop/jobs/migrate"]);
}

#[test]
fn an_object_that_cannot_be_made_passive_is_named_with_the_reason() {
    let namespace = enrolled("shop", Some(Role::Primary));
    let odd = json!({"metadata": {"name": "odd"}, "spec": {"replicas": "three"}});
    let plan = plan(
        "east",
        Role::Secondary,
        std::slice::from_ref(&namespace),
        &survey(&namespace, vec![odd]),
        now(),
    );
    assert_eq!(plan.hopeless[0].0.to_string(), "shop/deployments/odd");
    assert!(
        plan.hopeless[0].1.contains("/spec/replicas"),
        "{:?}",
        plan.hopeless
    );
}

#[test]
fn standing_counts_objects_records_and_strays_by_namespace() {
    let shop = enrolled("shop", Some(Role::Secondary));
    let empty = enrolled("empty", Some(Role::Secondary));
    let unknown = enrolled("new", None);
    let mut survey = survey(
        &shop,
        vec![
            deployment("web", 0, Some("{\"/spec/replicas\":3}")),
            deployment("api", 2, None),
        ],
    );
    survey.found.push(found(
        &unknown,
        "apps",
        "deployments",
        deployment("web", 1, None),
    ));
    let standing = standing(&[shop, empty, unknown], &survey);
    assert_eq!((standing[0].objects, standing[0].forced), (2, 1));
    assert_eq!(standing[0].astray[0].0.to_string(), "shop/deployments/api");
    assert_eq!(standing[1], NamespaceStanding::default());
    assert_eq!(standing[2].objects, 0, "no role is known yet");
    let recorded: Vec<_> = recorded(&survey).iter().map(ToString::to_string).collect();
    assert_eq!(recorded, ["shop/deployments/web"]);
}

#[test]
fn a_promotion_names_what_it_does_not_wait_for() {
    let namespace = enrolled("shop", Some(Role::Secondary));
    let record = Some("{\"/spec/replicas\":3}");
    let mut paused = deployment("paused", 0, record);
    paused["spec"]["paused"] = json!(true);
    let survey = survey(&namespace, vec![deployment("web", 0, record), paused]);
    let names = |role| -> Vec<String> {
        let plan = plan(
            "east",
            role,
            std::slice::from_ref(&namespace),
            &survey,
            now(),
        );
        let named = plan.not_waited_for.iter();
        named.map(|(object, _)| object.to_string()).collect()
    };
    assert_eq!(names(Role::Primary), ["shop/deployments/paused"]);
    assert!(names(Role::Secondary).is_empty());
}

#[test]
fn a_plan_leaves_passive_what_lost_its_release() {
    let namespace = enrolled("shop", Some(Role::Secondary));
    let record = Some("{\"/spec/replicas\":3}");
    let mut old = deployment("old", 0, record);
    old["metadata"]["labels"] = json!({
        "helm.toolkit.fluxcd.io/name": "old", "helm.toolkit.fluxcd.io/namespace": "shop"
    });
    let mut survey = survey(&namespace, vec![deployment("web", 0, record), old]);
    survey.listed = ["deployments", "helmreleases"].map(str::to_owned).into();
    let requests = crate::cluster::Requests {
        policies: vec![],
        rules: RuleSet::built_in(),
        unseen: vec![],
    };
    let enrolled = [namespace];
    let compiled = crate::plan::object_roles::settled(&enrolled, &survey, &requests);
    let orphaned: Vec<_> = compiled
        .orphaned
        .iter()
        .map(|held| held.object.to_string())
        .collect();
    assert_eq!(orphaned, ["shop/deployments/old"]);
    let survey = crate::plan::object_roles::with_orphans(survey, &compiled);
    let plan = plan("east", Role::Primary, &enrolled, &survey, now());
    let changed: Vec<_> = plan.changed().map(|p| p.item.object.to_string()).collect();
    assert_eq!(changed, ["shop/deployments/web"]);
}
