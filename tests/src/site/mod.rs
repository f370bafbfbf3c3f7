//! A whole site: control plane, CRDs, nodes, and kubectl-failover installed by its own CLI. Webhook and controller run as
//! processes with the tokens of their own ServiceAccounts.

mod documents;
pub mod shared;
mod status;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use failover_core::names;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, PatchParams};
use kube::{Api, Client};
use nix::sys::signal::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::process::Command;

pub use self::documents::{JSON, assert_names, assert_role_change, guards, waits_for};
use crate::binaries::Binaries;
pub use crate::command::Output;
use crate::command::{command, output, run};
use crate::link::Link;
use crate::objects::{self, apply};
use crate::parts::{self, Sockets};
use crate::process::{Process, Spec, free_port};
use crate::secret_mirror::SecretMirror;
use crate::{
    ControlPlane, binaries, control_plane, crds, identity, kwok, network, service, toolchain,
};

/// The field manager of Flux's kustomize-controller.
pub const FLUX: &str = "kustomize-controller";

/// The commands of a drill in which nothing replicates volumes, and pods need not become available.
pub const DEMOTE: &[&str] = &[
    "demote",
    "--yes",
    "--override=replication-unconfirmed",
    "--reason=drill",
];
pub const PROMOTE: &[&str] = &[
    "promote",
    "--yes",
    "--override=peer-unknown",
    "--override=replication-unconfirmed",
    "--override=workloads-unavailable",
    "--reason=drill",
];
/// The same with volumes, which are not known to be in sync if nothing replicates them.
pub const PROMOTE_VOLUMES: &[&str] = &[
    "promote",
    "--yes",
    "--override=peer-unknown",
    "--override=volume-not-synced",
    "--override=replication-unconfirmed",
    "--override=workloads-unavailable",
    "--reason=drill",
];

/// How a site is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub role: &'static str,
    /// Nodes that KWOK plays; 0: no KWOK, pods stay Pending.
    pub nodes: usize,
    /// Further flags of the controller.
    pub controller: Vec<String>,
    /// How long a transition waits at a step before it is stalled, or continues if that is overridden.
    pub deadlines: Deadlines,
    /// Records every request: see [`ControlPlane::audit`].
    pub audit: bool,
    /// The API server calls the webhook through its Service, as in the shipped configuration; the first replica has the
    /// first address of [`network::PODS`]. Otherwise it calls a URL on loopback.
    pub behind_service: bool,
    /// Serves the kinds of the built-in rules that are not Kubernetes' own from the start.
    pub foreign_kinds: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            role: "primary",
            nodes: 0,
            controller: vec![],
            deadlines: Deadlines::default(),
            audit: false,
            behind_service: false,
            foreign_kinds: true,
        }
    }
}

/// How long the waiting steps wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    pub pods_gone: &'static str,
    pub replication: &'static str,
    pub available: &'static str,
}

impl Default for Deadlines {
    /// Long where the state is reached here, short where it never is: nothing replicates volumes, and pods without nodes
    /// stay Pending.
    fn default() -> Self {
        Self {
            pods_gone: "30s",
            replication: "1s",
            available: "1s",
        }
    }
}

impl Deadlines {
    fn flags(&self) -> [String; 3] {
        [
            format!("--pods-gone-deadline={}", self.pods_gone),
            format!("--replication-deadline={}", self.replication),
            format!("--available-deadline={}", self.available),
        ]
    }
}

/// An installed site. Dropping it ends it.
#[expect(missing_debug_implementations, reason = "a control plane has none")]
pub struct Site {
    pub webhook: Process,
    pub controller: Process,
    pub kwok: Option<Process>,
    _mirror: SecretMirror,
    pub plane: ControlPlane,
    client: Client,
    binaries: &'static Binaries,
    webhook_serving: SocketAddr,
    webhook_admin: SocketAddr,
    controller_admin: u16,
    deadlines: Deadlines,
}

