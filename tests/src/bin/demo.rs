//! `cargo demo`: shows the main job on real components, step by step. Exits 0 only if every check succeeded.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use kube::api::DynamicObject;
use serde_json::Value;
use testbed::site::{DEMOTE, Options, Output, PROMOTE_VOLUMES, Site};
use testbed::{binaries, eventually_within, fixtures, toolchain};

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(demo()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("\nIt did not hold: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line of the demo.
#[expect(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}

/// Prints the output of a command, indented, and asserts that it succeeded.
fn quote(command: &str, output: &Output) -> Result<()> {
    say(&format!("\n  $ kubectl failover {command}"));
    for line in output.stdout.lines() {
        say(&format!("  {line}"));
    }
    ensure!(
        output.code == 0,
        "kubectl failover {command} ended with {}:\n{}",
        output.code,
        output.stderr
    );
    Ok(())
}

const NAMESPACE: &str = "shop";

#[expect(
    clippy::too_many_lines,
    reason = "the steps are easiest to read in one piece"
)]
async fn demo() -> Result<()> {
    let mut times = Vec::new();
    let mut took = |what: &'static str, since: Instant| times.push((what, since.elapsed()));

    say(
        "kubectl-failover: the main job on a real control plane (etcd, kube-apiserver, controller-manager, scheduler, KWOK)",
    );
    // Built before the measurements: the first time this takes minutes.
    binaries::build()?;
    toolchain::control_plane()?;
    toolchain::kwok()?;
    let start = Instant::now();
    let site = Site::start(Options {
        nodes: 2,
        ..Options::default()
    })
    .await?;
    took(
        "control plane up, kubectl-failover installed and ready",
        start,
    );

    site.kubectl(&["create", "namespace", NAMESPACE])
        .await
        .expect(0);
    quote(
        "enroll shop --yes",
        &site.failover(&["enroll", NAMESPACE, "--yes"]).await,
    )?;

    say("\nFlux applies the applications (server-side apply, field manager kustomize-controller).");
    let manifests = manifests();
    let mut live = Vec::new();
    for manifest in &manifests {
        live.push(site.apply_as_flux(manifest).await?);
    }
    until_pods(&site, 5).await;
    show(&site).await;

    quote("plan demote", &site.failover(&["plan", "demote"]).await)?;
    let start = Instant::now();
    quote(&DEMOTE.join(" "), &site.failover(DEMOTE).await)?;
    took("demote, verified", start);
    let start = Instant::now();
    until_pods(&site, 0).await;
    took("and the last pod gone", start);

    say("\nFlux applies everything again, ten times. resourceVersion before and after:");
    let mut before = Vec::new();
    for manifest in &manifests {
        site.apply_as_flux(manifest).await?;
        before.push(stored(&site, manifest).await?);
    }
    for _ in 0..10 {
        for manifest in &manifests {
            site.apply_as_flux(manifest).await?;
        }
    }
    for (manifest, before) in manifests.iter().zip(&before) {
        let after = stored(&site, manifest).await?;
        let (before, after) = (version(before), version(&after));
        say(&format!(
            "  {:<30} {before:>6} {after:>6}",
            fixtures::label(manifest)
        ));
        ensure!(before == after, "{} moved", fixtures::label(manifest));
    }
    let scale = ["scale", "-n", NAMESPACE, "deployment/web", "--replicas=7"];
    let scaled = site.kubectl(&scale).await.expect(0);
    say(&format!(
        "\n  $ kubectl {}\n  {}",
        scale.join(" "),
        scaled.stderr.trim()
    ));
    let web = stored(&site, &manifests[0]).await?;
    ensure!(web.data["spec"]["replicas"] == 0, "scale went through");
    ensure!(pods(&site).await == 0, "pods run on a secondary");
    show(&site).await;

    let start = Instant::now();
    quote(
        &PROMOTE_VOLUMES.join(" "),
        &site.failover(PROMOTE_VOLUMES).await,
    )?;
    took("promote, verified", start);
    let start = Instant::now();
    until_pods(&site, 5).await;
    took("and all pods running", start);
    show(&site).await;

    say("\nEvery object against what it was before:");
    for (manifest, before) in manifests.iter().zip(&live) {
        let after = stored(&site, manifest).await?;
        let same = essence(before) == essence(&after);
        say(&format!(
            "  {:<30} {}",
            fixtures::label(manifest),
            if same { "equal" } else { "DIFFERS" }
        ));
        if !same {
            bail!(
                "{} before:\n{:#}\nafter:\n{:#}",
                fixtures::label(manifest),
                essence(before),
                essence(&after)
            );
        }
    }
    quote("status", &site.failover(&["status"]).await)?;

    say("\nMeasured:");
    for (what, time) in times {
        say(&format!("  {:>6.2} s  {what}", time.as_secs_f64()));
    }
    say("\nAll of it held.");
    Ok(())
}

fn manifests() -> Vec<Value> {
    vec![
        fixtures::deployment(NAMESPACE, "web", 3),
        fixtures::stateful_set(NAMESPACE, "db", 2),
        fixtures::cron_job(NAMESPACE, "report"),
        fixtures::helm_release(NAMESPACE, "cache"),
        fixtures::virtual_service(NAMESPACE, "shop"),
        fixtures::volume_replication(NAMESPACE, "data"),
    ]
}

async fn stored(site: &Site, manifest: &Value) -> kube::Result<DynamicObject> {
    let name = manifest["metadata"]["name"]
        .as_str()
        .expect("a manifest has a name");
    site.api_of(manifest).await?.get(name).await
}

fn version(object: &DynamicObject) -> &str {
    object
        .metadata
        .resource_version
        .as_deref()
        .unwrap_or_default()
}

/// Labels, annotations without the Deployment controller's own count, and spec.
fn essence(object: &DynamicObject) -> Value {
    let mut annotations = object.metadata.annotations.clone().unwrap_or_default();
    annotations.remove("deployment.kubernetes.io/revision");
    serde_json::json!({
        "labels": object.metadata.labels,
        "annotations": annotations,
        "spec": object.data["spec"],
    })
}

async fn pods(site: &Site) -> usize {
    let listed = site
        .kubectl(&["get", "pods", "-n", NAMESPACE, "-o", "name"])
        .await
        .expect(0);
    listed.stdout.lines().count()
}

async fn until_pods(site: &Site, wanted: usize) {
    eventually_within(
        Duration::from_secs(30),
        "the right number of pods",
        || async {
            let listed = site
                .kubectl(&[
                    "get",
                    "pods",
                    "-n",
                    NAMESPACE,
                    "-o",
                    "jsonpath={range .items[*]}{.status.phase}{\"\\n\"}{end}",
                ])
                .await
                .expect(0);
            let running = listed
                .stdout
                .lines()
                .filter(|phase| *phase == "Running")
                .count();
            if running == wanted && listed.stdout.lines().count() == wanted {
                Ok(())
            } else {
                Err(listed.stdout)
            }
        },
    )
    .await;
}

async fn show(site: &Site) {
    let listed = site
        .kubectl(&[
            "get",
            "deployments,statefulsets,cronjobs,pods",
            "-n",
            NAMESPACE,
        ])
        .await;
    say("\n  $ kubectl get deployments,statefulsets,cronjobs,pods -n shop");
    for line in listed.stdout.lines().chain(listed.stderr.lines()) {
        say(&format!("  {line}"));
    }
}
