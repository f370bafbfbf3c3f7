//! Whether everything that could still write has ended: what a demotion waits for before it turns the volumes.
//!
//! ```text
//!   pod ──owner──► ReplicaSet ──owner──► Deployment      any chain of owners that ends in a held workload
//!   pod ──volume─► claim ◄──source── VolumeReplication   any pod at all, whoever owns it
//!                    └─► PersistentVolume ◄── VolumeAttachment
//! ```
//!
//! A pod that is being terminated runs until it is gone. One that has Succeeded has ended; one that has Failed has too, unless
//! its node cannot be reached: there it may have been declared failed from afar, and still write.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use crate::plan::ObjectRef;

/// What was listed, in all enrolled namespaces and of the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listed<'a> {
    pub pods: &'a [Value],
    /// What may stand between a pod and a held workload: ReplicaSets, Jobs.
    pub owners: &'a [Value],
    pub nodes: &'a [Value],
    pub claims: &'a [Value],
    /// VolumeAttachments.
    pub attachments: &'a [Value],
}

/// An object whose role is secondary.
#[derive(Clone, Copy, Debug)]
pub struct HeldObject<'a> {
    pub reference: &'a ObjectRef,
    pub object: &'a Value,
}

/// What is still in the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// By the workload or volume it concerns, in their order.
    pub objects: Vec<(ObjectRef, String)>,
    /// Pods (namespace, name) that keep an ordered StatefulSet from coming down, since it waits for them to be ready first.
    /// At most one of each set, the highest.
    pub stuck: Vec<(String, String)>,
}

