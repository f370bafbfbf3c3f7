//! The same write through the API server with and without enforcement: server-side-apply dry runs of one Deployment, in
//! turn, so that other load on the machine affects all alike.

use std::time::Instant;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use testbed::site::{FLUX, Site};
use testbed::{eventually, fixtures};

use crate::figures::Figures;

const ROUNDS: usize = 500;
const WARM_UP: usize = 100;

/// The least calls of what took part in each round.
const FEWEST: f64 = 500.0;

/// The namespaces, each with its own kind of enforcement.
const NOTHING: &str = "nothing";
const POLICY: &str = "mutating-policy";
const POLICY_BY_APPLY: &str = "mutating-policy-apply";
const WEBHOOK: &str = "webhook";
const BOTH: &str = "webhook-and-backstop";
const ALL: [&str; 5] = [NOTHING, POLICY, POLICY_BY_APPLY, WEBHOOK, BOTH];

const BACKSTOP: &str = "deployments.apps.failover.dev";

pub(crate) async fn run(site: &Site) {
    for namespace in [NOTHING, POLICY, POLICY_BY_APPLY] {
        site.kubectl(&["create", "namespace", namespace])
            .await
            .expect(0);
    }
    for namespace in [WEBHOOK, BOTH] {
        site.enrolled_namespace(namespace).await;
    }
    let client = site.client();
    set_up(site, &client).await;

    let objects = ALL.map(|namespace| (object(namespace), namespace));
    let mut apis = Vec::new();
    for (object, namespace) in &objects {
        let api = site.api_of(object).await.unwrap();
        until_enforced(&api, object, *namespace != NOTHING).await;
        api.patch("web", &flux(), &Patch::Apply(object))
            .await
            .unwrap();
        apis.push(api);
    }
    let (before, webhook_before) = (server_metrics(&client).await, webhook_metrics(site).await);
    let mut took = ALL.map(|_| Figures::default());
    let dry_run = flux().dry_run();
    for round in 0..WARM_UP + ROUNDS {
        // The order varies from round to round.
        for offset in 0..ALL.len() {
            let at = (offset + round) % ALL.len();
            let started = Instant::now();
            let stored = apis[at]
                .patch("web", &dry_run, &Patch::Apply(&objects[at].0))
                .await;
            let elapsed = started.elapsed();
            let replicas = stored.unwrap().data["spec"]["replicas"].as_i64();
            assert_eq!(replicas, Some(if at == 0 { 3 } else { 0 }));
            if round >= WARM_UP {
                took[at].add(elapsed);
            }
        }
    }
    println!(
        "\nserver-side-apply dry run of a Deployment of {} bytes, one client, in turns:",
        objects[0].0.to_string().len()
    );
    let nothing = took[0].median();
    for (namespace, took) in ALL.iter().zip(&took) {
        let cost = took.median().as_secs_f64() - nothing.as_secs_f64();
        println!("  {namespace:22} {took}, cost {:+.2} ms", cost * 1e3);
    }
    print_profile(&before, &server_metrics(&client).await);
    println!("  and the webhook's own:");
    print_mean(&webhook_before, &webhook_metrics(site).await, HANDLER, "");
}

const HANDLER: &str = "failover_webhook_request_duration_seconds";

async fn webhook_metrics(site: &Site) -> String {
    testbed::admin::get(site.webhook_admin(), "/metrics")
        .await
        .unwrap()
}

fn flux() -> PatchParams {
    PatchParams::apply(FLUX).force()
}

/// A usual Deployment, of 2 KB.
fn object(namespace: &str) -> Value {
    let mut object = fixtures::deployment(namespace, "web", 3);
    object["metadata"]["annotations"] = json!({"example.com/owner": "shop"});
    let variables = (0..20).map(|i| json!({"name": format!("SETTING_{i}"), "value": format!("value-of-setting-{i}-{}", "x".repeat(20))}));
    object["spec"]["template"]["spec"]["containers"][0]["env"] = variables.collect();
    object
}

