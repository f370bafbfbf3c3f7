//! The cost of checking 10,000 pods: peak memory, and how long the check blocks the task that renews the leader's
//! Lease.
//!
//! * `before` parses pages of everything, strips what is kept once all of it is there, and searches all ReplicaSets for
//!   every pod: how the step `guards` used to check.
//! * `guards` and `podsGone` are the current checks of those steps.
//! * `one piece` is `guards` where the token of every paged list expires: the lists come whole.
//!
//! Each runs in its own process, with the same fake API server in that process, whose pages count, too.
//! `cargo bench` fails when a check comes near the memory limit that is shipped with the controller.

mod before;
mod cluster;
mod measured;

use std::process::Command;

use failover_controller::site::checks::{CheckScope, Checker, Moving};
use failover_core::api::StepName;
use failover_core::checks::batch::HeldJobs;
use failover_core::namespace::Enforcement;
use failover_core::transition::{Check, CheckOwner, EnrolledNamespace};
use failover_core::{NamespaceState, Role, Roles, RuleSet};
use jiff::Timestamp;

use cluster::{Cluster, NAMESPACE, PODS};
use measured::{Measured, measured};

/// Share of the shipped limit: the remainder is for the watches of a cluster of that size.
const AT_MOST: f64 = 0.6;

/// The variant that a process is to run.
const VARIANT: &str = "FAILOVER_BENCH_LISTS";

const VARIANTS: [&str; 4] = ["before", "guards", "podsGone", "one piece"];

#[expect(
    clippy::print_stdout,
    reason = "a benchmark reports on its standard output"
)]
fn main() {
    if let Ok(variant) = std::env::var(VARIANT) {
        println!("{}", run(&variant));
        return;
    }
    // `cargo test --benches` only checks that it builds: even the fastest variant takes seconds.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let limit = shipped_limit();
    println!(
        "{PODS} pods of {:.1} kB, as many ReplicaSets; shipped memory limit {limit} MiB",
        cluster::pod_size() / 1000.0
    );
    println!(
        "{:<10} {:>12} {:>10} {:>20}",
        "", "memory, MiB", "took, s", "task blocked, ms"
    );
    let mut over = Vec::new();
    for variant in VARIANTS {
        let Measured {
            peak_mib,
            seconds,
            blocked_ms,
        } = in_own_process(variant);
        println!("{variant:<10} {peak_mib:>12.0} {seconds:>10.1} {blocked_ms:>20.0}");
        if variant != "before" && peak_mib > limit * AT_MOST {
            over.push(variant);
        }
    }
    assert!(
        over.is_empty(),
        "{over:?}: more than {AT_MOST} of the shipped limit"
    );
}

fn in_own_process(variant: &str) -> Measured {
    let this = std::env::current_exe().expect("it runs");
    let output = Command::new(this)
        .env(VARIANT, variant)
        .output()
        .expect("it can be run again");
    let reported = String::from_utf8_lossy(&output.stdout);
    reported
        .trim()
        .parse()
        .unwrap_or_else(|why| panic!("{variant}: {why}: {reported}{output:?}"))
}

/// In MiB.
fn shipped_limit() -> f64 {
    let deployment = include_str!("../../../manifests/controller-deployment.yaml");
    let limits = deployment.split("limits:").nth(1).expect("it has limits");
    let memory = limits.split("memory:").nth(1).expect("of memory");
    let mib = memory.trim_start().split("Mi").next().expect("in MiB");
    mib.parse().expect("a number")
}

fn run(variant: &str) -> Measured {
    let cluster = Cluster {
        expires: variant == "one piece",
    };
    measured(async move {
        let at = match variant {
            "before" => {
                before::check(cluster).await;
                return;
            }
            "podsGone" => StepName::PodsGone,
            _ => StepName::Guards,
        };
        let checker = Checker::new(cluster.client(), 100, || Timestamp::UNIX_EPOCH);
        let report = checker
            .check(check(at), check_scope())
            .await
            .expect("it answers");
        assert!(report.total >= 3000, "{} seen", report.total);
    })
}

fn check(at: StepName) -> Check {
    Check {
        at,
        revision: 1,
        transition: "r1".to_owned(),
        owner: CheckOwner::Site,
    }
}

/// Before a demotion, or in the middle of one.
fn check_scope() -> CheckScope {
    let namespace = EnrolledNamespace {
        name: NAMESPACE.to_owned(),
        state: NamespaceState {
            enforcement: Some(Enforcement::Enabled),
            roles: Roles::all(Role::Secondary),
            ..NamespaceState::default()
        },
    };
    CheckScope {
        to: Role::Secondary,
        namespaces: vec![namespace],
        moving: Moving::Layers(std::collections::BTreeSet::new()),
        terminating: std::collections::BTreeSet::new(),
        rules: RuleSet::built_in(),
        held_jobs: HeldJobs::None,
    }
}