impl Site {
    /// Starts a site named `east` and waits until it is Ready.
    pub async fn start(options: Options) -> Result<Self> {
        let binaries = binaries::build()?;
        let plane = ControlPlane::start_with(control_plane::Options {
            audit: options.audit,
            calls_endpoints: options.behind_service,
        })
        .await?;
        if options.foreign_kinds {
            crds::apply(&plane).await?;
        }
        let kwok = match options.nodes {
            0 => None,
            nodes => Some(kwok::start(&plane, nodes).await?),
        };
        let site = Self::install(plane, kwok, binaries, &options).await?;
        site.until_ready().await;
        Ok(site)
    }

    async fn install(
        plane: ControlPlane,
        kwok: Option<Process>,
        binaries: &'static Binaries,
        options: &Options,
    ) -> Result<Self> {
        let sockets = if options.behind_service {
            Sockets::of_pod(network::PODS[0])
        } else {
            Sockets::on_loopback()?
        };
        let url = format!("https://{}{}", sockets.serving, names::WEBHOOK_PATH);
        let mut arguments = vec!["install", "--site-name", "east", "--role", options.role];
        arguments.extend(["--yes", "--wait=false"]);
        if !options.behind_service {
            arguments.extend(["--webhook-url", &url]);
        }
        let install = run(&binaries.cli, &plane.admin_kubeconfig(), &arguments).await?;
        if install.code != 0 {
            bail!(
                "install ended with {}\n{}{}",
                install.code,
                install.stdout,
                install.stderr
            );
        }
        if options.behind_service {
            service::set_endpoints(&plane.client(), &[sockets.serving.ip()]).await?;
        }
        let mirror = SecretMirror::start(
            plane.client(),
            names::SYSTEM_NAMESPACE,
            names::TLS_SECRET,
            &["tls.crt", "tls.key"],
            tls(&plane),
        );
        let controller_admin = free_port()?;
        let controller =
            parts::controller(&plane, binaries, "controller-0", controller_admin).await?;
        let controller = controller
            .args(options.deadlines.flags())
            .args(&options.controller)
            .start()?;
        let webhook = parts::webhook(&plane, binaries, "webhook-0", sockets, &tls(&plane))
            .await?
            .start()?;
        Ok(Self {
            webhook,
            controller,
            kwok,
            _mirror: mirror,
            client: plane.client(),
            plane,
            binaries,
            webhook_serving: sockets.serving,
            webhook_admin: sockets.admin,
            controller_admin,
            deadlines: options.deadlines,
        })
    }

    /// Starts a second controller, as during a rolling update.
    pub async fn second_controller(&self) -> Result<Process> {
        parts::controller(&self.plane, self.binaries, "controller-1", free_port()?)
            .await?
            .args(self.deadlines.flags())
            .start()
    }

    /// Another replica of the webhook, at the address of a pod. It gets no requests until it is an endpoint of the Service.
    pub async fn webhook_spec(&self, name: &str, address: IpAddr) -> Result<Spec> {
        let sockets = Sockets::of_pod(address);
        parts::webhook(&self.plane, self.binaries, name, sockets, &tls(&self.plane)).await
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub fn binaries(&self) -> &'static Binaries {
        self.binaries
    }

    /// Stops the kubelets that KWOK plays: terminating pods stay, and new ones do not start.
    pub fn freeze_kubelets(&self) {
        self.kubelets().signal(Signal::SIGSTOP);
    }

    pub fn thaw_kubelets(&self) {
        self.kubelets().signal(Signal::SIGCONT);
    }

    fn kubelets(&self) -> &Process {
        self.kwok.as_ref().expect("a site with nodes")
    }

    /// The webhook's address for the API server.
    pub fn webhook_serving(&self) -> SocketAddr {
        self.webhook_serving
    }

    /// Where the webhook's mounted Secret is.
    pub fn tls(&self) -> PathBuf {
        tls(&self.plane)
    }

    /// Restarts the webhook with a link to the API server that can be cut.
    pub async fn link_webhook(&mut self) -> Result<Link> {
        let authority = self.plane.url().trim_start_matches("https://");
        let link = Link::open(authority.parse()?).await?;
        let identity = identity::service_account_at(
            &self.plane,
            names::SYSTEM_NAMESPACE,
            names::WEBHOOK_SERVICE_ACCOUNT,
            &format!("https://{}", link.address),
        )
        .await?;
        self.webhook
            .restart_as(|spec| spec.env("KUBECONFIG", identity))?;
        Ok(link)
    }

