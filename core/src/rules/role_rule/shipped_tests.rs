//! The rules in `manifests/rules`, applied to objects as their owners write them. The end-to-end tests show that the
//! real API servers accept the result; for KubeVirt, whose operator creates its CRDs, these are the only tests.

use std::path::PathBuf;

use rstest::rstest;
use serde_json::{Value, json};

use super::compile::written;
use crate::admission::rewrite::rewrite_stored;
use crate::api::RoleRule;
use crate::checks::uncovered::external_dns::{PREFIXES, SOURCES};
use crate::checks::uncovered::traffic::unruled;
use crate::role::{Layer, Role};
use crate::rules::rule::Rule;
use crate::rules::set::RuleSet;

fn shipped() -> Vec<RoleRule> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests/rules");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| {
            let rule: RoleRule =
                serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
            assert_eq!(
                rule.metadata.name.as_deref(),
                file.file_stem().unwrap().to_str(),
                "a file is named after its rule"
            );
            rule
        })
        .collect()
}

fn rule(name: &str) -> Rule {
    let all = shipped();
    let rule = all
        .iter()
        .find(|rule| rule.metadata.name.as_deref() == Some(name));
    written(&rule.unwrap().spec).unwrap()
}

#[test]
fn all_of_them_can_be_used_together() {
    let shipped = shipped();
    assert_eq!(shipped.len(), 18);
    for rule in &shipped {
        written(&rule.spec).unwrap();
    }
    assert_eq!(RuleSet::with_role_rules(&shipped).1, []);
}

/// As stored: with a name and somebody else's annotation.
fn stored(object: &Value) -> Value {
    let mut stored = object.clone();
    stored["metadata"]["name"] = json!("x");
    stored["metadata"]["annotations"]["team"] = json!("a");
    stored
}

fn under(rule: &Rule, role: Role, object: &Value) -> Value {
    let rewrite = rewrite_stored(rule, role, object).unwrap();
    let mut after = object.clone();
    json_patch::patch(&mut after, &rewrite.patch).unwrap();
    after
}

#[rstest]
#[case::paused_at_none("keda-scaledobject", json!({}), json!({"/metadata/annotations/autoscaling.keda.sh~1paused-replicas": "0"}))]
#[case::paused_at_another_count(
    "keda-scaledobject",
    json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "3", "autoscaling.keda.sh/paused": "false"}}}),
    json!({"/metadata/annotations/autoscaling.keda.sh~1paused-replicas": "0", "/metadata/annotations/autoscaling.keda.sh~1paused": "false"})
)]
#[case::paused_by_hand(
    "keda-scaledobject",
    json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}}),
    json!({"/metadata/annotations/autoscaling.keda.sh~1paused-replicas": "0", "/metadata/annotations/autoscaling.keda.sh~1paused": "true"})
)]
#[case::scaled_job("keda-scaledjob", json!({}), json!({"/metadata/annotations/autoscaling.keda.sh~1paused": "true"}))]
#[case::scaled_job_of_old("keda-scaledjob", json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "false"}}}), json!({"/metadata/annotations/autoscaling.keda.sh~1paused": "true"}))]
#[case::scaled_job_paused_by_hand("keda-scaledjob", json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}}), json!({"/metadata/annotations/autoscaling.keda.sh~1paused": "true"}))]
#[case::canary("flagger-canary", json!({"spec": {"analysis": {}}}), json!({"/spec/suspend": true}))]
#[case::canary_not_suspended("flagger-canary", json!({"spec": {"suspend": false}}), json!({"/spec/suspend": true}))]
#[case::canary_suspended_by_hand("flagger-canary", json!({"spec": {"suspend": true}}), json!({"/spec/suspend": true}))]
#[case::rollout("argo-rollout", json!({"spec": {"replicas": 4}}), json!({"/spec/replicas": 0}))]
#[case::rollout_by_default("argo-rollout", json!({"spec": {"paused": false}}), json!({"/spec/replicas": 0}))]
#[case::machine("kubevirt-virtualmachine", json!({"spec": {"runStrategy": "Always"}}), json!({"/spec/runStrategy": "Halted", "/spec/running": null}))]
#[case::machine_of_old("kubevirt-virtualmachine", json!({"spec": {"running": true}}), json!({"/spec/running": false, "/spec/runStrategy": null}))]
#[case::machine_off("kubevirt-virtualmachine", json!({"spec": {"running": false}}), json!({"/spec/running": false, "/spec/runStrategy": null}))]
#[case::ingress("ingress-external-dns", json!({"spec": {}}), json!({"/metadata/annotations/external-dns.kubernetes.io~1controller": "ignore", "/metadata/annotations/external-dns.alpha.kubernetes.io~1controller": "ignore"}))]
#[case::route(
    "httproute-external-dns",
    json!({"metadata": {"annotations": {"external-dns.kubernetes.io/controller": "dns-controller"}}}),
    json!({"/metadata/annotations/external-dns.kubernetes.io~1controller": "ignore"})
)]
#[case::service(
    "service-external-dns",
    json!({
        "metadata": {"annotations": {"external-dns.kubernetes.io/hostname": "shop.example.com"}},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.7", "ports": [{"port": 80}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    }),
    json!({
        "/metadata/annotations/external-dns.kubernetes.io~1controller": "ignore", "/metadata/annotations/external-dns.alpha.kubernetes.io~1controller": "ignore",
        "/metadata/annotations/external-dns.kubernetes.io~1hostname": "shop.example.com", "/spec/clusterIP": "10.0.0.7", "/spec/type": "LoadBalancer"
    })
)]
#[case::source("volsync-replicationsource", json!({"spec": {"trigger": {"schedule": "* * * * *"}}}), json!({"/spec/paused": true}))]
#[case::destination("volsync-replicationdestination", json!({"spec": {"paused": true}}), json!({"/spec/paused": false}))]
fn a_standby_is_passive_and_is_restored_unchanged(
    #[case] name: &str,
    #[case] object: Value,
    #[case] expected: Value,
) {
    let (rule, object) = (rule(name), stored(&object));
    let live = under(&rule, Role::Primary, &object);
    assert_eq!(live, object, "nothing is touched on a live site");
    let standby = under(&rule, Role::Secondary, &live);
    for (pointer, value) in expected.as_object().unwrap() {
        let found = standby.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(found, value, "{pointer} of {standby}");
    }
    assert_eq!(under(&rule, Role::Primary, &standby), live);
}

