//! Wiring: what runs on every replica, what runs on the leader, and how it all ends.

use std::convert::Infallible;
use std::net::SocketAddr;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::admin::{self, Readiness};
use crate::args::Args;
use crate::client::Clients;
use crate::metrics::Metrics;
use crate::site::caches::Caches;
use crate::site::events::Events;
use crate::site::reconcile::{Parts, Reconciler};
use crate::site::sweep::Sweeper;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(
        "cannot find out how to reach the API server: set KUBECONFIG, or run in a pod with a ServiceAccount"
    )]
    Client(#[source] Box<kube::Error>),
    #[error("cannot listen on {addr} (--admin-bind)")]
    Bind {
        addr: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot be told to stop")]
    Signal(#[source] std::io::Error),
    #[error("the admin port failed")]
    Admin(#[source] std::io::Error),
    #[error("a watch ended, which it never does by itself")]
    Watch,
}

/// Runs until SIGTERM or SIGINT, or until a part that everything rests on fails.
pub async fn run(args: Args) -> Result<(), RunError> {
    let clients = Clients::infer()
        .await
        .map_err(|e| RunError::Client(Box::new(e)))?;
    let metrics = Metrics::new();
    let readiness = Readiness::default();

    let addr = args.admin_bind;
    let listener = TcpListener::bind(addr)
        .await
        .map_err(|source| RunError::Bind { addr, source })?;
    let addr = listener
        .local_addr()
        .map_err(|source| RunError::Bind { addr, source })?;
    tracing::info!(%addr, name = args.name, version = env!("CARGO_PKG_VERSION"), "serving /metrics, /livez and /readyz");
    let admin = async {
        let served = axum::serve(listener, admin::router(metrics.clone(), readiness.clone())).await;
        served
            .err()
            .unwrap_or_else(|| std::io::Error::other("it stopped listening"))
    };

    let mut watches = JoinSet::new();
    let caches = Caches::start(&clients.watches, &args.lease_namespace, &mut watches);
    let ready = async {
        caches.synced().await;
        readiness.set(true);
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        stopped = stopped() => stopped.map_err(RunError::Signal)?,
        ended = admin => return Err(RunError::Admin(ended)),
        _ = watches.join_next() => return Err(RunError::Watch),
        never = ready => match never {},
        () = lead(&args, &clients, &caches, &metrics) => {}
    }
    readiness.set(false);
    Ok(())
}

/// Waits for SIGTERM, as kubelet sends it, or SIGINT, as a terminal does.
async fn stopped() -> Result<(), std::io::Error> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "stopping");
    Ok(())
}

async fn lead(args: &Args, clients: &Clients, caches: &Caches, metrics: &Metrics) {
    let client = &clients.requests;
    caches.synced().await;
    let reconciler = Reconciler::new(
        client.clone(),
        Parts {
            caches: caches.clone(),
            sweeper: Sweeper::new(client.clone(), args.sweep_concurrency),
            events: Events::new(client.clone(), &args.name),
            metrics: metrics.clone(),
            lease_namespace: args.lease_namespace.clone(),
            sweep_every: args.sweep_every,
            now: Timestamp::now,
        },
    );
    match reconciler.run().await {}
}
