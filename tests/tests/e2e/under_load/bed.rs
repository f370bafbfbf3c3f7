//! A secondary whose webhook has two replicas behind its Service, in its own network.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use failover_certs::{Name, Pair, Stored, expiry};
use failover_core::names;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use nix::sys::signal::Signal;
use serde_json::json;
use testbed::network::{PODS, in_own_network};
use testbed::process::Process;
use testbed::quiet::{Quiet, quiet};
use testbed::service;
use testbed::site::{Options, Site};
use testbed::{binaries, crds, eventually, toolchain};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::load::{Load, Tally};

const NAMESPACE: &str = "shop";

/// How long the API server still opens connections to a terminating pod: kubelet's signal and the endpoint controller's
/// write race.
const ENDPOINTS_LAG: Duration = Duration::from_millis(300);

/// Runs a test in its own network, after everything is built.
pub(super) fn under_load<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    in_own_network(
        || {
            toolchain::supervise()?;
            toolchain::control_plane()?;
            crds::fetch()?;
            binaries::build().map(drop)
        },
        test,
    );
}

/// The names by which the shipped configuration calls the webhook.
pub(super) fn names() -> BTreeSet<Name> {
    let (service, namespace) = (names::WEBHOOK_SERVICE, names::SYSTEM_NAMESPACE);
    [Name::Dns(format!("{service}.{namespace}.svc"))].into()
}

pub(super) struct Bed {
    pub(super) site: Site,
    pub(super) second: Process,
    _quiet: Quiet,
}

impl Bed {
    pub(super) async fn start() -> Self {
        let site = Site::start(Options {
            role: "secondary",
            behind_service: true,
            ..Options::default()
        })
        .await
        .unwrap();
        site.enrolled_namespace(NAMESPACE).await;
        let second = ready_webhook(&site, "webhook-1", PODS[1]).await;
        let bed = Self {
            site,
            second,
            _quiet: quiet().await,
        };
        bed.set_endpoints(&PODS[..2]).await;
        bed
    }

    pub(super) fn load(&self) -> Load {
        Load::start(&self.site.client(), NAMESPACE)
    }

    /// Sends so many writes at once that the API server needs new connections.
    pub(super) async fn burst(&self) -> Tally {
        Load::burst(&self.site.client(), NAMESPACE).await
    }

    pub(super) async fn set_endpoints(&self, ready: &[IpAddr]) {
        service::set_endpoints(&self.site.client(), ready)
            .await
            .unwrap();
    }

    /// Starts another replica and waits until it is ready.
    pub(super) async fn ready_webhook(&self, name: &str, address: IpAddr) -> Process {
        ready_webhook(&self.site, name, address).await
    }

    /// Starts a replica with a certificate that cannot reach the API server, so that it has no state to answer from.
    pub(super) async fn cut_off_webhook(&self, name: &str, address: IpAddr) -> Process {
        let nowhere = self.site.plane.folder().join("nowhere.kubeconfig");
        let reachable = std::fs::read_to_string(self.site.plane.admin_kubeconfig()).unwrap();
        let away = reachable.replace(self.site.plane.url(), "https://127.0.0.1:1");
        std::fs::write(&nowhere, away).unwrap();
        let spec = self.site.webhook_spec(name, address).await.unwrap();
        let webhook = spec.env("KUBECONFIG", nowhere).start().unwrap();
        eventually("a replica that is not ready", || async {
            match admin(address, "/readyz").await {
                Ok(answer) if answer.contains("watches") => Ok(()),
                other => Err(format!("{other:?}\n{}", webhook.log_tail())),
            }
        })
        .await;
        webhook
    }

    pub(super) async fn retire_first(&mut self, left: &[IpAddr]) {
        retire(&self.site.client(), &mut self.site.webhook, left).await;
    }

    pub(super) async fn retire_second(&mut self, left: &[IpAddr]) {
        retire(&self.site.client(), &mut self.second, left).await;
    }

    /// The content of the certificates' Secret.
    pub(super) async fn stored(&self) -> Stored {
        let secret = self.secrets().get(names::TLS_SECRET).await.unwrap();
        let data = secret.data.unwrap_or_default();
        let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
        let pair = |of: &str| Pair {
            certificate: text(&format!("{of}.crt")),
            key: text(&format!("{of}.key")),
        };
        Stored {
            authority: Some(pair("ca")),
            leaf: Some(pair("tls")),
            previous: None,
        }
    }

    /// Replaces a pair in the Secret.
    pub(super) async fn store(&self, of: &str, pair: &Pair) {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = json!({
            format!("{of}.crt"): bytes(&pair.certificate), format!("{of}.key"): bytes(&pair.key),
        });
        let patch = Patch::Merge(json!({"data": data}));
        let params = PatchParams::default();
        self.secrets()
            .patch(names::TLS_SECRET, &params, &patch)
            .await
            .unwrap();
    }

    /// Waits until the controller has issued a newer leaf and both replicas serve it.
    pub(super) async fn until_replicas_serve_a_leaf_after(&self, before: &Stored) {
        eventually("a new leaf at both replicas", || async {
            let stored = self.stored().await;
            let until = expiry(&stored).leaf.unwrap();
            if until <= expiry(before).leaf.unwrap() {
                return Err(format!("none yet\n{}", self.site.controller.log_tail()));
            }
            let served = format!(
                "failover_webhook_certificate_expiry_timestamp_seconds {}\n",
                until.as_second()
            );
            for address in &PODS[..2] {
                let metrics = admin(*address, "/metrics").await.unwrap();
                if !metrics.contains(&served) {
                    return Err(format!("{address} does not serve it yet"));
                }
            }
            Ok(())
        })
        .await;
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.site.client(), names::SYSTEM_NAMESPACE)
    }
}

async fn ready_webhook(site: &Site, name: &str, address: IpAddr) -> Process {
    let webhook = site.webhook_spec(name, address).await.unwrap();
    let webhook = webhook.start().unwrap();
    eventually("a ready replica", || async {
        match admin(address, "/readyz").await {
            Ok(answer) if answer.starts_with("HTTP/1.0 200") => Ok(()),
            other => Err(format!("{other:?}\n{}", webhook.log_tail())),
        }
    })
    .await;
    webhook
}

/// Ends a replica as Kubernetes does: the signal first, and a moment later its address is removed from the endpoints.
async fn retire(client: &kube::Client, replica: &mut Process, left: &[IpAddr]) {
    replica.signal(Signal::SIGTERM);
    sleep(ENDPOINTS_LAG).await;
    service::set_endpoints(client, left).await.unwrap();
    let ended = block_in_place(|| replica.wait(Duration::from_secs(10)));
    assert_eq!(ended.unwrap(), 0, "{}", replica.log_tail());
}

/// The answer of a replica on its plain HTTP port.
async fn admin(address: IpAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((address, 8080)).await?;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
