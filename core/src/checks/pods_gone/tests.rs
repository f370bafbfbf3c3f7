//! Which pods count as running, who owns them, and how they are reported.

use rstest::rstest;
use serde_json::json;

use super::*;

fn reference(resource: &str, name: &str) -> ObjectRef {
    ObjectRef {
        namespace: "shop".to_owned(),
        group: String::new(),
        resource: resource.to_owned(),
        name: name.to_owned(),
    }
}

fn object(kind: &str, name: &str, owner: Option<&str>) -> Value {
    let owners: Vec<_> = owner
        .iter()
        .map(|uid| json!({"uid": uid, "controller": true}))
        .collect();
    json!({
        "kind": kind,
        "metadata": {"namespace": "shop", "name": name, "uid": name, "generation": 2, "ownerReferences": owners},
        "spec": {}, "status": {"observedGeneration": 2},
    })
}

fn pod(name: &str, owner: &str, phase: &str) -> Value {
    let mut pod = object("Pod", name, Some(owner));
    pod["spec"]["nodeName"] = json!("n1");
    pod["status"]["phase"] = json!(phase);
    pod
}

fn node(name: &str, ready: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}})
}

/// What blocks the Deployment `web`, whose ReplicaSet is `web-1`.
fn of_web(pods: &[Value], nodes: &[Value]) -> String {
    let (web, set) = (
        object("Deployment", "web", None),
        object("ReplicaSet", "web-1", Some("web")),
    );
    let reference = reference("deployments", "web");
    let forced = [HeldObject {
        reference: &reference,
        object: &web,
    }];
    let owners = [set];
    let listed = Listed {
        pods,
        owners: &owners,
        nodes,
        ..Listed::default()
    };
    let running = running(&forced, &[], &listed);
    running.objects.into_iter().map(|(_, what)| what).collect()
}

#[rstest]
#[case::running(pod("p", "web-1", "Running"), "pod p (Running on n1)")]
#[case::pending(pod("p", "web-1", "Pending"), "pod p (Pending on n1)")]
#[case::ended(pod("p", "web-1", "Succeeded"), "")]
#[case::failed(pod("p", "web-1", "Failed"), "")]
#[case::of_another_owner(pod("p", "other", "Running"), "")]
#[case::directly_owned(pod("p", "web", "Running"), "pod p (Running on n1)")]
fn a_pod_counts_by_its_chain_of_owners_until_it_has_ended(#[case] pod: Value, #[case] says: &str) {
    assert_eq!(of_web(&[pod], &[node("n1", "True")]), says);
}

#[rstest]
#[case::reached(node("n1", "True"), "")]
#[case::not_ready_but_answers(node("n1", "False"), "")]
#[case::silent(node("n1", "Unknown"), "pod p (Failed on n1)")]
#[case::gone(node("n2", "True"), "pod p (Failed on n1)")]
fn a_failed_pod_on_an_unreachable_node_counts_as_running(#[case] node: Value, #[case] says: &str) {
    assert_eq!(of_web(&[pod("p", "web-1", "Failed")], &[node]), says);
}

#[test]
fn a_terminating_pod_counts_until_it_is_gone_and_many_are_summed_up() {
    let mut pods: Vec<Value> = (0..5)
        .map(|i| pod(&format!("p{i}"), "web-1", "Running"))
        .collect();
    pods[0]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(
        of_web(&pods, &[]),
        "pod p0 (terminating on n1), pod p1 (Running on n1), pod p2 (Running on n1) and 2 more"
    );
}

#[rstest]
#[case::down(json!({"observedGeneration": 2, "replicas": 0}), None)]
#[case::not_counted_down(json!({"observedGeneration": 2, "replicas": 3}), Some("3 of its replicas"))]
#[case::not_observed(json!({"observedGeneration": 1, "replicas": 0}), Some("has not observed"))]
#[case::job(json!({"observedGeneration": 2, "active": 1}), Some("1 of its replicas"))]
fn a_workload_is_down_when_its_own_controller_says_so(
    #[case] status: Value,
    #[case] says: Option<&str>,
) {
    let mut web = object("Deployment", "web", None);
    web["status"] = status;
    let what = not_down(&web);
    assert_eq!(what.is_some(), says.is_some());
    assert!(what.unwrap_or_default().contains(says.unwrap_or_default()));
}

