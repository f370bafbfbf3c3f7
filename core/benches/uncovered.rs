//! Finds what no rule reaches among 10,000 pods: an index of the ReplicaSets against a scan of all of them for every
//! pod.
//!
//! Both run in the same process on the same objects and must find the same; `cargo bench` fails when the index is not
//! [`WANTED`] times faster.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use failover_core::RuleSet;
use failover_core::checks::uncovered::uncovered;
use serde_json::{Value, json};

/// By how much the index must be faster than the scan.
const WANTED: f64 = 20.0;

const PODS: usize = 10_000;
/// Three pods each, and as many ReplicaSets, of which two are old ones at 0.
const WORKLOADS: usize = PODS / 3;
const SETS: usize = 3;

fn main() {
    let (pods, sets) = (pods(), replica_sets());
    let rules = RuleSet::built_in();
    let found = uncovered(&pods, &[], &sets, &rules);
    // `cargo test --benches` only checks that it runs.
    let only_tried = std::env::args().any(|argument| argument == "--test");

    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("uncovered/10000 pods", |bencher| {
        bencher.iter(|| uncovered(black_box(&pods), &[], black_box(&sets), &rules));
    });
    criterion.final_summary();
    if !only_tried {
        compare(&pods, &sets, &rules, found.len());
    }
}

#[expect(
    clippy::print_stdout,
    reason = "a benchmark reports on its standard output"
)]
fn compare(pods: &[Value], sets: &[Value], rules: &RuleSet, expected: usize) {
    let (index, found) = best_of(5, || uncovered(pods, &[], sets, rules).len());
    let (scan, found_by_scan) = best_of(1, || scan(pods, sets, rules));
    assert_eq!((found, found_by_scan), (expected, expected));
    let factor = scan.as_secs_f64() / index.as_secs_f64();
    println!(
        "\n{} pods, {} ReplicaSets: index {index:.1?}, scan {scan:.1?}, {factor:.0} times",
        pods.len(),
        sets.len()
    );
    assert!(
        factor >= WANTED,
        "the index is not {WANTED} times faster than the scan"
    );
}

fn best_of(times: usize, work: impl Fn() -> usize) -> (Duration, usize) {
    let run = || {
        let started = Instant::now();
        let found = black_box(work());
        (started.elapsed(), found)
    };
    (0..times).map(|_| run()).min().expect("at least once")
}

/// How many pods are under a controller without a rule, found by a scan of all sets for each pod.
fn scan(pods: &[Value], sets: &[Value], rules: &RuleSet) -> usize {
    let controller = |object: &Value| object["metadata"]["ownerReferences"][0].clone();
    pods.iter()
        .filter(|pod| {
            let owner = controller(pod);
            let set = sets.iter().find(|set| {
                set["metadata"]["name"] == owner["name"]
                    && set["metadata"]["namespace"] == pod["metadata"]["namespace"]
            });
            let top = set.map_or(owner, controller);
            !rules.iter().any(|rule| *rule.kind == top["kind"])
        })
        .count()
}

fn pods() -> Vec<Value> {
    let pod = |i: usize| {
        let workload = i % WORKLOADS;
        owned(
            &format!("web-{workload}-7d9f-{i}"),
            workload,
            "ReplicaSet",
            &format!("web-{workload}-0"),
        )
    };
    (0..PODS).map(pod).collect()
}

/// One workload in a hundred is of a kind without a rule.
fn replica_sets() -> Vec<Value> {
    let set = |i: usize| {
        let (workload, old) = (i / SETS, i % SETS);
        let kind = if workload % 100 == 0 {
            "Rollout"
        } else {
            "Deployment"
        };
        owned(
            &format!("web-{workload}-{old}"),
            workload,
            kind,
            &format!("web-{workload}"),
        )
    };
    (0..WORKLOADS * SETS).map(set).collect()
}

fn owned(name: &str, workload: usize, kind: &str, owner: &str) -> Value {
    let group = if kind == "Rollout" {
        "argoproj.io/v1alpha1"
    } else {
        "apps/v1"
    };
    json!({
        "metadata": {
            "name": name, "namespace": format!("team-{}", workload % 20),
            "ownerReferences": [{"apiVersion": group, "kind": kind, "name": owner, "controller": true}],
        },
        "status": {"phase": "Running"},
    })
}