/// Everything that may still run of `workloads`, or use the claims of `volumes`.
pub fn running(
    workloads: &[HeldObject<'_>],
    volumes: &[HeldObject<'_>],
    listed: &Listed<'_>,
) -> Running {
    let nodes = Nodes::of(listed.nodes);
    let owners = Owners::of(workloads, listed.owners);
    let mut found: BTreeMap<ObjectRef, Vec<String>> = BTreeMap::new();
    let mut note = |reference: &ObjectRef, what: String| {
        found.entry(reference.clone()).or_default().push(what);
    };
    for held in workloads {
        if let Some(what) = not_down(held.object) {
            note(held.reference, what);
        }
    }
    for owner in listed.owners {
        let wants = number(owner, "/spec/replicas") + number(owner, "/status/replicas");
        // One that was scaled down before its controller saw it may be about to start what it was to have.
        let unsure = wants > 0 || is_unobserved(owner);
        for top in owners.above(owner).filter(|_| unsure) {
            let kind = owner["kind"].as_str().unwrap_or("ReplicaSet");
            note(top, format!("{kind} {} is not down yet", name(owner)));
        }
    }
    let pods: Vec<&Value> = listed
        .pods
        .iter()
        .filter(|pod| nodes.may_run(pod))
        .collect();
    for pod in &pods {
        for top in owners.above(pod) {
            note(top, told(pod));
        }
    }
    for volume in volumes {
        let claims = claims_of(volume.object, listed.claims);
        for pod in &pods {
            for claim in claims.iter().filter(|claim| mounts(pod, claim)) {
                note(
                    volume.reference,
                    format!("claim {} is mounted by {}", name(claim), told(pod)),
                );
            }
        }
        for attachment in listed.attachments {
            for claim in claims.iter().filter(|claim| is_attached(attachment, claim)) {
                let node = attachment["spec"]["nodeName"].as_str().unwrap_or_default();
                note(
                    volume.reference,
                    format!("claim {} is attached to node {node}", name(claim)),
                );
            }
        }
    }
    Running {
        objects: found
            .into_iter()
            .map(|(object, what)| (object, summary(&what)))
            .collect(),
        stuck: workloads
            .iter()
            .filter_map(|held| stuck(held.object, &pods))
            .collect(),
    }
}

/// The first few things in the way of one object.
fn summary(what: &[String]) -> String {
    const IN_FULL: usize = 3;
    let more = match what.len().saturating_sub(IN_FULL) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", what[..what.len().min(IN_FULL)].join(", "))
}

/// What a workload's own status says against its being down.
fn not_down(workload: &Value) -> Option<String> {
    if is_unobserved(workload) {
        return Some("its controller has not seen the change yet".to_owned());
    }
    let replicas = number(workload, "/status/replicas");
    let active = workload
        .pointer("/status/active")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    match replicas + active {
        0 => None,
        left => Some(format!("{left} of its replicas are left")),
    }
}

/// Whether its controller says that it has not seen the present spec. Not all say so.
fn is_unobserved(object: &Value) -> bool {
    let observed = object
        .pointer("/status/observedGeneration")
        .and_then(Value::as_i64);
    observed.is_some_and(|observed| observed < number(object, "/metadata/generation"))
}

/// The highest pod of an ordered StatefulSet that is to come down, where it is not ready and none is on its way out: its
/// controller waits for a lower one that is not ready either, and would for ever.
fn stuck(workload: &Value, pods: &[&Value]) -> Option<(String, String)> {
    let policy = workload["spec"]["podManagementPolicy"].as_str();
    if workload["kind"] != "StatefulSet"
        || policy == Some("Parallel")
        || workload["spec"]["replicas"] != 0
    {
        return None;
    }
    let own: Vec<&&Value> = pods
        .iter()
        .filter(|pod| is_owned_by(pod, workload))
        .collect();
    if own.iter().any(|pod| is_terminating(pod)) {
        return None;
    }
    let ordinal = |pod: &Value| {
        name(pod)
            .rsplit('-')
            .next()
            .and_then(|n| n.parse::<u64>().ok())
    };
    own.into_iter()
        .max_by_key(|pod| ordinal(pod))
        .filter(|pod| !is_ready(pod))
        .map(|pod| (namespace(pod).to_owned(), name(pod).to_owned()))
}

/// Whose chains of owners lead to a held workload.
struct Owners<'a> {
    held: HashMap<&'a str, &'a ObjectRef>,
    by_uid: HashMap<&'a str, &'a Value>,
}

impl<'a> Owners<'a> {
    fn of(workloads: &[HeldObject<'a>], owners: &'a [Value]) -> Self {
        let between = owners.iter().filter_map(|owner| Some((uid(owner)?, owner)));
        let tops = workloads
            .iter()
            .filter_map(|held| Some((uid(held.object)?, held)));
        let mut by_uid: HashMap<_, _> = between.collect();
        by_uid.extend(tops.clone().map(|(uid, held)| (uid, held.object)));
        Self {
            held: tops.map(|(uid, held)| (uid, held.reference)).collect(),
            by_uid,
        }
    }

    /// The held workloads above an object, itself not counted.
    fn above(&self, object: &Value) -> impl Iterator<Item = &'a ObjectRef> {
        let mut found = BTreeSet::new();
        let mut seen = HashSet::new();
        let mut next: Vec<&str> = owner_uids(object).collect();
        while let Some(uid) = next.pop() {
            if !seen.insert(uid.to_owned()) {
                continue;
            }
            if let Some((_, held)) = self.held.get_key_value(uid) {
                found.insert(*held);
            }
            if let Some((_, owner)) = self.by_uid.get_key_value(uid) {
                next.extend(owner_uids(owner));
            }
        }
        found.into_iter()
    }
}

/// Which nodes answer.
struct Nodes<'a>(HashSet<&'a str>);

impl<'a> Nodes<'a> {
    fn of(nodes: &'a [Value]) -> Self {
        let reached =
            |node: &&Value| condition(node, "Ready").is_some_and(|status| status != "Unknown");
        Self(nodes.iter().filter(reached).map(name).collect())
    }

    /// Whether containers of a pod may still run.
    fn may_run(&self, pod: &Value) -> bool {
        match pod["status"]["phase"].as_str() {
            Some("Succeeded") => false,
            Some("Failed") => {
                let node = pod["spec"]["nodeName"].as_str();
                node.is_some_and(|node| !self.0.contains(node))
            }
            _ => true,
        }
    }
}