async fn set_up(site: &Site, client: &Client) {
    // The backstop's policy for Deployments, except in the namespace for the webhook alone.
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": BACKSTOP},
    });
    let narrowed = json!({"spec": {"matchResources": {"namespaceSelector": {"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [WEBHOOK]},
    ]}}}});
    let bindings = site.api_of(&binding).await.unwrap();
    bindings
        .patch(BACKSTOP, &PatchParams::default(), &Patch::Merge(narrowed))
        .await
        .unwrap();
    for (namespace, mutation) in [
        (
            POLICY,
            json!({"patchType": "JSONPatch", "jsonPatch": {"expression": format!(
                "!({SECONDARY}) ? [] : [JSONPatch{{op: 'add', path: '/spec/replicas', value: 0}}, \
                 JSONPatch{{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('example.com/restore'), value: {RECORD}}}]"
            )}}),
        ),
        (
            POLICY_BY_APPLY,
            json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": format!(
                "!({SECONDARY}) ? Object{{}} : Object{{spec: Object.spec{{replicas: 0}}, metadata: Object.metadata{{annotations: {{'example.com/restore': {RECORD}}}}}}}"
            )}}),
        ),
    ] {
        for object in mutating_policy(namespace, &mutation) {
            site.apply_as_person(&object).await.unwrap();
        }
        let role = json!({"metadata": {"labels": {"example.com/workloads": "secondary"}}});
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        namespaces
            .patch_metadata(namespace, &PatchParams::default(), &Patch::Merge(role))
            .await
            .unwrap();
    }
}

/// How the backstop reads the role; a match condition has no access to the namespace.
const SECONDARY: &str =
    "namespaceObject.?metadata.?labels[?'example.com/workloads'].orValue('') == 'secondary'";

/// The record as the webhook writes it, as far as an expression can: the requested count.
const RECORD: &str = "'{\"/spec/replicas\":' + string(object.?spec.?replicas.orValue(1)) + '}'";

/// The enforcement as a mutating admission policy: replicas 0 and the record if the namespace's label says secondary.
fn mutating_policy(namespace: &str, mutation: &Value) -> [Value; 2] {
    let kind = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": namespace}, "spec": spec,
        })
    };
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    [
        kind(
            "MutatingAdmissionPolicy",
            json!({
                "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded",
                "matchConstraints": {"namespaceSelector": selector, "resourceRules": [{
                    "apiGroups": ["apps"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
                    "resources": ["deployments"],
                }]},
                "matchConditions": [
                        {"name": "active", "expression": "object.?spec.?replicas.orValue(1) != 0"},
                ],
                "mutations": [mutation],
            }),
        ),
        kind(
            "MutatingAdmissionPolicyBinding",
            json!({"policyName": namespace}),
        ),
    ]
}

/// Waits until a policy is in force.
async fn until_enforced(api: &Api<DynamicObject>, object: &Value, is_enforced: bool) {
    let wanted = Some(if is_enforced { 0 } else { 3 });
    eventually("enforcement as it should be", || async {
        let answer = api
            .patch("web", &flux().dry_run(), &Patch::Apply(object))
            .await;
        match answer {
            Ok(stored) if stored.data["spec"]["replicas"].as_i64() == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn server_metrics(client: &Client) -> String {
    let request = http::Request::get("/metrics").body(vec![]).unwrap();
    client.request_text(request).await.unwrap()
}

/// Prints the API server's own means per call of the webhook and per check of a policy.
fn print_profile(before: &str, after: &str) {
    const METRICS: [&str; 4] = [
        "apiserver_admission_webhook_admission_duration_seconds",
        "apiserver_mutating_admission_policy_check_duration_seconds",
        "apiserver_validating_admission_policy_check_duration_seconds",
        "apiserver_admission_step_admission_duration_seconds",
    ];
    println!("  the API server's own means over these writes:");
    for (series, _) in sums(after) {
        if let Some((metric, labels)) = series.split_once("_sum")
            && METRICS.contains(&metric)
        {
            print_mean(before, after, metric, labels);
        }
    }
}

/// Prints the mean between two readings, unless there were too few calls for the writes of the bench.
fn print_mean(before: &str, after: &str, metric: &str, labels: &str) {
    let grown = |of: &str| {
        let series = format!("{metric}_{of}{labels}");
        let value = |text| {
            let found = sums(text).find(|(key, _)| *key == series);
            found.map_or(0.0, |(_, value)| value)
        };
        value(after) - value(before)
    };
    let count = grown("count");
    if count >= FEWEST {
        let mean = grown("sum") / count * 1e3;
        println!("    {mean:.3} ms × {count} {metric}{labels}");
    }
}

fn sums(metrics: &str) -> impl Iterator<Item = (&str, f64)> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        Some((series, value.parse().ok()?))
    })
}