#[rstest]
#[case::wants(json!({"replicas": 3}), json!({"observedGeneration": 2}), true)]
#[case::has(json!({"replicas": 0}), json!({"observedGeneration": 2, "replicas": 3}), true)]
#[case::had_none_yet_and_not_observed(json!({"replicas": 0}), json!({"observedGeneration": 1, "replicas": 0}), true)]
#[case::down(json!({"replicas": 0}), json!({"observedGeneration": 2, "replicas": 0}), false)]
fn a_replica_set_is_waited_for_while_it_may_still_create_pods(
    #[case] spec: Value,
    #[case] status: Value,
    #[case] may: bool,
) {
    let (web, mut set) = (
        object("Deployment", "web", None),
        object("ReplicaSet", "web-1", Some("web")),
    );
    (set["spec"], set["status"]) = (spec, status);
    let reference = reference("deployments", "web");
    let forced = [HeldObject {
        reference: &reference,
        object: &web,
    }];
    let owners = [set];
    let listed = Listed {
        owners: &owners,
        ..Listed::default()
    };
    let running = running(&forced, &[], &listed);
    let blocked = (
        reference,
        "ReplicaSet web-1 is not scaled down yet".to_owned(),
    );
    assert_eq!(running.objects.contains(&blocked), may);
    assert_eq!(running.objects.is_empty(), !may);
}

#[test]
fn owners_in_a_circle_are_visited_once() {
    let (a, b) = (
        object("ReplicaSet", "a", Some("b")),
        object("ReplicaSet", "b", Some("a")),
    );
    assert_eq!(Owners::of(&[], &[a.clone(), b]).above(&a).count(), 0);
}

fn claim(name: &str, labels: &Value) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name, "labels": labels}, "spec": {"volumeName": format!("pv-{name}")}})
}

/// What blocks a volume that replicates the claim `data`.
fn of_volume(volume: &Value, pods: &[Value], attachments: &[Value]) -> Vec<String> {
    let reference = reference("volumereplications", "data");
    let forced = [HeldObject {
        reference: &reference,
        object: volume,
    }];
    let claims = [
        claim("data", &json!({"app": "db"})),
        claim("other", &json!({})),
    ];
    let listed = Listed {
        pods,
        claims: &claims,
        attachments,
        ..Listed::default()
    };
    running(&[], &forced, &listed)
        .objects
        .into_iter()
        .map(|(_, what)| what)
        .collect()
}

fn volume(spec: &Value, status: &Value) -> Value {
    json!({"metadata": {"namespace": "shop", "name": "data"}, "spec": spec, "status": status})
}

fn mounting(volumes: &Value) -> Value {
    let mut pod = pod("stranger", "somebody", "Running");
    pod["spec"]["volumes"] = volumes.clone();
    pod
}

#[rstest]
#[case::one_claim(volume(&json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "data"}}), &json!({})), true)]
#[case::another_claim(volume(&json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "logs"}}), &json!({})), false)]
#[case::of_a_group_by_status(volume(&json!({"source": {}}), &json!({"persistentVolumeClaimsRefList": [{"name": "data"}]})), true)]
#[case::of_a_group_by_labels(volume(&json!({"source": {"selector": {"matchLabels": {"app": "db"}}}}), &json!({})), true)]
#[case::of_another_group(volume(&json!({"source": {"selector": {"matchLabels": {"app": "web"}}}}), &json!({})), false)]
fn a_pod_that_mounts_a_replicated_claim_blocks(#[case] volume: Value, #[case] is_blocking: bool) {
    let stranger =
        mounting(&json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]));
    let found = of_volume(&volume, &[stranger], &[]);
    let says = "claim data is mounted by pod stranger (Running on n1)";
    assert_eq!(found, if is_blocking { vec![says] } else { vec![] });
}