#[test]
fn a_destination_never_receives_on_a_primary() {
    let rule = rule("volsync-replicationdestination");
    for object in [json!({"spec": {}}), json!({"spec": {"paused": false}})] {
        let live = under(&rule, Role::Primary, &object);
        assert_eq!(live, json!({"spec": {"paused": true}}));
    }
    let standby = json!({"spec": {}});
    assert_eq!(under(&rule, Role::Secondary, &standby), standby);
}

/// Git changes from `running` to `runStrategy` during the outage.
#[test]
fn a_field_that_its_manifest_dropped_is_not_restored() {
    let rule = rule("kubevirt-virtualmachine");
    let live = stored(&json!({"spec": {"running": true}}));
    let mut standby = under(&rule, Role::Secondary, &live);
    standby["spec"] = json!({"runStrategy": "Always"});
    let standby = under(&rule, Role::Secondary, &standby);
    assert_eq!(standby["spec"], json!({"runStrategy": "Halted"}));
    assert_eq!(
        under(&rule, Role::Primary, &standby)["spec"],
        json!({"runStrategy": "Always"})
    );
}

/// Removing the addresses of a Service, or the hosts of an Ingress, would be worse than two sites that publish the same
/// name.
#[test]
fn rules_of_dns_change_only_what_external_dns_reads() {
    let fields = |rule: &Rule| -> Vec<String> {
        let pointers = rule.fields.iter().map(|field| field.pointer.to_string());
        pointers.collect()
    };
    let expected = PREFIXES.map(|prefix| {
        format!(
            "/metadata/annotations/{}controller",
            prefix.replace('/', "~1")
        )
    });
    for source in SOURCES {
        let Some(name) = source.rule else { continue };
        let rule = rule(name);
        let kind = (&*rule.group, &*rule.kind, &*rule.resource);
        assert_eq!(kind, (source.group, source.kind, source.resource), "{name}");
        assert_eq!(
            (rule.layer, fields(&rule)),
            (Layer::Traffic, expected.to_vec())
        );
    }
}

#[test]
fn with_the_ready_rules_in_force_only_kinds_without_one_are_left() {
    let (rules, _) = RuleSet::with_role_rules(&shipped());
    let left = unruled(&rules);
    assert!(left.iter().all(|source| source.rule.is_none()), "{left:?}");
    assert_eq!(left.len(), 4);
}