/// The claims that a VolumeReplication or VolumeGroupReplication replicates.
fn claims_of<'a>(volume: &Value, claims: &'a [Value]) -> Vec<&'a Value> {
    let source = &volume["spec"]["dataSource"];
    let one = (source["kind"] == "PersistentVolumeClaim")
        .then(|| source["name"].as_str())
        .flatten();
    let listed = volume["status"]["persistentVolumeClaimsRefList"].as_array();
    let named: HashSet<&str> = listed
        .into_iter()
        .flatten()
        .filter_map(|reference| reference["name"].as_str())
        .chain(one)
        .collect();
    let selector = volume.pointer("/spec/source/selector").and_then(selector);
    claims
        .iter()
        .filter(|claim| namespace(claim) == namespace(volume))
        .filter(|claim| {
            named.contains(name(claim))
                || selector
                    .as_ref()
                    .is_some_and(|selector| selects(selector, claim))
        })
        .collect()
}

fn selector(value: &Value) -> Option<kube::core::Selector> {
    let selector: k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector =
        serde_json::from_value(value.clone()).ok()?;
    kube::core::Selector::try_from(selector).ok()
}

fn selects(selector: &kube::core::Selector, claim: &Value) -> bool {
    let labels: BTreeMap<String, String> = claim["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    kube::core::SelectorExt::matches(selector, &labels)
}

/// By its name, or as the ephemeral volume that the claim was made for.
fn mounts(pod: &Value, claim: &Value) -> bool {
    let volumes = pod["spec"]["volumes"].as_array();
    namespace(pod) == namespace(claim)
        && volumes.into_iter().flatten().any(|volume| {
            let ephemeral = volume["ephemeral"].is_object();
            let made = || {
                format!(
                    "{}-{}",
                    name(pod),
                    volume["name"].as_str().unwrap_or_default()
                )
            };
            volume["persistentVolumeClaim"]["claimName"] == name(claim)
                || (ephemeral && made() == name(claim))
        })
}

fn is_attached(attachment: &Value, claim: &Value) -> bool {
    let volume = claim["spec"]["volumeName"].as_str();
    attachment["status"]["attached"] == true
        && volume
            .is_some_and(|volume| attachment["spec"]["source"]["persistentVolumeName"] == volume)
}

/// A pod as a person looks for it.
fn told(pod: &Value) -> String {
    let phase = if is_terminating(pod) {
        "terminating"
    } else {
        pod["status"]["phase"].as_str().unwrap_or("Pending")
    };
    match pod["spec"]["nodeName"].as_str() {
        Some(node) => format!("pod {} ({phase} on {node})", name(pod)),
        None => format!("pod {} ({phase})", name(pod)),
    }
}

fn is_terminating(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready") == Some("True")
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|c| c["type"] == kind)?["status"].as_str()
}

fn is_owned_by(object: &Value, owner: &Value) -> bool {
    uid(owner).is_some_and(|uid| owner_uids(object).any(|of| of == uid))
}

fn owner_uids(object: &Value) -> impl Iterator<Item = &str> {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners
        .into_iter()
        .flatten()
        .filter_map(|owner| owner["uid"].as_str())
}

