//! csi-addons' own controller, and a scripted storage driver.
//!
//! ```text
//!   VolumeReplication ──watched by──► csi-addons controller (the real one) ──gRPC──► driver (played, scripted by the test)
//!     PersistentVolumeClaim ─► PersistentVolume ─ volumeHandle ───────────────────────┘
//! ```
//!
//! The controller finds the driver by a Pod with this machine's address, a Lease and a CSIAddonsNode.

mod driver;
mod grpc;
mod messages;
mod objects;

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use failover_core::role::Role;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::objects::{api_of, apply};
use crate::process::{Process, Spec, free_port};
use crate::{ControlPlane, crds, eventually, eventually_within, fixtures, identity, toolchain};

pub use driver::{Answer, Call, PausedCalls, ReplicaState, Rpc};
pub use grpc::Code;
pub use messages::Health;

use driver::{Driver, group_handle};

/// Longer than any success takes: csi-addons checks a first demotion again after 15 s, a resync every 30 s.
const PATIENCE: Duration = Duration::from_secs(90);

const GROUP: &str = "replication.storage.openshift.io";

/// A running csi-addons. Dropping it ends it.
#[expect(missing_debug_implementations, reason = "a Client has none")]
pub struct CsiAddons {
    pub controller: Process,
    driver: Driver,
    _serving: AbortOnDropHandle<()>,
    client: Client,
}

impl CsiAddons {
    /// Starts it, and waits until it has found the driver.
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        crds::apply_csi_addons(plane).await?;
        let client = plane.client();
        for object in objects::foundation(crds::CSI_ADDONS)? {
            apply(&client, &object, &manager()).await?;
        }
        let driver = Driver::default();
        // It listens before it is announced: csi-addons drops an unreachable driver after a few attempts.
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let serving = AbortOnDropHandle::new(tokio::spawn(grpc::serve(listener, driver.clone())));

        apply(&client, &objects::pod(), &manager()).await?;
        let here = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
        let pods: Api<Pod> = Api::namespaced(client.clone(), objects::NAMESPACE);
        pods.patch_status(objects::POD, &PatchParams::default(), &Patch::Merge(here))
            .await?;
        apply(&client, &objects::lease(), &manager()).await?;
        let node = objects::node(port);
        apply(&client, &node, &manager()).await?;

