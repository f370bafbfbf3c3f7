//! Transitions of a site with replicated volumes, and what they wait for.

mod deletion;
mod group;
mod promotion_guards;
mod step_order;
mod unconfirmed;

use failover_core::api::{Phase, Step, StepName};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testbed::csi_addons::{CsiAddons, Volume};
use testbed::site::{Deadlines, Options, Output, Site};
use testbed::{eventually, fixtures};

use crate::main_job::stored;

const NAMESPACE: &str = "shop";

/// The volume, as guards name it.
const VOLUME: &str = "shop/volumereplications/data";

/// How long a transition waits for volumes before it counts as stalled.
#[derive(Clone, Copy)]
enum Wait {
    /// Long enough for everything that completes at all.
    Long,
    Short,
}

/// A site with a database on a replicated volume, and traffic.
struct Bed {
    csi_addons: CsiAddons,
    site: Site,
}

impl Bed {
    async fn start(role: &'static str, replication: Wait) -> Self {
        let site = Site::start(Options {
            role,
            nodes: 1,
            deadlines: Deadlines {
                replication: match replication {
                    Wait::Long => "90s",
                    Wait::Short => "2s",
                },
                available: "30s",
                ..Deadlines::default()
            },
            ..Options::default()
        })
        .await
        .unwrap();
        let csi_addons = CsiAddons::start(&site.plane).await.unwrap();
        site.enrolled_namespace(NAMESPACE).await;
        Self { csi_addons, site }
    }

    /// Applies what Git holds beside the volume.
    async fn deploy(&self) {
        for object in [database(), traffic()] {
            self.site.apply_as_flux(&object).await.unwrap();
        }
    }

    async fn volume(&self) -> Volume {
        self.csi_addons.volume(NAMESPACE, "data").await.unwrap()
    }

    /// Runs a role change, and follows it unless the arguments say otherwise.
    async fn order(&self, arguments: &[&str]) -> Output {
        self.site.failover(&order(arguments)).await
    }

    /// Runs a role change that must fail with this exit code; returns its document.
    async fn refusal(&self, arguments: &[&str], code: i32) -> Value {
        self.site.failure(&order(arguments), code).await
    }

    /// Signals KWOK, which plays the kubelets.
    fn kubelets(&self, signal: Signal) {
        let kwok = self.site.kwok.as_ref().unwrap();
        kill(Pid::from_raw(kwok.pid()), signal).unwrap();
    }

    async fn phase(&self) -> Option<Phase> {
        self.site.status().await.phase
    }

    /// Waits until a step of the transition waits for this object.
    async fn until_waiting(&self, at: StepName, object: &str) {
        eventually("a step that waits", || async {
            let transition = self.site.status().await.transition;
            let steps = transition.map_or(vec![], |transition| transition.steps);
            let is_waiting = |step: &Step| {
                let mut blocked = step.blocked.iter();
                step.name == at && blocked.any(|b| b.object.as_deref() == Some(object))
            };
            if steps.iter().any(is_waiting) {
                Ok(())
            } else {
                Err(steps)
            }
        })
        .await;
    }

    async fn pods(&self) -> usize {
        let pods: Api<Pod> = Api::namespaced(self.site.client(), NAMESPACE);
        pods.list(&ListParams::default()).await.unwrap().items.len()
    }

    /// No pods, no desired replicas, no traffic.
    async fn assert_inactive(&self) {
        assert_eq!(self.pods().await, 0);
        assert_eq!(self.replicas().await, 0);
        assert!(!self.is_reachable().await);
    }

    /// A pod runs and gets traffic.
    async fn assert_active(&self) {
        eventually("a pod of the database", || async {
            match self.pods().await {
                1 => Ok(()),
                other => Err(other),
            }
        })
        .await;
        assert_eq!(self.replicas().await, 1);
        assert!(self.is_reachable().await);
    }

    async fn replicas(&self) -> i64 {
        let database = stored(&self.site, &database()).await;
        database.data["spec"]["replicas"].as_i64().unwrap()
    }

    async fn is_reachable(&self) -> bool {
        let service = stored(&self.site, &traffic()).await;
        let annotations = service.metadata.annotations.unwrap_or_default();
        !annotations.contains_key("external-dns.alpha.kubernetes.io/controller")
    }

    /// Applies the volume as in Git, which says primary; returns the stored state.
    async fn apply_as_flux(&self, volume: &Volume) -> Value {
        let applied = self.site.apply_as_flux(&volume.object).await.unwrap();
        applied.data["spec"]["replicationState"].clone()
    }
}

/// The complete arguments of a role change.
fn order<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut all = [arguments, &["--yes", "--reason", "drill"]].concat();
    if arguments[0] == "promote" {
        all.extend(["--override", "peer-unknown"]);
    }
    all
}

fn database() -> Value {
    let mut database = fixtures::stateful_set(NAMESPACE, "db", 1);
    database["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    database
}

fn traffic() -> Value {
    fixtures::virtual_service(NAMESPACE, "shop")
}
