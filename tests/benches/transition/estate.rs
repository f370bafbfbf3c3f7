//! The applications of a site.

use std::fmt;

use failover_core::Role;
use failover_core::api::StepName;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use testbed::csi_addons::CsiAddons;
use testbed::fixtures;
use testbed::site::Site;

use crate::world::World;

const NAMESPACES: usize = 10;
/// The prefix of the names of namespaces.
pub(crate) const PREFIX: &str = "transition-";
/// One of so many workloads has a volume.
const WITH_VOLUME: usize = 10;
/// Objects of each kind without pods in every namespace.
const OTHERS: usize = 2;

/// The label with the number of pods of a workload, for scaling by hand.
pub(crate) const PODS: &str = "pods";

const AT_ONCE: usize = 8;

pub(crate) struct Estate {
    pub(crate) namespaces: Vec<String>,
    workloads: usize,
    pods: i64,
    volumes: usize,
}

impl Estate {
    /// Creates all of it, and waits until it is up.
    pub(crate) async fn build(site: &Site, csi_addons: &CsiAddons, workloads: usize) -> Self {
        let mut estate = Self {
            namespaces: (0..NAMESPACES).map(|i| format!("{PREFIX}{i}")).collect(),
            workloads,
            pods: 0,
            volumes: 0,
        };
        for namespace in &estate.namespaces {
            site.enrolled_namespace(namespace).await;
        }
        let mut objects = vec![];
        let mut claims = vec![];
        for number in 0..workloads {
            let namespace = &estate.namespaces[number % NAMESPACES];
            let name = format!("app-{number}");
            let place = number / NAMESPACES;
            if place.is_multiple_of(WITH_VOLUME) {
                objects.push(stateful_set(namespace, &name));
                claims.push((namespace, name));
                estate.pods += 1;
            } else {
                let pods = if place.is_multiple_of(2) { 1 } else { 2 };
                let deployment = fixtures::deployment(namespace, &name, pods);
                objects.push(labelled(deployment, pods));
                estate.pods += pods;
            }
        }
        estate.volumes = claims.len();
        for namespace in &estate.namespaces {
            for number in 0..OTHERS {
                let name = format!("other-{number}");
                objects.push(fixtures::cron_job(namespace, &name));
                objects.push(fixtures::helm_release(namespace, &name));
                objects.push(fixtures::virtual_service(namespace, &name));
            }
        }
        let volumes: Vec<Value> = stream::iter(claims)
            .map(|(namespace, name)| async move { csi_addons.volume(namespace, &name).await })
            .buffer_unordered(AT_ONCE)
            .map_ok(|volume| volume.object)
            .try_collect()
            .await
            .unwrap();
        site.create_all(&volumes).await.unwrap();
        site.create_all(&objects).await.unwrap();
        let world = World::watch(&site.client(), Role::Primary);
        world.until(StepName::Replication).await;
        world.until(StepName::Available).await;
        site.until_ready().await;
        estate
    }
}

impl fmt::Display for Estate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} workloads with {} pods and {} replicated volumes in {NAMESPACES} namespaces, {} objects of other kinds",
            self.workloads,
            self.pods,
            self.volumes,
            3 * OTHERS * NAMESPACES,
        )
    }
}

/// With one pod that mounts the claim of the same name.
fn stateful_set(namespace: &str, name: &str) -> Value {
    let mut object = fixtures::stateful_set(namespace, name, 1);
    object["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": name}}]);
    labelled(object, 1)
}

fn labelled(mut object: Value, pods: i64) -> Value {
    object["metadata"]["labels"][PODS] = json!(pods.to_string());
    object
}
