//! Whether restored objects are up: a promotion waits for this before traffic.
//!
//! ```text
//!   rule with a ready condition   True, for the current generation        HelmRelease, Kustomization, RoleRules that name one
//!   spec.replicas                 status.availableReplicas                Deployment, StatefulSet, ...; both where a rule has both
//!   others                        nothing to wait for                     Job, CronJob
//! ```
//!
//! An object that nothing can bring up is not waited for, and is reported instead: one object that is being deleted
//! must not block the traffic of a whole site.

use serde_json::Value;

use super::condition;
use crate::json::pointer::Pointer;
use crate::rules::rule::{Ready, Rule};

/// The annotation with which a Deployment or a Rollout names its current ReplicaSet, from its first one on.
const REVISIONS: [(&str, &str); 2] = [
    ("Deployment", "deployment.kubernetes.io/revision"),
    ("Rollout", "rollout.argoproj.io/revision"),
];

/// The longest part of a condition's message that is passed on.
const LONGEST_MESSAGE: usize = 200;

/// How far an object whose role is primary has come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// There is nothing to wait for.
    Nothing,
    Up,
    /// Not up yet, with the reason.
    Lacking(String),
    /// Not waited for, with the reason.
    LeftOut(String),
}

/// How far an object of a rule's kind has come up.
pub fn of(rule: &Rule, object: &Value) -> Availability {
    if !is_expected(rule, object) {
        return Availability::Nothing;
    }
    if let Some(why) = left_out(rule, object) {
        return Availability::LeftOut(why);
    }
    not_up(rule, object).map_or(Availability::Up, Availability::Lacking)
}

/// Why an object that should be active is not waited for.
pub fn left_out(rule: &Rule, object: &Value) -> Option<String> {
    if !is_expected(rule, object) {
        return None;
    }
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Some("it is being deleted".to_owned());
    }
    let never_rolled_out = |(kind, revision): (&str, &str)| {
        rule.kind == *kind && object["metadata"]["annotations"][revision].is_null()
    };
    if object["spec"]["paused"] == true && REVISIONS.into_iter().any(never_rolled_out) {
        return Some(
            "it is paused (spec.paused) and was never rolled out, so it starts no pods until it is resumed"
                .to_owned(),
        );
    }
    let mut except = rule.ready.iter().flat_map(|ready| &ready.except);
    except.find_map(|(pointer, values)| {
        let value = pointer.lookup(object)?;
        values.contains(value).then(|| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            format!("{} is {value}: only a person starts it", pointer.field())
        })
    })
}

/// Whether the object should come up: not if its own manifest or record leaves it passive.
fn is_expected(rule: &Rule, object: &Value) -> bool {
    if matches!(&*rule.kind, "Job" | "CronJob") {
        return false;
    }
    if rule.ready.is_some() {
        !rule.is_passive(object)
    } else {
        replicas(object) > 0
    }
}

fn not_up(rule: &Rule, object: &Value) -> Option<String> {
    let counts = rule.ready.is_none() || rule.fields.iter().any(is_replicas);
    let by_condition = || {
        let ready = rule.ready.as_ref()?;
        not_ready(ready, object)
    };
    if counts {
        lacking(object).or_else(by_condition)
    } else {
        by_condition()
    }
}

fn is_replicas(field: &crate::rules::rule::Field) -> bool {
    field.pointer == Pointer::of(&["spec", "replicas"])
}

/// Why a workload that counts its replicas is not available yet; `None`: it is, or it wants none.
pub fn lacking(object: &Value) -> Option<String> {
    let wanted = replicas(object);
    if wanted == 0 {
        return None;
    }
    if observed(&object["status"]).is_some_and(|observed| observed < generation(object)) {
        return Some("its controller has not observed the change yet".to_owned());
    }
    let available = object["status"]["availableReplicas"]
        .as_i64()
        .unwrap_or_default();
    (available < wanted).then(|| format!("{available} of {wanted} replicas are available"))
}

fn not_ready(ready: &Ready, object: &Value) -> Option<String> {
    let type_ = &ready.condition;
    let Some(condition) = condition(object, type_) else {
        return Some(format!("condition {type_} is not reported yet"));
    };
    let current = generation(object);
    let stale = observed(condition)
        .or_else(|| observed(&object["status"]))
        .filter(|observed| *observed != current);
    if let Some(observed) = stale {
        return Some(format!(
            "condition {type_} is stale: observed generation {observed}, current generation {current}"
        ));
    }
    let status = condition["status"].as_str().unwrap_or_default();
    if status == "True" {
        return None;
    }
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    let message: String = text("message").chars().take(LONGEST_MESSAGE).collect();
    Some(format!(
        "condition {type_} is {status} ({}): {message}",
        text("reason")
    ))
}

