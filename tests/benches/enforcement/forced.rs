//! 500 running workloads: how long a demotion takes until all are forced, and what a writer that reverts it costs.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::Value;
use testbed::fixtures;
use testbed::site::{DEMOTE, FLUX, Site};
use tokio::time::sleep;

use crate::figures::{CpuTime, Figures};

const WORKLOADS: usize = 500;
const NAMESPACE: &str = "forced";

/// A hundred writes a second, each of which would start a workload.
const FIGHTING: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_millis(10);

pub(crate) async fn run(site: &Site) {
    site.enrolled_namespace(NAMESPACE).await;
    let deployments: Api<Deployment> = Api::namespaced(site.client(), NAMESPACE);
    let manifests: Vec<Value> = (0..WORKLOADS)
        .map(|i| fixtures::deployment(NAMESPACE, &format!("app-{i}"), 1))
        .collect();
    site.create_all(&manifests).await.unwrap();

    let cpu = CpuTime::of(&site.controller);
    let started = Instant::now();
    let demotion = async {
        site.failover(DEMOTE).await.expect(0);
        started.elapsed()
    };
    let (verified, forced) = tokio::join!(demotion, until_forced(&deployments, started));
    println!("\n{WORKLOADS} running Deployments, demoted:");
    println!(
        "  {forced:.1?} until no spec asks for a pod, {verified:.1?} until the command says that it is verified"
    );
    println!(
        "  {:.1?} of a core in the controller",
        cpu.used_by(&site.controller)
    );

    let cpus = [&site.webhook, &site.controller].map(CpuTime::of);
    let mut took = Figures::default();
    let params = PatchParams::apply(FLUX).force();
    let since = Instant::now();
    for number in 0.. {
        let due = since + EVERY * number;
        if due > since + FIGHTING {
            break;
        }
        tokio::time::sleep_until(due.into()).await;
        let mut manifest = manifests[number as usize % WORKLOADS].clone();
        manifest["spec"]["replicas"] = (2 + number / u32::try_from(WORKLOADS).unwrap()).into();
        let name = manifest["metadata"]["name"].as_str().unwrap();
        let asked = Instant::now();
        let stored = deployments
            .patch(name, &params, &Patch::Apply(&manifest))
            .await;
        took.add(asked.elapsed());
        assert_eq!(stored.unwrap().spec.unwrap().replicas, Some(0));
    }
    println!("  a writer that asks for pods every {EVERY:?}, each write stored and forced: {took}");
    println!(
        "  {:.1?} of a core in the webhook and {:.1?} in the controller, in {FIGHTING:?}",
        cpus[0].used_by(&site.webhook),
        cpus[1].used_by(&site.controller),
    );
}

async fn until_forced(deployments: &Api<Deployment>, since: Instant) -> Duration {
    loop {
        let all = deployments.list(&ListParams::default()).await.unwrap();
        let active = |d: &Deployment| d.spec.as_ref().is_none_or(|spec| spec.replicas != Some(0));
        if !all.items.iter().any(active) {
            return since.elapsed();
        }
        sleep(Duration::from_millis(50)).await;
    }
}
