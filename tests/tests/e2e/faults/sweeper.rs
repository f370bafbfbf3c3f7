//! The sweeper: no writes without drift, retries on a busy API server, no lost updates among other writers.

use std::collections::BTreeMap;
use std::time::Duration;

use failover_core::names::{self, RESTORE_ANNOTATION};
use jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use testbed::fixtures;
use testbed::site::{DEMOTE, Deadlines, Options, PROMOTE, Site};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{NAMESPACE, api_of, ruled_objects, swept_clean};
use crate::main_job::{assert_passive, version};

/// A quarter of the objects is of each of these kinds, none of which has a controller here that would write to it.
const KINDS: [fn(&str, &str) -> Value; 4] = [
    fixtures::cron_job,
    fixtures::helm_release,
    fixtures::virtual_service,
    fixtures::volume_replication,
];
const OBJECTS: usize = 1_000;

/// As many as the sweeper handles concurrently.
const APPLICATIONS: usize = 16;
const REPLICAS: i64 = 2;

/// How often somebody writes to each: often enough to overtake a sweep, and no more than other tests can bear.
const WRITE_EVERY: Duration = Duration::from_millis(50);

/// An annotation of another writer.
const COUNT: &str = "example.com/count";

#[tokio::test(flavor = "multi_thread")]
async fn ten_sweeps_over_a_thousand_objects_that_conform_write_nothing() {
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
        .map(|i| KINDS[i % KINDS.len()](NAMESPACE, &format!("app-{i}")))
        .collect();
    site.create_all(&manifests).await.unwrap();
    site.until_ready().await;

    // A running sweep may have begun before.
    swept_clean(&site, 1).await;
    let (before, noted) = (versions(&site).await, site.plane.audit().len());
    assert_eq!(before.len(), OBJECTS);
    swept_clean(&site, 10).await;
    assert_eq!(versions(&site).await, before);

    let written: Vec<Value> = of_controller(&site, noted)
        .filter(|event| !["get", "list", "watch"].contains(&event["verb"].as_str().unwrap()))
        // The renewals of its Lease do not count.
        .filter(|event| event["objectRef"]["resource"] != "leases")
        .collect();
    assert_eq!(written, Vec::<Value>::new());
}

async fn versions(site: &Site) -> BTreeMap<String, String> {
    let objects = ruled_objects(&site.client()).await;
    let key = |object: &DynamicObject| {
        let kind = &object.types.as_ref().unwrap().kind;
        format!("{kind}/{}", object.metadata.name.as_deref().unwrap())
    };
    objects
        .iter()
        .map(|object| (key(object), version(object).to_owned()))
        .collect()
}

/// The API server takes one write at a time, and answers others with 429 and a second to wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_api_server_slows_a_sweep_down_and_stops_none_of_it() {
    let site = applications().await;
    let one_at_a_time = [
        "--enable-priority-and-fairness=false",
        "--max-mutating-requests-inflight=1",
    ];
    site.plane
        .restart_api_server_with(&one_at_a_time)
        .await
        .unwrap();
    // A restarted API server may take a while.
    site.until_ready().await;
    let noted = site.plane.audit().len();
    site.failover(DEMOTE).await.expect(0);
    for object in ruled_objects(&site.client()).await {
        assert_passive(&object);
    }

    let mut throttled = BTreeMap::new();
    let mut retried = 0;
    for event in of_controller(&site, noted).filter(is_of_application) {
        let name = event["objectRef"]["name"].to_string();
        let at: Timestamp = event["requestReceivedTimestamp"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        if let Some(before) = throttled.remove(&name) {
            let waited = at.duration_since(before).as_secs_f64();
            // The same sweep retries after a second; another one may do so earlier if a sweep was cut short.
            assert!(waited > 0.5, "{name} is retried after {waited} s");
            retried += 1;
        }
        if event["responseStatus"]["code"] == 429 {
            throttled.insert(name, at);
        }
    }
    assert!(retried > 0, "it was never busy");
}

/// Each application has a writer that writes all the time, and the webhook is dead: only the sweeper enforces, and runs into
/// conflicts again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_with_conflicting_writers_completes_and_overwrites_nothing_of_theirs() {
    let site = applications().await;
    site.webhook.kill();
    let stop = CancellationToken::new();
    let mut writers = JoinSet::new();
    for name in names() {
        writers.spawn(write_on(site.client(), name, stop.clone()));
    }
    let noted = site.plane.audit().len();
    // Kubernetes' own controllers get conflicts as well, so that pods hardly ever end.
    let demote = [DEMOTE, &["--override=pods-running"]].concat();
    for (order, replicas, record) in [
        (
            &demote[..],
            0,
            Some(format!(r#"{{"/spec/replicas":{REPLICAS}}}"#)),
        ),
        (PROMOTE, REPLICAS, None),
    ] {
        site.failover(order).await.expect(0);
        for object in ruled_objects(&site.client()).await {
            assert_eq!(object.data["spec"]["replicas"], json!(replicas));
            let found = object.annotations().get(RESTORE_ANNOTATION);
            assert_eq!(found, record.as_ref(), "{object:?}");
        }
    }
    stop.cancel();
    let written = writers.join_all().await;

    let api = api_of(&site.client(), &fixtures::deployment(NAMESPACE, "web", 1));
    for (name, count) in written {
        let object = api.get(&name).await.unwrap();
        assert_eq!(object.annotations()[COUNT], count.to_string(), "{name}");
    }
    let overtaken = of_controller(&site, noted)
        .filter(is_of_application)
        .filter(|event| event["responseStatus"]["code"] == 409);
    assert!(overtaken.count() > 0, "nobody was ever in its way");
}

/// Writes to an application as its controller might, until stopped. Returns its name and the last written count.
async fn write_on(client: Client, name: String, stop: CancellationToken) -> (String, u64) {
    let api = api_of(&client, &fixtures::deployment(NAMESPACE, &name, 1));
    let mut count = 0;
    let mut next = tokio::time::interval(WRITE_EVERY);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        next.tick().await;
        count += 1;
        let patch = json!({"metadata": {"annotations": {COUNT: count.to_string()}}});
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }
    (name, count)
}

fn names() -> impl Iterator<Item = String> {
    (0..APPLICATIONS).map(|i| format!("web-{i}"))
}

async fn applications() -> Site {
    let site = Site::start(Options {
        controller: vec!["--sweep-every=1s".to_owned()],
        audit: true,
        deadlines: Deadlines {
            pods_gone: "1s",
            ..Deadlines::default()
        },
        ..Options::default()
    })
    .await
    .unwrap();
    site.enrolled_namespace(NAMESPACE).await;
    for name in names() {
        let manifest = fixtures::deployment(NAMESPACE, &name, REPLICAS);
        site.apply_as_flux(&manifest).await.unwrap();
    }
    site
}

/// The controller's requests in the audit log after so many events.
fn of_controller(site: &Site, since: usize) -> impl Iterator<Item = Value> + use<> {
    let controller = format!(
        "system:serviceaccount:{}:{}",
        names::SYSTEM_NAMESPACE,
        names::CONTROLLER_SERVICE_ACCOUNT
    );
    let events = site.plane.audit().into_iter().skip(since);
    events.filter(move |event| event["user"]["username"] == controller)
}

fn is_of_application(event: &Value) -> bool {
    event["objectRef"]["resource"] == "deployments" && event["verb"] == "patch"
}