fn uid(object: &Value) -> Option<&str> {
    object["metadata"]["uid"].as_str()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
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
            "spec": {}, "status": {},
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

    /// What is in the way of the Deployment `web`, whose ReplicaSet is `web-1`.
    fn of_web(pods: &[Value], nodes: &[Value]) -> String {
        let (web, set) = (
            object("Deployment", "web", None),
            object("ReplicaSet", "web-1", Some("web")),
        );
        let reference = reference("deployments", "web");
        let held = [HeldObject {
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
        let running = running(&held, &[], &listed);
        running.objects.into_iter().map(|(_, what)| what).collect()
    }

    #[rstest]
    #[case::running(pod("p", "web-1", "Running"), "pod p (Running on n1)")]
    #[case::pending(pod("p", "web-1", "Pending"), "pod p (Pending on n1)")]
    #[case::ended(pod("p", "web-1", "Succeeded"), "")]
    #[case::failed(pod("p", "web-1", "Failed"), "")]
    #[case::of_nobody_we_hold(pod("p", "other", "Running"), "")]
    #[case::directly_owned(pod("p", "web", "Running"), "pod p (Running on n1)")]
    fn a_pod_counts_by_its_chain_of_owners_until_it_has_ended(
        #[case] pod: Value,
        #[case] says: &str,
    ) {
        assert_eq!(of_web(&[pod], &[node("n1", "True")]), says);
    }

    #[rstest]
    #[case::reached(node("n1", "True"), "")]
    #[case::not_ready_but_answers(node("n1", "False"), "")]
    #[case::silent(node("n1", "Unknown"), "pod p (Failed on n1)")]
    #[case::gone(node("n2", "True"), "pod p (Failed on n1)")]
    fn a_failed_pod_runs_on_where_nobody_can_see_it(#[case] node: Value, #[case] says: &str) {
        assert_eq!(of_web(&[pod("p", "web-1", "Failed")], &[node]), says);
    }

    #[test]
    fn a_pod_on_its_way_out_runs_until_it_is_gone_and_many_are_summed_up() {
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
    #[case::not_seen(json!({"observedGeneration": 1, "replicas": 0}), Some("has not seen"))]
    #[case::job(json!({"active": 1}), Some("1 of its replicas"))]
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
    #[case::had_none_yet_and_has_not_seen_the_change(json!({"replicas": 0}), json!({"observedGeneration": 1, "replicas": 0}), true)]
    #[case::down(json!({"replicas": 0}), json!({"observedGeneration": 2, "replicas": 0}), false)]
    fn a_replica_set_is_waited_for_while_it_may_still_make_pods(
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
        let held = [HeldObject {
            reference: &reference,
            object: &web,
        }];
        let owners = [set];
        let listed = Listed {
            owners: &owners,
            ..Listed::default()
        };
        let running = running(&held, &[], &listed);
        let told = (reference, "ReplicaSet web-1 is not down yet".to_owned());
        assert_eq!(running.objects.contains(&told), may);
        assert_eq!(running.objects.is_empty(), !may);
    }

    #[test]
    fn owners_in_a_circle_are_gone_through_once() {
        let (a, b) = (
            object("ReplicaSet", "a", Some("b")),
            object("ReplicaSet", "b", Some("a")),
        );
        assert_eq!(Owners::of(&[], &[a.clone(), b]).above(&a).count(), 0);
    }

    fn claim(name: &str, labels: &Value) -> Value {
        json!({"metadata": {"namespace": "shop", "name": name, "labels": labels}, "spec": {"volumeName": format!("pv-{name}")}})
    }

    /// What is in the way of a volume that replicates the claim `data`.
    fn of_volume(volume: &Value, pods: &[Value], attachments: &[Value]) -> Vec<String> {
        let reference = reference("volumereplications", "data");
        let held = [HeldObject {
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
        running(&[], &held, &listed)
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
    #[case::of_a_group_as_told(volume(&json!({"source": {}}), &json!({"persistentVolumeClaimsRefList": [{"name": "data"}]})), true)]
    #[case::of_a_group_by_labels(volume(&json!({"source": {"selector": {"matchLabels": {"app": "db"}}}}), &json!({})), true)]
    #[case::of_another_group(volume(&json!({"source": {"selector": {"matchLabels": {"app": "web"}}}}), &json!({})), false)]
    fn whoever_mounts_a_replicated_claim_is_in_the_way(
        #[case] volume: Value,
        #[case] is_in_the_way: bool,
    ) {
        let stranger =
            mounting(&json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]));
        let found = of_volume(&volume, &[stranger], &[]);
        let says = "claim data is mounted by pod stranger (Running on n1)";
        assert_eq!(found, if is_in_the_way { vec![says] } else { vec![] });
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
    fn an_ephemeral_volume_is_the_claim_that_was_made_for_it() {
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
    fn an_ordered_set_is_helped_from_its_highest_unready_pod(
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
            let held = [HeldObject {
                reference: &reference,
                object: db,
            }];
            let listed = Listed {
                pods: &pods,
                ..Listed::default()
            };
            running(&held, &[], &listed).stuck
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
}
