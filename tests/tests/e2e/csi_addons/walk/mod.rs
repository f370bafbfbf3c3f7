//! What a change of the site's role makes of volumes that are really replicated, and what it waits for.

mod asked;
mod deletion;
mod group;
mod there_and_back;
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

/// The one volume, as guards name it.
const VOLUME: &str = "shop/volumereplications/data";

/// For volumes, before they count as stalled.
#[derive(Clone, Copy)]
enum Wait {
    /// Until everything is done that will be.
    Long,
    Short,
}

/// A site with a database on a volume that is replicated, and traffic that comes to it.
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

    /// What Git holds beside the volume.
    async fn deploy(&self) {
        for object in [database(), traffic()] {
            self.site.apply_as_flux(&object).await.unwrap();
        }
    }

    async fn volume(&self) -> Volume {
        self.csi_addons.volume(NAMESPACE, "data").await.unwrap()
    }

    /// A role change, which is followed to its end if nothing else is said.
    async fn order(&self, arguments: &[&str]) -> Output {
        self.site.failover(&order(arguments)).await
    }

    /// One that must fail with this exit code; what it reports.
    async fn refusal(&self, arguments: &[&str], code: i32) -> Value {
        self.site.failure(&order(arguments), code).await
    }

    /// What plays the kubelets.
    fn kubelets(&self, signal: Signal) {
        let kwok = self.site.kwok.as_ref().unwrap();
        kill(Pid::from_raw(kwok.pid()), signal).unwrap();
    }

    async fn phase(&self) -> Option<Phase> {
        self.site.status().await.phase
    }

    /// Waits until a step of the transition waits for this object.
    async fn waits(&self, at: StepName, object: &str) {
        eventually("a step that waits", || async {
            let transition = self.site.status().await.transition;
            let steps = transition.map_or(vec![], |transition| transition.steps);
            let waits = |step: &Step| {
                let mut blocked = step.blocked.iter();
                step.name == at && blocked.any(|b| b.object.as_deref() == Some(object))
            };
            if steps.iter().any(waits) {
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

    /// Nothing runs, nothing is to run, and nobody comes.
    async fn is_dark(&self) {
        assert_eq!(self.pods().await, 0);
        assert_eq!(self.replicas().await, 0);
        assert!(!self.is_reachable().await);
    }

    /// It runs, and is reached.
    async fn is_live(&self) {
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

    /// As it is in Git, primary; what it is ordered to be then.
    async fn apply_as_flux(&self, volume: &Volume) -> Value {
        let applied = self.site.apply_as_flux(&volume.object).await.unwrap();
        applied.data["spec"]["replicationState"].clone()
    }
}

/// The whole command of a role change.
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