#[test]
fn a_volume_is_in_use_while_it_is_attached() {
    let volume = volume(
        &json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "data"}}),
        &json!({}),
    );
    let attachment = |attached: bool| {
        json!({
            "spec": {"nodeName": "n1", "source": {"persistentVolumeName": "pv-data"}},
            "status": {"attached": attached},
        })
    };
    assert_eq!(
        of_volume(&volume, &[], &[attachment(true)]),
        ["claim data is attached to node n1"]
    );
    assert_eq!(of_volume(&volume, &[], &[attachment(false)]), [""; 0]);
}

#[test]
fn an_ephemeral_volume_uses_the_claim_that_was_created_for_it() {
    let volume = volume(
        &json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "data"}}),
        &json!({}),
    );
    let mut pod = mounting(&json!([{"name": "data", "ephemeral": {}}]));
    assert_eq!(
        of_volume(&volume, &[pod.clone()], &[]),
        [""; 0],
        "of stranger-data"
    );
    let claims = [claim("stranger-data", &json!({}))];
    assert!(mounts(&pod, &claims[0]));
    pod["metadata"]["namespace"] = json!("elsewhere");
    assert!(!mounts(&pod, &claims[0]));
}

#[rstest]
#[case::all_unready(&[("db-0", "False", false), ("db-1", "False", false), ("db-10", "False", false)], Some("db-10"))]
#[case::one_is_leaving(&[("db-0", "False", false), ("db-1", "False", true)], None)]
#[case::all_ready(&[("db-0", "True", false), ("db-1", "True", false)], None)]
#[case::only_the_lowest(&[("db-0", "False", false), ("db-1", "True", false)], None)]
fn the_highest_unready_pod_of_an_ordered_set_is_stuck(
    #[case] pods: &[(&str, &str, bool)],
    #[case] expected: Option<&str>,
) {
    let pods: Vec<Value> = pods
        .iter()
        .map(|(name, ready, leaving)| {
            let mut pod = pod(name, "db", "Running");
            pod["status"]["conditions"] = json!([{"type": "Ready", "status": ready}]);
            if *leaving {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            pod
        })
        .collect();
    let mut db = object("StatefulSet", "db", None);
    let of = |db: &Value| {
        let reference = reference("statefulsets", "db");
        let forced = [HeldObject {
            reference: &reference,
            object: db,
        }];
        let listed = Listed {
            pods: &pods,
            ..Listed::default()
        };
        running(&forced, &[], &listed).stuck
    };
    let expected: Vec<_> = expected
        .iter()
        .map(|name| ("shop".to_owned(), (*name).to_owned()))
        .collect();
    assert_eq!(of(&db), [], "somebody wants replicas again");
    db["spec"]["replicas"] = json!(0);
    assert_eq!(of(&db), expected);
    db["spec"]["podManagementPolicy"] = json!("Parallel");
    assert_eq!(of(&db), []);
}

#[rstest]
#[case::a_deployment_not_observed(json!({"kind": "Deployment", "metadata": {"generation": 1}, "spec": {"replicas": 0}}), false)]
#[case::a_kind_without_observed_generation(json!({"kind": "VirtualMachine", "metadata": {"generation": 1}, "spec": {}}), true)]
#[case::a_job_that_may_be_starting(json!({"kind": "Job", "spec": {"suspend": true}, "status": {}}), false)]
#[case::a_job_that_is_being_deleted(json!({"kind": "Job", "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"suspend": true}, "status": {}}), true)]
#[case::a_job_that_is_suspended(json!({"kind": "Job", "spec": {"suspend": true}, "status": {"conditions": [{"type": "Suspended", "status": "True"}]}}), true)]
#[case::a_job_that_has_ended(json!({"kind": "Job", "spec": {"suspend": true}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}), true)]
#[case::a_job_of_another_controller(json!({"kind": "Job", "spec": {"suspend": true, "managedBy": "example.org/queue"}}), true)]
fn a_workload_that_its_controller_has_not_observed_may_still_start(
    #[case] workload: Value,
    #[case] is_down: bool,
) {
    assert_eq!(not_down(&workload).is_none(), is_down);
}