    /// A TLS client configuration that trusts the webhook as the API server does: by the authority that the controller
    /// issued.
    pub async fn webhook_trust(&self) -> Result<ClientConfig> {
        let secrets: Api<Secret> = Api::namespaced(self.client(), names::SYSTEM_NAMESPACE);
        let data = secrets.get(names::TLS_SECRET).await?.data;
        let authority = data.and_then(|mut data| data.remove("ca.crt"));
        let authority = authority.context("the controller has issued no authority yet")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&authority.0)?)?;
        Ok(ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth())
    }

    /// The webhook's address for `/metrics`, `/livez` and `/readyz`.
    pub fn webhook_admin(&self) -> String {
        self.webhook_admin.to_string()
    }

    /// The controller's address for the same.
    pub fn controller_admin(&self) -> String {
        format!("127.0.0.1:{}", self.controller_admin)
    }

    /// Runs the CLI as the administrator.
    pub async fn failover(&self, arguments: &[&str]) -> Output {
        self.failover_as("admin", arguments).await
    }

    /// Runs the CLI as one of [`crate::control_plane::USERS`].
    pub async fn failover_as(&self, user: &str, arguments: &[&str]) -> Output {
        run(
            &self.binaries.cli,
            &self.plane.user_kubeconfig(user),
            arguments,
        )
        .await
        .expect("the CLI can be run")
    }

    /// The CLI as a command, for tests that act while it runs.
    pub fn failover_command(&self, arguments: &[&str]) -> Command {
        command(
            &self.binaries.cli,
            &self.plane.admin_kubeconfig(),
            arguments,
        )
    }

    /// Runs the real kubectl, with the plugin on its PATH.
    pub async fn kubectl(&self, arguments: &[&str]) -> Output {
        let kubectl = toolchain::control_plane()
            .expect("built when the control plane was")
            .join("kubectl");
        let path = format!(
            "{}:{}",
            self.binaries.folder().display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let mut command = command(&kubectl, &self.plane.admin_kubeconfig(), arguments);
        output(command.env("PATH", path))
            .await
            .expect("kubectl can be run")
    }

    /// Creates a namespace, enrols it with the CLI and waits until that is done.
    pub async fn enrolled_namespace(&self, name: &str) {
        self.kubectl(&["create", "namespace", name]).await.expect(0);
        self.failover(&["enroll", name, "--yes"]).await.expect(0);
    }

    /// Server-side apply as by Flux; returns the stored object.
    pub async fn apply_as_flux(&self, object: &serde_json::Value) -> kube::Result<DynamicObject> {
        apply(&self.client(), object, &PatchParams::apply(FLUX).force()).await
    }

    /// The same as a dry run.
    pub async fn dry_run_as_flux(&self, object: &serde_json::Value) -> kube::Result<DynamicObject> {
        apply(
            &self.client(),
            object,
            &PatchParams::apply(FLUX).force().dry_run(),
        )
        .await
    }

    /// Server-side apply as by a person with kubectl.
    pub async fn apply_as_person(&self, object: &serde_json::Value) -> kube::Result<DynamicObject> {
        apply(
            &self.client(),
            object,
            &PatchParams::apply("kubectl").force(),
        )
        .await
    }

    /// An API for objects given as JSON.
    pub async fn api_of(&self, object: &serde_json::Value) -> kube::Result<Api<DynamicObject>> {
        objects::api_of(&self.client(), object).await
    }

    /// Creates many objects of a few kinds, several at a time.
    pub async fn create_all(&self, manifests: &[serde_json::Value]) -> kube::Result<()> {
        objects::create_all(&self.client(), manifests).await
    }
}

/// Where the webhook's mounted Secret is.
fn tls(plane: &ControlPlane) -> PathBuf {
    plane.folder().join("tls")
}
