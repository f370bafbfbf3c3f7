//! Our webhook and controller as processes, each with a token of its own ServiceAccount.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use failover_core::names;

use crate::binaries::Binaries;
use crate::process::{Spec, free_port};
use crate::service::POD_PORT;
use crate::{ControlPlane, identity};

/// Where a webhook listens.
#[derive(Clone, Copy, Debug)]
pub struct Sockets {
    pub serving: SocketAddr,
    pub admin: SocketAddr,
}

impl Sockets {
    /// Free ports of the machine.
    pub fn on_loopback() -> Result<Self> {
        let any = || Ok::<_, anyhow::Error>((Ipv4Addr::LOCALHOST, free_port()?).into());
        Ok(Self {
            serving: any()?,
            admin: any()?,
        })
    }

    /// The ports of the shipped Deployment.
    pub fn of_pod(address: IpAddr) -> Self {
        Self {
            serving: (address, POD_PORT).into(),
            admin: (address, 8080).into(),
        }
    }
}

pub(crate) async fn controller(
    plane: &ControlPlane,
    binaries: &Binaries,
    name: &str,
    admin: u16,
) -> Result<Spec> {
    let identity = identity::service_account(
        plane,
        names::SYSTEM_NAMESPACE,
        names::CONTROLLER_SERVICE_ACCOUNT,
    )
    .await?;
    Ok(Spec::new(name, &binaries.controller, plane.folder())
        .env("KUBECONFIG", identity)
        .arg(format!("--name={name}"))
        .arg(format!("--admin-bind=127.0.0.1:{admin}"))
        .arg("--log-format=text"))
}

pub(crate) async fn webhook(
    plane: &ControlPlane,
    binaries: &Binaries,
    name: &str,
    sockets: Sockets,
    tls: &Path,
) -> Result<Spec> {
    let identity = identity::service_account(
        plane,
        names::SYSTEM_NAMESPACE,
        names::WEBHOOK_SERVICE_ACCOUNT,
    )
    .await?;
    Ok(Spec::new(name, &binaries.webhook, plane.folder())
        .env("KUBECONFIG", identity)
        .arg(format!("--name={name}"))
        .arg(format!("--bind={}", sockets.serving))
        .arg(format!("--admin-bind={}", sockets.admin))
        .arg(format!("--tls-dir={}", tls.display()))
        .args(["--log-format=text", "--drain=1s"]))
}
