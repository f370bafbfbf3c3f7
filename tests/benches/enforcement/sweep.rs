//! A periodic sweep over 1,000 conforming objects: its duration and its requests.

use std::collections::BTreeMap;

use failover_core::names;
use serde_json::Value;
use testbed::site::{Options, Site};
use testbed::{admin, eventually, fixtures};

use crate::figures::{CpuTime, millis};

const OBJECTS: usize = 1_000;
const SWEEPS: f64 = 10.0;
const NAMESPACE: &str = "swept";

pub(crate) async fn run() {
    let site = Site::start(Options {
        role: "secondary",
        controller: vec!["--sweep-every=500ms".to_owned()],
        audit: true,
        ..Options::default()
    })
    .await
    .unwrap();
    site.enrolled_namespace(NAMESPACE).await;
    let manifests: Vec<Value> = (0..OBJECTS)
        .map(|i| fixtures::cron_job(NAMESPACE, &format!("app-{i}")))
        .collect();
    site.create_all(&manifests).await.unwrap();
    site.until_ready().await;
    // A running sweep may have begun before.
    let begun = after_sweeps(&site, 1.0).await;
    let (noted, cpu) = (site.plane.audit().len(), CpuTime::of(&site.controller));
    let ended = after_sweeps(&site, SWEEPS).await;
    let sweeps = ended.count - begun.count;
    let each = std::time::Duration::from_secs_f64((ended.seconds - begun.seconds) / sweeps);
    println!("\nperiodic sweep of {OBJECTS} CronJobs that conform, mean of {sweeps}:");
    println!(
        "  {}, {} of a core in the controller",
        millis(each),
        millis(cpu.used_by(&site.controller).div_f64(sweeps)),
    );
    let controller = format!(
        "system:serviceaccount:{}:{}",
        names::SYSTEM_NAMESPACE,
        names::CONTROLLER_SERVICE_ACCOUNT
    );
    let mut requests: BTreeMap<String, f64> = BTreeMap::new();
    for event in site.plane.audit().into_iter().skip(noted) {
        if event["user"]["username"] == controller {
            *requests.entry(event["verb"].to_string()).or_default() += 1.0;
        }
    }
    for (verb, count) in requests {
        println!("  {:.1} × {verb}", count / sweeps);
    }
}

struct Sweeps {
    count: f64,
    seconds: f64,
}

/// Waits for so many more sweeps; returns the totals.
async fn after_sweeps(site: &Site, more: f64) -> Sweeps {
    let before = sweeps(site).await.count;
    eventually("more sweeps", || async {
        let now = sweeps(site).await;
        if now.count >= before + more {
            Ok(now)
        } else {
            Err(now.count)
        }
    })
    .await
}

async fn sweeps(site: &Site) -> Sweeps {
    let metrics = admin::get(site.controller_admin(), "/metrics")
        .await
        .unwrap();
    let value = |name: &str| {
        let found = metrics.lines().find_map(|line| line.strip_prefix(name));
        found.map_or(0.0, |value| value.trim().parse().unwrap())
    };
    Sweeps {
        count: value("failover_sweep_duration_seconds_count"),
        seconds: value("failover_sweep_duration_seconds_sum"),
    }
}