        let account =
            identity::service_account(plane, objects::NAMESPACE, objects::ACCOUNT).await?;
        let controller = Spec::new("csi-addons", toolchain::csi_addons()?, plane.folder())
            .env("KUBECONFIG", account)
            .arg(format!(
                "--health-probe-bind-address=127.0.0.1:{}",
                free_port()?
            ))
            .arg("--enable-auth=false")
            .start()?;
        let nodes = api_of(&client, &node).await?;
        eventually("a driver that csi-addons has found", || async {
            let node = nodes.get(objects::POD).await.map_err(|e| e.to_string())?;
            match node.data["status"]["state"].as_str() {
                Some("Connected") => Ok(()),
                _ => Err(format!(
                    "{}\n{}",
                    node.data["status"],
                    controller.log_tail()
                )),
            }
        })
        .await;
        Ok(Self {
            controller,
            driver,
            _serving: serving,
            client,
        })
    }

    /// Creates a claim with a volume of the driver, not replicated yet.
    pub async fn volume(&self, namespace: &str, name: &str) -> Result<Volume> {
        let handle = self.claim(namespace, name, &json!({})).await?;
        Ok(self.replicated(fixtures::volume_replication(namespace, name), handle))
    }

    /// Creates a group of claims, each with a volume of the driver, not replicated yet.
    pub async fn group(&self, namespace: &str, name: &str, claims: &[&str]) -> Result<Volume> {
        let mut handles = vec![];
        for claim in claims {
            let labels = json!({"app": name});
            handles.push(self.claim(namespace, claim, &labels).await?);
        }
        handles.sort();
        let object = fixtures::volume_group_replication(namespace, name);
        Ok(self.replicated(object, group_handle(&handles)))
    }

    /// Deletes the Lease by which the driver is found; [`Self::regain_leader`] creates it again.
    pub async fn lose_leader(&self) -> Result<()> {
        let lease = objects::lease();
        let name = lease["metadata"]["name"].as_str().expect("named there");
        let leases = api_of(&self.client, &lease).await?;
        leases.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    pub async fn regain_leader(&self) -> Result<()> {
        apply(&self.client, &objects::lease(), &manager()).await?;
        Ok(())
    }

    /// Creates a claim and waits until it is bound, since csi-addons panics on an unbound one.
    async fn claim(&self, namespace: &str, name: &str, labels: &Value) -> Result<String> {
        let handle = format!("{namespace}/{name}");
        for object in objects::claim(namespace, name, labels, &handle) {
            apply(&self.client, &object, &manager()).await?;
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        eventually("a bound claim", || async {
            let claim = claims.get(name).await.map_err(|error| error.to_string())?;
            match claim.status.and_then(|status| status.phase) {
                Some(phase) if phase == "Bound" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        Ok(handle)
    }

    fn replicated(&self, object: Value, handle: String) -> Volume {
        let kind = object["kind"].as_str().expect("a fixture has a kind");
        let gvk = GroupVersionKind::gvk(GROUP, "v1alpha1", kind);
        let namespace = object["metadata"]["namespace"].as_str();
        let api = Api::namespaced_with(
            self.client.clone(),
            namespace.expect("a fixture has a namespace"),
            &ApiResource::from_gvk(&gvk),
        );
        Volume {
            api,
            object,
            handle,
            driver: self.driver.clone(),
        }
    }
}

/// A replicated volume or volume group: its object in the API and its replica in the driver.
#[derive(Clone)]
pub struct Volume {
    pub api: Api<DynamicObject>,
    /// As in a Git repository, with the state primary.
    pub object: Value,
    handle: String,
    driver: Driver,
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.handle)
    }
}

impl Volume {
    pub fn name(&self) -> &str {
        let name = self.object["metadata"]["name"].as_str();
        name.expect("a fixture has a name")
    }

    /// Creates its object, or changes its desired state: `primary`, `secondary` or `resync`.
    pub async fn order(&self, state: &str) {
        let mut object = self.object.clone();
        object["spec"]["replicationState"] = json!(state);
        self.api
            .patch(self.name(), &manager(), &Patch::Apply(object))
            .await
            .expect("its state can be set");
    }

    /// The object as it is stored.
    pub async fn stored(&self) -> Value {
        json_of(self.api.get(self.name()).await)
    }

    /// The VolumeReplication that csi-addons has created for a group.
    pub async fn carrier(&self) -> Value {
        let group = self.stored().await;
        let name = group["spec"]["volumeReplicationName"].as_str();
        let gvk = GroupVersionKind::gvk(GROUP, "v1alpha1", "VolumeReplication");
        let api: Api<DynamicObject> = Api::namespaced_with(
            self.api.clone().into_client(),
            group["metadata"]["namespace"].as_str().expect("it has one"),
            &ApiResource::from_gvk(&gvk),
        );
        json_of(api.get(name.expect("a group names it")).await)
    }

    /// Sets the driver's answers, call by call; the last one is repeated.
    pub fn answers(&self, rpc: Rpc, answers: &[Answer]) {
        self.driver.script(&self.handle, rpc, answers);
    }

    /// The driver does not answer until the result is dropped.
    pub fn pause(&self, rpc: Rpc) -> PausedCalls {
        self.driver.pause(&self.handle, rpc)
    }

    /// The calls in order, without those for info, which come all the time.
    pub fn calls(&self) -> Vec<Call> {
        let mut calls = self.driver.calls(&self.handle);
        calls.retain(|call| call.rpc != Rpc::Info);
        calls
    }

    /// The same as text.
    pub fn call_names(&self) -> Vec<String> {
        self.calls().iter().map(ToString::to_string).collect()
    }

    /// How often the driver got this call.
    pub fn asked(&self, rpc: Rpc) -> usize {
        let calls = self.driver.calls(&self.handle);
        calls.iter().filter(|call| call.rpc == rpc).count()
    }

    /// Waits until the driver got this call `times` times.
    pub async fn until_asked(&self, rpc: Rpc, times: usize) {
        eventually_within(PATIENCE, &format!("{times} calls of {rpc:?}"), || async {
            let asked = self.asked(rpc);
            if asked >= times { Ok(()) } else { Err(asked) }
        })
        .await;
    }

    /// Waits until this condition has this status.
    pub async fn until_reported(&self, condition: &str, status: &str) {
        eventually_within(PATIENCE, &format!("{condition}={status}"), || async {
            let reported = self.stored().await["status"]["conditions"].take();
            let mut conditions = reported.as_array().into_iter().flatten();
            if conditions.any(|c| c["type"] == condition && c["status"] == status) {
                Ok(())
            } else {
                Err(reported)
            }
        })
        .await;
    }

    /// The real state of the volume.
    pub fn replica_state(&self) -> Option<ReplicaState> {
        self.driver.state(&self.handle)
    }

    /// Whether the volume has a role in the driver; a secondary must be in sync.
    pub fn is_in_sync_as(&self, role: Role) -> bool {
        self.replica_state()
            .is_some_and(|state| state.role == role && state.in_sync)
    }
}

fn json_of(object: kube::Result<DynamicObject>) -> Value {
    serde_json::to_value(object.expect("it is there")).expect("an object is JSON")
}

/// Applies as an administrator.
fn manager() -> PatchParams {
    PatchParams::apply("kubectl").force()
}
