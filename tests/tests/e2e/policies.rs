//! Every admission policy that is shipped, or generated for a RoleRule, compiles on the oldest and on the newest release.
//! The compilers of their API servers check that, without a cluster. A policy that does not compile is not enforced.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use failover_core::api::{RoleRule, RoleRuleSpec};
use failover_core::rules::role_rule::written;
use failover_core::{Rule, RuleSet, backstop};
use rstest::rstest;
use serde::Deserialize;
use serde_json::{Value, json};
use testbed::toolchain::PolicyCompiler;

#[derive(Debug, Deserialize)]
struct Finding {
    policy: String,
    field: String,
    expression: String,
    error: String,
}

/// The errors of all policies.
fn compile(compiler: PolicyCompiler, policies: &[Value]) -> Vec<Finding> {
    let mut child = Command::new(compiler.command().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = Value::from(policies).to_string();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn documents(folder: &str) -> Vec<Value> {
    let folder = testbed::workspace().join("manifests").join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            serde_saphyr::from_multiple::<Value>(&fs::read_to_string(file).unwrap()).unwrap()
        })
        .collect()
}

/// The policies in `manifests/policies`: built in, state, deletion, pod gate.
fn shipped() -> Vec<Value> {
    let mut all = documents("policies");
    all.retain(|object| object["kind"] == "ValidatingAdmissionPolicy");
    all
}

/// The policies of the shipped RoleRules.
fn of_shipped_rules() -> Vec<Value> {
    let rule = |document| {
        let rule: RoleRule = serde_json::from_value(document).unwrap();
        written(&rule.spec).unwrap()
    };
    let rules = documents("rules").into_iter().map(rule);
    rules.map(|rule| backstop::policy(&rule)).collect()
}

/// The policies of RoleRules of every shape: each depth, type, restore mode and layer, names that need quoting, with and
/// without `scale`, and the maximum number of fields.
fn of_generated_rules() -> Vec<Value> {
    let pointers = [
        "/spec/x",
        "/spec/a/x",
        "/spec/a/b/x",
        "/spec/a/b/c/x",
        "/spec/a/b/c/d/x",
        "/data/it's ~0 a~1b \\ quoted",
        "/metadata/labels/example.com~1state",
        "/metadata/annotations/example.com~1state",
    ];
    let values = [
        ("integer", json!(0), json!([]), json!(3)),
        ("integer", json!(-1), json!([0, 7]), json!(5)),
        ("boolean", json!(true), json!([]), json!(false)),
        ("string", json!("off"), json!(["it's", "\\"]), json!("on")),
        ("string", json!(""), json!([]), json!("on")),
    ];
    let mut specs = Vec::new();
    for pointer in pointers {
        for (value_type, passive, also, active) in &values {
            if pointer.starts_with("/metadata") && *value_type != "string" {
                continue;
            }
            if pointer.contains("/labels/") && also != &json!([]) {
                continue;
            }
            for absent in [false, true] {
                for restore_mode in [
                    json!({"mode": "restore"}),
                    json!({"mode": "restore", "value": active}),
                    json!({"mode": "fixed", "value": active}),
                    json!({"mode": "manual"}),
                ] {
                    specs.push(json!({
                        "layer": "workloads", "scale": *passive == json!(0),
                        "fields": [{
                            "pointer": pointer, "type": value_type, "passive": passive, "alsoPassive": also,
                            "absentIsPassive": absent, "active": restore_mode,
                        }],
                    }));
                }
            }
        }
    }
    let many: Vec<Value> = (0..8)
        .map(|i| json!({"pointer": format!("/spec/a/b/f{i}"), "type": "boolean", "passive": true}))
        .collect();
    for layer in ["volumes", "workloads", "gitops", "traffic"] {
        specs.push(json!({"layer": layer, "fields": many}));
    }
    specs.iter().map(|spec| policy_of(spec.clone())).collect()
}

fn policy_of(mut spec: Value) -> Value {
    for (key, value) in [
        ("group", "example.com"),
        ("version", "v1"),
        ("kind", "Widget"),
        ("resource", "widgets"),
    ] {
        spec[key] = json!(value);
    }
    let spec: RoleRuleSpec = serde_json::from_value(spec).unwrap();
    backstop::policy(&written(&spec).unwrap_or_else(|error| panic!("{error}: {spec:?}")))
}

#[rstest]
#[case::oldest(PolicyCompiler::Kubernetes1_30)]
#[case::newest(PolicyCompiler::Newest)]
fn every_policy_compiles(#[case] compiler: PolicyCompiler) {
    let shipped = shipped();
    let rules: Vec<Rule> = RuleSet::built_in().iter().cloned().collect();
    assert!(shipped.len() > rules.len(), "{} policies", shipped.len());
    let all = [shipped, of_shipped_rules(), of_generated_rules()].concat();
    let findings = compile(compiler, &all);
    assert!(
        findings.is_empty(),
        "{} of {} policies: {findings:#?}",
        findings.len(),
        all.len()
    );
}

/// Positive control: the compiler reports errors.
#[test]
fn chained_opt_flat_map_is_refused_by_the_oldest_release_alone() {
    let chained = json!({
        "metadata": {"name": "chained"},
        "spec": {
            "variables": [{
                "name": "x",
                "expression": "dyn(object)[?'metadata'].optFlatMap(v, type(v) == map ? v[?'annotations'] : optional.none())\
                               .optFlatMap(v, type(v) == map ? v[?'x'] : optional.none()).orValue('')",
            }],
            "validations": [
                {"expression": "variables.x == ''", "messageExpression": "'x is ' + variables.y"},
                {"expression": "'not a condition'"},
            ],
        },
    });
    let fields = |compiler| -> Vec<String> {
        compile(compiler, std::slice::from_ref(&chained))
            .into_iter()
            .map(|finding| {
                assert_eq!(finding.policy, "chained");
                assert!(!finding.expression.is_empty() && !finding.error.is_empty());
                finding.field
            })
            .collect()
    };
    let elsewhere = [
        "spec.validations[0].messageExpression",
        "spec.validations[1].expression",
    ];
    assert_eq!(fields(PolicyCompiler::Newest), elsewhere);
    let oldest = fields(PolicyCompiler::Kubernetes1_30);
    assert_eq!(oldest[0], "spec.variables[0].expression");
    assert!(
        elsewhere
            .iter()
            .all(|field| oldest.iter().any(|f| f == field))
    );
}
