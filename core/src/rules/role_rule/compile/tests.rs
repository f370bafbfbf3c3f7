use rstest::rstest;
use serde_json::json;

use super::*;

/// A valid rule with one part replaced.
fn with(part: &str, value: Value) -> Result<Rule, RuleError> {
    let mut spec = json!({
        "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads",
        "fields": [{"pointer": "/spec/size", "type": "integer", "passive": 0}],
    });
    *spec.pointer_mut(part).unwrap_or_else(|| panic!("{part}")) = value;
    written(&serde_json::from_value(spec).unwrap())
}

fn with_field(field: Value) -> Result<Rule, RuleError> {
    with("/fields/0", field)
}

#[track_caller]
fn refused(rule: Result<Rule, RuleError>, because: &str) {
    let error = rule.unwrap_err().to_string();
    assert!(error.contains(because), "{error}");
}

#[rstest]
#[case("/spec/replicas")]
#[case("/spec/a/b/c/d/e")]
#[case("/data/mode")]
#[case("/metadata/annotations/example.com~1mode")]
#[case("/metadata/labels/mode")]
fn a_rule_may_change_fields_below_spec_and_foreign_labels_and_annotations(#[case] pointer: &str) {
    let field = json!({"pointer": pointer, "type": "string", "passive": "off"});
    assert_eq!(
        with_field(field).unwrap().fields[0].pointer.to_string(),
        pointer
    );
}

#[rstest]
#[case("/metadata/name")]
#[case("/metadata/namespace")]
#[case("/metadata/finalizers")]
#[case("/metadata/ownerReferences")]
#[case("/metadata/annotations")]
#[case("/metadata/annotations/a/b")]
#[case("/metadata/annotations/failover.dev~1restore")]
#[case("/metadata/annotations/x.failover.dev~1restore")]
#[case("/metadata/labels/failover.dev~1enforce")]
#[case("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration")]
#[case("/metadata/annotations/not a key")]
#[case("/metadata/resourceVersion")]
#[case("/status/replicas")]
#[case("/apiVersion")]
#[case("/kind")]
#[case("/spec")]
#[case("/spec/a\nb")]
fn a_rule_may_not_change_identity_or_status(#[case] pointer: &str) {
    let field = json!({"pointer": pointer, "type": "string", "passive": "off"});
    refused(with_field(field), "may not be touched");
}

#[rstest]
#[case("/spec/a/b/c/d/e/f", "7 segments")]
#[case("/spec/containers/0", "into an array")]
#[case("spec.x", "must start with /")]
fn an_invalid_pointer_is_named(#[case] pointer: &str, #[case] because: &str) {
    let field = json!({"pointer": pointer, "type": "string", "passive": "off"});
    refused(with_field(field), because);
}

#[rstest]
#[case("/group", json!("failover.dev"), "belongs to kubectl-failover")]
#[case("/group", json!("sub.failover.dev"), "belongs to kubectl-failover")]
#[case("/group", json!("rbac.authorization.k8s.io"), "cannot have a rule")]
#[case("/group", json!("*"), "group is \"*\"")]
#[case("/group", json!("Example.com"), "lower case")]
#[case("/resource", json!("*"), "resource is \"*\"")]
#[case("/resource", json!("widgets/status"), "without a subresource")]
#[case("/resource", json!("Widgets"), "lower case")]
#[case("/kind", json!("widget"), "CamelCase")]
#[case("/version", json!("1"), "such as v1")]
#[case("/version", json!("v1/../v2"), "such as v1")]
fn a_kind_is_spelled_as_in_its_url(
    #[case] part: &str,
    #[case] value: Value,
    #[case] because: &str,
) {
    refused(with(part, value), because);
}

#[rstest]
#[case("secrets")]
#[case("pods")]
#[case("namespaces")]
fn protected_kinds_have_no_rule(#[case] resource: &str) {
    let spec = json!({
        "version": "v1", "kind": "X", "resource": resource, "layer": "workloads",
        "fields": [{"pointer": "/data/x", "type": "string", "passive": "off"}],
    });
    refused(
        written(&serde_json::from_value(spec).unwrap()),
        "cannot have a rule",
    );
}

