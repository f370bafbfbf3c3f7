//! Flux: source-, kustomize- and helm-controller, as processes with the rights that Flux's own installation gives them.
//!
//! ```text
//!   git: a repository on loopback ◄─fetch─ source-controller ─artifacts over HTTP─► kustomize-controller, helm-controller
//!                                                │                                        │
//!                                                └──────────────► kube-apiserver ◄────────┘
//! ```

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::git::{BRANCH, Repository};
use crate::objects::apply;
use crate::process::{Process, Spec, free_port};
use crate::{ControlPlane, crds, eventually_within, identity, toolchain};

/// The namespace of Flux, its sources and Kustomizations; never enrolled.
pub const NAMESPACE: &str = "flux-system";

/// The GitRepository of all objects here.
pub const SOURCE: &str = "apps";

/// A Helm install that waits takes the longest.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running Flux that follows one repository. Dropping it ends it.
#[expect(missing_debug_implementations, reason = "a Client has none")]
pub struct Flux {
    pub helm: Process,
    pub kustomize: Process,
    pub source: Process,
    pub repository: Repository,
    client: Client,
    /// Requests are distinguished by their number.
    requests: AtomicUsize,
}

impl Flux {
    /// Starts the three controllers with a new repository.
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        let tools = toolchain::flux()?;
        crds::apply_flux_sources(plane).await?;
        let client = plane.client();
        for object in rights() {
            apply(&client, &object, &manager()).await?;
        }
        let repository = Repository::serve(&plane.folder().join("git"), SOURCE).await?;
        let spec = async |controller: &str| -> Result<Spec> {
            let scratch = plane.folder().join(controller);
            fs::create_dir_all(&scratch)?;
            let identity = identity::service_account(plane, NAMESPACE, controller).await?;
            Ok(
                Spec::new(controller, tools.join(controller), plane.folder())
                    .env("KUBECONFIG", identity)
                    .env("RUNTIME_NAMESPACE", NAMESPACE)
                    .env("HOME", &scratch)
                    .env("TMPDIR", &scratch)
                    .args(["--events-addr=", "--metrics-addr=0", "--health-addr=0"])
                    .args(["--watch-all-namespaces", "--concurrent=8"])
                    // The defaults, 50 and 300 a second, would slow down a thousand reconciles.
                    .args(["--kube-api-qps=500", "--kube-api-burst=500"])
                    // Tests should not wait for the back-off of a retry.
                    .args(["--min-retry-delay=200ms", "--max-retry-delay=1s"]),
            )
        };
        let [source, kustomize, helm] = toolchain::FLUX;
        let storage = plane.folder().join("artifacts");
        fs::create_dir_all(&storage)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let flux = Self {
            source: spec(source)
                .await?
                .arg(format!("--storage-path={}", storage.display()))
                .arg(format!("--storage-addr={address}"))
                .arg(format!("--storage-adv-addr={address}"))
                .start()?,
            kustomize: spec(kustomize).await?.start()?,
            helm: spec(helm).await?.start()?,
            repository,
            client,
            requests: AtomicUsize::new(0),
        };
        let source = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "metadata": {"namespace": NAMESPACE, "name": SOURCE},
            "spec": {"interval": "10m", "url": flux.repository.url(), "ref": {"branch": BRANCH}},
        });
        apply(&flux.client, &source, &manager()).await?;
        Ok(flux)
    }

    /// Follows a folder of the repository; `more` goes into the spec.
    pub async fn follow(&self, name: &str, path: &str, more: &Value) -> Result<()> {
        let mut kustomization = json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"namespace": NAMESPACE, "name": name},
            "spec": {
                "interval": "10m", "retryInterval": "1s", "timeout": "30s", "prune": true, "path": path,
                "sourceRef": {"kind": "GitRepository", "name": SOURCE},
            },
        });
        json_patch::merge(&mut kustomization["spec"], more);
        apply(&self.client, &kustomization, &manager()).await?;
        Ok(())
    }

    /// Commits the working tree, has it fetched, and waits until all is applied.
    pub async fn push(&self, message: &str) -> Result<()> {
        let commit = self.repository.commit(message)?;
        let source = self.reconcile("GitRepository", NAMESPACE, &[SOURCE]).await;
        let fetched = source[0].data["status"]["artifact"]["revision"].clone();
        assert!(
            fetched.as_str().is_some_and(|r| r.ends_with(&commit)),
            "{source:?}"
        );
        self.settled("Kustomization", NAMESPACE, |kustomization| {
            kustomization.data["status"]["lastAppliedRevision"] == fetched
        })
        .await;
        Ok(())
    }

    /// Requests a reconcile of each of these, as `flux reconcile` does, and waits until each is done and Ready; returns all
    /// objects of the kind.
    pub async fn reconcile(
        &self,
        kind: &str,
        namespace: &str,
        names: &[&str],
    ) -> Vec<DynamicObject> {
        let token = self.request(kind, namespace, names).await;
        self.settled(kind, namespace, |object| {
            !names.contains(&object.metadata.name.as_deref().unwrap_or_default())
                || object.data["status"]["lastHandledReconcileAt"] == token
        })
        .await
    }

    /// Requests a reconcile of each of these; returns the token that their status shows once it is handled.
    pub async fn request(&self, kind: &str, namespace: &str, names: &[&str]) -> String {
        let token = format!("request-{}", self.requests.fetch_add(1, Ordering::Relaxed));
        let request =
            json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": token}}});
        let (api, params) = (self.api(kind, namespace), PatchParams::default());
        let patch = Patch::Merge(request);
        let asked = names.iter().map(|name| api.patch(name, &params, &patch));
        futures::future::try_join_all(asked)
            .await
            .expect("what is to be reconciled is there");
        token
    }

    /// Waits until every object of a kind is Ready and `holds` is true; returns the objects.
    pub async fn settled(
        &self,
        kind: &str,
        namespace: &str,
        holds: impl Fn(&DynamicObject) -> bool,
    ) -> Vec<DynamicObject> {
        let api = self.api(kind, namespace);
        let holds = &holds;
        let api = &api;
        eventually_within(
            PATIENCE,
            &format!("every {kind} to be settled"),
            || async move {
                let objects = api
                    .list(&kube::api::ListParams::default())
                    .await
                    .map_err(|error| error.to_string())?
                    .items;
                let open: Vec<_> = objects
                    .iter()
                    .filter(|object| !is_ready(object) || !holds(object))
                    .map(|object| format!("{:?}: {}", object.metadata.name, object.data["status"]))
                    .collect();
                if open.is_empty() {
                    Ok(objects)
                } else {
                    Err(open.join("\n"))
                }
            },
        )
        .await
    }

    /// An API for one of Flux's own kinds.
    pub fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = match kind {
            "Kustomization" => ("kustomize.toolkit.fluxcd.io", "v1"),
            "HelmRelease" => ("helm.toolkit.fluxcd.io", "v2"),
            _ => ("source.toolkit.fluxcd.io", "v1"),
        };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }
}

/// Ready for the current generation.
pub fn is_ready(object: &DynamicObject) -> bool {
    let status = &object.data["status"];
    let conditions = status["conditions"].as_array();
    status["observedGeneration"] == json!(object.metadata.generation)
        && conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Applies as an administrator.
fn manager() -> PatchParams {
    PatchParams::apply("kubectl").force()
}

/// The namespace, and a ServiceAccount with all rights for each controller, as by `flux install`.
fn rights() -> Vec<Value> {
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE},
    })];
    let accounts = toolchain::FLUX
        .map(|name| json!({"kind": "ServiceAccount", "namespace": NAMESPACE, "name": name}));
    for name in toolchain::FLUX {
        objects.push(json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": NAMESPACE, "name": name},
        }));
    }
    objects.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "cluster-reconciler"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": accounts,
    }));
    objects
}
