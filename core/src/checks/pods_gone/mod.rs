//! Whether everything that could still write has ended: a demotion waits for this before it demotes the volumes.
//!
//! ```text
//!   pod ──owner──► ReplicaSet ──owner──► Deployment      any chain of owners that ends in a forced workload
//!   pod ──volume─► claim ◄──source── VolumeReplication   any pod at all, whoever owns it
//!                    └─► PersistentVolume ◄── VolumeAttachment
//! ```
//!
//! A terminating pod runs until it is gone. A Succeeded pod has ended. A Failed pod has ended too, unless its node is
//! unreachable: it may have been declared failed remotely, and still write.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::{condition, has_ended, is_true};
use crate::object::ObjectRef;

/// The listed objects, of all enrolled namespaces and of the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listed<'a> {
    pub pods: &'a [Value],
    /// Objects between a pod and a forced workload: ReplicaSets, Jobs.
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

/// What still blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// By the workload or volume that each concerns, in their order.
    pub objects: Vec<(ObjectRef, String)>,
    /// Pods (namespace, name) that keep an ordered StatefulSet from scaling down, because it waits for them to be ready
    /// first. At most one of each set, the highest.
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
    for workload in workloads {
        if let Some(what) = not_down(workload.object) {
            note(workload.reference, what);
        }
    }
    for owner in listed.owners {
        let wants = number(owner, "/spec/replicas") + number(owner, "/status/replicas");
        // A ReplicaSet that was scaled down before its controller observed it may still create its pods.
        let unsure = wants > 0 || is_unobserved(owner);
        for top in owners.above(owner).filter(|_| unsure) {
            let kind = owner["kind"].as_str().unwrap_or("ReplicaSet");
            note(
                top,
                format!("{kind} {} is not scaled down yet", name(owner)),
            );
        }
    }
    let pods: Vec<&Value> = listed
        .pods
        .iter()
        .filter(|pod| nodes.may_run(pod))
        .collect();
    for pod in &pods {
        for top in owners.above(pod) {
            note(top, describe(pod));
        }
    }
    for volume in volumes {
        let claims = claims_of(volume.object, listed.claims);
        for pod in &pods {
            for claim in claims.iter().filter(|claim| mounts(pod, claim)) {
                note(
                    volume.reference,
                    format!("claim {} is mounted by {}", name(claim), describe(pod)),
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
            .filter_map(|workload| stuck(workload.object, &pods))
            .collect(),
    }
}

/// The first few pods that block one object.
fn summary(what: &[String]) -> String {
    const IN_FULL: usize = 3;
    let more = match what.len().saturating_sub(IN_FULL) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", what[..what.len().min(IN_FULL)].join(", "))
}

/// Why a workload is not down, according to its own status.
fn not_down(workload: &Value) -> Option<String> {
    if is_unobserved(workload) {
        return Some("its controller has not observed the change yet".to_owned());
    }
    let replicas = number(workload, "/status/replicas");
    let active = workload
        .pointer("/status/active")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    match replicas + active {
        0 => None,
        left => Some(format!("{left} of its replicas are still running")),
    }
}

/// Whether its controller has not observed the current spec. Kinds that always report `observedGeneration`, and do not
/// yet, have not been observed at all; a Job shows that it has been suspended.
fn is_unobserved(object: &Value) -> bool {
    let observed = object
        .pointer("/status/observedGeneration")
        .and_then(Value::as_i64);
    match (observed, object["kind"].as_str().unwrap_or_default()) {
        (Some(observed), _) => observed < number(object, "/metadata/generation"),
        (None, "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController") => true,
        // The Job controller ignores a Job that is being deleted: it starts nothing any more, and its pods are listed.
        (None, "Job") if is_terminating(object) => false,
        (None, "Job") => {
            let by_another = object["spec"]["managedBy"].is_string();
            object["spec"]["suspend"] == true
                && !by_another
                && !has_ended(object)
                && !is_true(object, "Suspended")
        }
        (None, _) => false,
    }
}

/// The highest pod of an ordered StatefulSet that must scale down, if it is not ready and none is terminating: the
/// controller waits, possibly for ever, for a lower pod that is not ready either.
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

/// Finds the forced workloads at the top of a chain of owners.
struct Owners<'a> {
    forced: HashMap<&'a str, &'a ObjectRef>,
    by_uid: HashMap<&'a str, &'a Value>,
}

impl<'a> Owners<'a> {
    fn of(workloads: &[HeldObject<'a>], owners: &'a [Value]) -> Self {
        let between = owners.iter().filter_map(|owner| Some((uid(owner)?, owner)));
        let tops = workloads
            .iter()
            .filter_map(|workload| Some((uid(workload.object)?, workload)));
        let mut by_uid: HashMap<_, _> = between.collect();
        by_uid.extend(tops.clone().map(|(uid, workload)| (uid, workload.object)));
        Self {
            forced: tops
                .map(|(uid, workload)| (uid, workload.reference))
                .collect(),
            by_uid,
        }
    }

    /// The forced workloads above an object, without the object itself.
    fn above(&self, object: &Value) -> impl Iterator<Item = &'a ObjectRef> {
        let mut found = BTreeSet::new();
        let mut seen = HashSet::new();
        let mut next: Vec<&str> = owner_uids(object).collect();
        while let Some(uid) = next.pop() {
            if !seen.insert(uid.to_owned()) {
                continue;
            }
            if let Some((_, workload)) = self.forced.get_key_value(uid) {
                found.insert(*workload);
            }
            if let Some((_, owner)) = self.by_uid.get_key_value(uid) {
                next.extend(owner_uids(owner));
            }
        }
        found.into_iter()
    }
}

/// The nodes that answer.
struct Nodes<'a>(HashSet<&'a str>);

impl<'a> Nodes<'a> {
    fn of(nodes: &'a [Value]) -> Self {
        let reached = |node: &&Value| {
            condition(node, "Ready").is_some_and(|ready| ready["status"] != "Unknown")
        };
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

/// By its name, or as the ephemeral volume that the claim was created for.
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

/// A pod with its phase and its node, for a message.
fn describe(pod: &Value) -> String {
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
    is_true(pod, "Ready")
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
mod tests;