/// The `observedGeneration` of a status or of a condition. Argo's Rollouts write it as text.
fn observed(of: &Value) -> Option<i64> {
    let value = &of["observedGeneration"];
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn generation(object: &Value) -> i64 {
    object["metadata"]["generation"]
        .as_i64()
        .unwrap_or_default()
}

fn replicas(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::RuleSet;

    const SEEN: &str = "its controller has not observed the change yet";

    fn rule(group: &str, resource: &str) -> Rule {
        let rules = RuleSet::built_in();
        rules.find(group, resource).unwrap().clone()
    }

    fn of_kind(object: &Value) -> Rule {
        match object["kind"].as_str().unwrap() {
            "Deployment" => rule("apps", "deployments"),
            "StatefulSet" => rule("apps", "statefulsets"),
            "ReplicationController" => rule("", "replicationcontrollers"),
            "CronJob" => rule("batch", "cronjobs"),
            "Job" => rule("batch", "jobs"),
            "HelmRelease" => rule("helm.toolkit.fluxcd.io", "helmreleases"),
            "Kustomization" => rule("kustomize.toolkit.fluxcd.io", "kustomizations"),
            "Rollout" => with_ready(
                "Rollout",
                "/spec/replicas",
                &json!(0),
                &json!({"condition": "Available"}),
            ),
            "VirtualMachine" => with_ready(
                "VirtualMachine",
                "/spec/runStrategy",
                &json!("Halted"),
                &json!({"condition": "Ready", "except": [{"pointer": "/spec/runStrategy", "values": ["Manual"]}]}),
            ),
            kind => panic!("{kind}"),
        }
    }

    fn with_ready(kind: &str, pointer: &str, passive: &Value, ready: &Value) -> Rule {
        let value_type = if passive.is_string() {
            "string"
        } else {
            "integer"
        };
        let spec = json!({
            "group": "example.com", "version": "v1", "kind": kind, "resource": "examples", "layer": "workloads",
            "fields": [{"pointer": pointer, "type": value_type, "passive": passive}], "ready": ready,
        });
        Rule::try_from(&serde_json::from_value::<crate::api::RoleRuleSpec>(spec).unwrap()).unwrap()
    }

    fn not_yet(what: &str) -> Availability {
        Availability::Lacking(what.to_owned())
    }

    #[rstest]
    #[case::up(json!({"kind": "Deployment", "metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {"observedGeneration": 3, "availableReplicas": 2}}), Availability::Up)]
    #[case::coming(json!({"kind": "Deployment", "metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {"observedGeneration": 3, "availableReplicas": 1}}), not_yet("1 of 2 replicas are available"))]
    #[case::none_yet(json!({"kind": "StatefulSet", "metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {"observedGeneration": 3}}), not_yet("0 of 2 replicas are available"))]
    #[case::of_the_old_spec(json!({"kind": "Deployment", "metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {"observedGeneration": 2, "availableReplicas": 2}}), not_yet(SEEN))]
    #[case::never_observed(json!({"kind": "ReplicationController", "metadata": {"generation": 1}, "spec": {"replicas": 1}}), not_yet("0 of 1 replicas are available"))]
    #[case::wants_nothing(json!({"kind": "Deployment", "metadata": {"generation": 3}, "spec": {"replicas": 0}}), Availability::Nothing)]
    #[case::waits_for_its_time(json!({"kind": "CronJob", "spec": {"suspend": false}}), Availability::Nothing)]
    #[case::ends_by_itself(json!({"kind": "Job", "spec": {"suspend": false, "replicas": 1}}), Availability::Nothing)]
    fn replicas_are_counted_by_their_own_controller(
        #[case] workload: Value,
        #[case] expected: Availability,
    ) {
        assert_eq!(of(&of_kind(&workload), &workload), expected);
    }

    #[rstest]
    #[case::never_reconciled(json!({"suspend": false}), json!({}), not_yet("condition Ready is not reported yet"))]
    #[case::of_the_suspended_spec(json!({"suspend": false}), json!({"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 2}]}), not_yet("condition Ready is stale: observed generation 2, current generation 3"))]
    #[case::by_its_status(json!({}), json!({"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True"}]}), not_yet("condition Ready is stale: observed generation 2, current generation 3"))]
    #[case::waits_for_another(json!({}), json!({"conditions": [{"type": "Ready", "status": "False", "observedGeneration": 3, "reason": "DependencyNotReady", "message": "dependency 'shop/db' is not ready"}]}), not_yet("condition Ready is False (DependencyNotReady): dependency 'shop/db' is not ready"))]
    #[case::installed(json!({}), json!({"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 3}]}), Availability::Up)]
    #[case::suspended_in_git(json!({"suspend": true}), json!({}), Availability::Nothing)]
    fn a_flux_object_is_up_once_its_ready_condition_is_current(
        #[values("HelmRelease", "Kustomization")] kind: &str,
        #[case] spec: Value,
        #[case] status: Value,
        #[case] expected: Availability,
    ) {
        let object =
            json!({"kind": kind, "metadata": {"generation": 3}, "spec": spec, "status": status});
        assert_eq!(of(&of_kind(&object), &object), expected);
    }

    #[rstest]
    #[case::both_hold(json!({"availableReplicas": 2, "observedGeneration": "3", "conditions": [{"type": "Available", "status": "True"}]}), Availability::Up)]
    #[case::of_the_old_spec(json!({"availableReplicas": 2, "observedGeneration": "2", "conditions": [{"type": "Available", "status": "True"}]}), not_yet(SEEN))]
    #[case::too_few(json!({"availableReplicas": 1, "observedGeneration": "3", "conditions": [{"type": "Available", "status": "True"}]}), not_yet("1 of 2 replicas are available"))]
    #[case::not_switched(json!({"availableReplicas": 2, "observedGeneration": "3", "conditions": [{"type": "Available", "status": "False", "reason": "AvailableReason", "message": "Rollout does not have minimum availability"}]}), not_yet("condition Available is False (AvailableReason): Rollout does not have minimum availability"))]
    fn a_rollout_needs_its_replicas_and_its_condition(
        #[case] status: Value,
        #[case] expected: Availability,
    ) {
        let rollout = json!({"kind": "Rollout", "metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": status});
        assert_eq!(of(&of_kind(&rollout), &rollout), expected);
    }

    #[rstest]
    #[case::halted(json!({"runStrategy": "Halted"}), Availability::Nothing)]
    #[case::starting(json!({"runStrategy": "Always"}), not_yet("condition Ready is False (GuestNotRunning): starting"))]
    #[case::by_hand(json!({"runStrategy": "Manual"}), Availability::LeftOut("runStrategy is Manual: only a person starts it".to_owned()))]
    fn a_machine_is_waited_for_unless_a_person_starts_it(
        #[case] spec: Value,
        #[case] expected: Availability,
    ) {
        let not_ready = json!({"type": "Ready", "status": "False", "reason": "GuestNotRunning", "message": "starting"});
        let machine = json!({"kind": "VirtualMachine", "metadata": {"generation": 3}, "spec": spec, "status": {"conditions": [not_ready]}});
        assert_eq!(of(&of_kind(&machine), &machine), expected);
    }

    #[rstest]
    #[case::being_deleted("Deployment", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), json!({"replicas": 2}), true)]
    #[case::release_being_deleted("HelmRelease", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), json!({}), true)]
    #[case::paused_before_it_had_pods("Deployment", json!({}), json!({"replicas": 2, "paused": true}), true)]
    #[case::rollout_paused_before_it_had_pods("Rollout", json!({}), json!({"replicas": 2, "paused": true}), true)]
    #[case::paused_with_a_replica_set("Deployment", json!({"annotations": {"deployment.kubernetes.io/revision": "4"}}), json!({"replicas": 2, "paused": true}), false)]
    #[case::paused_rollout_with_a_replica_set("Rollout", json!({"annotations": {"rollout.argoproj.io/revision": "4"}}), json!({"replicas": 2, "paused": true}), false)]
    fn an_object_that_nothing_brings_up_is_not_waited_for(
        #[case] kind: &str,
        #[case] metadata: Value,
        #[case] spec: Value,
        #[case] is_left_out: bool,
    ) {
        let object = json!({"kind": kind, "metadata": metadata, "spec": spec});
        let found = of(&of_kind(&object), &object);
        assert_eq!(
            matches!(found, Availability::LeftOut(_)),
            is_left_out,
            "{found:?}"
        );
        assert!(
            is_left_out || matches!(found, Availability::Lacking(_)),
            "{found:?}"
        );
    }
}