#[rstest]
#[case(json!({"type": "integer", "passive": "0"}), "is not of type integer")]
#[case(json!({"type": "integer", "passive": u64::MAX}), "is not of type integer")]
#[case(json!({"type": "boolean", "passive": 1}), "is not of type boolean")]
#[case(json!({"type": "string", "passive": null}), "is not of type string")]
#[case(json!({"type": "string", "passive": "a\nb"}), "control characters")]
#[case(json!({"type": "integer", "passive": 0, "alsoPassive": [true]}), "true is not of type integer")]
#[case(json!({"type": "integer", "passive": 0, "active": {"value": "3"}}), "is not of type integer")]
#[case(json!({"type": "integer", "passive": 0, "active": {"value": 0}}), "the active value is passive")]
#[case(json!({"type": "integer", "passive": 0, "active": {"mode": "fixed"}}), "fixed active value is missing")]
#[case(json!({"type": "integer", "passive": 0, "active": {"mode": "manual", "value": 1}}), "only with consent")]
fn values_have_the_declared_type_and_a_meaning(#[case] field: Value, #[case] because: &str) {
    let mut field = field;
    field["pointer"] = json!("/spec/x");
    refused(with_field(field), because);
}

#[rstest]
#[case("/metadata/labels/x", "integer", json!(0), "of type string")]
#[case("/metadata/labels/x", "string", json!("a b"), "control characters")]
fn label_values_are_valid(
    #[case] pointer: &str,
    #[case] value_type: &str,
    #[case] passive: Value,
    #[case] because: &str,
) {
    let field = json!({"pointer": pointer, "type": value_type, "passive": passive});
    refused(with_field(field), because);
}

#[rstest]
#[case("/spec/a", "/spec/a")]
#[case("/spec/a", "/spec/a/b")]
#[case("/spec/a/b", "/spec/a")]
fn fields_do_not_overlap(#[case] one: &str, #[case] other: &str) {
    let field = |pointer: &str| json!({"pointer": pointer, "type": "boolean", "passive": true});
    refused(
        with("/fields", json!([field(one), field(other)])),
        "overlap",
    );
}

#[test]
fn the_number_of_fields_is_limited() {
    let field =
        |i: usize| json!({"pointer": format!("/spec/f{i}"), "type": "boolean", "passive": true});
    refused(with("/fields", json!([])), "not 0");
    refused(
        with("/fields", (0..9).map(field).collect()),
        "one to 8 fields, not 9",
    );
    assert!(with("/fields", (0..8).map(field).collect()).is_ok());
}

#[rstest]
#[case(json!({"condition": ""}), "such as Ready")]
#[case(json!({"condition": "is ready"}), "such as Ready")]
#[case(json!({"condition": "Ready", "except": [{"pointer": "/spec/x", "values": []}]}), "has no value")]
#[case(json!({"condition": "Ready", "except": [{"pointer": "/spec/x", "values": [null]}]}), "has no value")]
#[case(json!({"condition": "Ready", "except": [{"pointer": "spec.x", "values": [1]}]}), "must start with /")]
fn a_ready_condition_is_checked(#[case] ready: Value, #[case] because: &str) {
    let mut spec = json!({
        "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads",
        "fields": [{"pointer": "/spec/size", "type": "integer", "passive": 0}],
    });
    spec["ready"] = ready;
    refused(written(&serde_json::from_value(spec).unwrap()), because);
}

#[test]
fn a_safeguard_needs_a_first_field() {
    let field = |pointer: &str, safeguard: bool| json!({"pointer": pointer, "type": "boolean", "passive": true, "safeguard": safeguard});
    let fields = |first: bool| json!([field("/spec/a", first), field("/spec/b", true)]);
    let rule = with("/fields", fields(false)).unwrap();
    let guards: Vec<_> = rule
        .safeguards()
        .map(|field| field.pointer.to_string())
        .collect();
    assert_eq!(guards, ["/spec/b"]);
    refused(
        with("/fields", fields(true)),
        "a safeguard needs an earlier field",
    );
}

#[test]
fn scale_needs_a_count() {
    let spec = json!({
        "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads", "scale": true,
        "fields": [{"pointer": "/spec/on", "type": "boolean", "passive": false}],
    });
    refused(written(&serde_json::from_value(spec).unwrap()), "scale");
}
