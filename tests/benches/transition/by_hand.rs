//! For comparison, the same workloads scaled by a person: `kubectl scale` to 0 and up again, namespace by namespace. It
//! ignores traffic, Flux and volumes, and records nothing.

use std::time::Instant;

use failover_core::Role;
use failover_core::api::StepName;
use testbed::site::Site;

use crate::estate::{Estate, PODS};
use crate::table::seconds;
use crate::world::World;

const KINDS: &str = "deployments,statefulsets";

pub(crate) async fn run(site: &Site, estate: &Estate) {
    let world = World::watch(&site.client(), Role::Secondary);
    let since = Instant::now();
    for namespace in &estate.namespaces {
        scale(site, namespace, &["--all", "--replicas=0"]).await;
    }
    let scaled = since.elapsed();
    let gone = world.until(StepName::PodsGone).await - since;
    println!("\nby hand, kubectl scale --all in one namespace after the other:");
    println!(
        "  down: {} s until it is scaled, {} s until the last pod is gone",
        seconds(scaled),
        seconds(gone)
    );

    let since = Instant::now();
    for namespace in &estate.namespaces {
        for pods in ["1", "2"] {
            let (selector, replicas) = (format!("{PODS}={pods}"), format!("--replicas={pods}"));
            scale(site, namespace, &["--selector", &selector, &replicas]).await;
        }
    }
    let scaled = since.elapsed();
    // Starts only now: with replicas 0 everything would count as available.
    let world = World::watch(&site.client(), Role::Primary);
    let up = world.until(StepName::Available).await - since;
    println!(
        "  up: {} s until it is scaled, {} s until the last is available",
        seconds(scaled),
        seconds(up)
    );
}

async fn scale(site: &Site, namespace: &str, how: &[&str]) {
    let arguments = [&["scale", "--namespace", namespace, KINDS], how].concat();
    site.kubectl(&arguments).await.expect(0);
}
