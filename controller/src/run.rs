//! Wiring: what runs on every replica, what runs on the leader, and how it all ends.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use failover_runtime::admin::{self, Process};
use failover_runtime::clients::Clients;
use failover_runtime::leader::Elector;
use futures::future::{join_all, select_all};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::certificates;
use crate::informers::Informers;
use crate::metrics::Metrics;
use crate::part::{Context, Part};
use crate::role_lock::RoleLock;
use crate::rules::RulesPart;
use crate::site::part::SitePart;
use crate::timeouts::TIMEOUTS;

/// How long a stopping process tries to release the Lease. A pod has 30 s in all.
const VACATE_WITHIN: Duration = Duration::from_secs(5);

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
    #[error("cannot install signal handlers")]
    Signal(#[source] std::io::Error),
    #[error("the admin port failed")]
    Admin(#[source] std::io::Error),
    #[error("a watch ended unexpectedly")]
    Watch,
}

/// Set once the caches have synced, cleared while shutting down.
#[derive(Clone, Debug, Default)]
struct Readiness(Arc<AtomicBool>);

impl Readiness {
    fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }
}

/// The state behind the admin port.
#[derive(Clone, Debug)]
struct Shown {
    metrics: Metrics,
    readiness: Readiness,
}

impl Process for Shown {
    fn metrics(&self) -> Result<String, fmt::Error> {
        self.metrics.encode()
    }

    fn ready(&self) -> Result<(), String> {
        if self.readiness.0.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err("the watches have not synced yet, or the process is shutting down".to_owned())
        }
    }
}

/// Runs until SIGTERM or SIGINT, or until something essential fails.
pub async fn run(args: Args) -> Result<(), RunError> {
    let clients = Clients::infer(&TIMEOUTS)
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
        let served = axum::serve(
            listener,
            admin::router(Shown {
                metrics: metrics.clone(),
                readiness: readiness.clone(),
            }),
        )
        .await;
        served
            .err()
            .unwrap_or_else(|| std::io::Error::other("it stopped listening"))
    };

    let mut watches = JoinSet::new();
    let (site, rules) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let wake = [Arc::clone(&site), Arc::clone(&rules)];
    let context = Context {
        informers: Informers::start(&clients.watches, &wake, &mut watches),
        args,
        clients,
        metrics: metrics.clone(),
        role_lock: RoleLock::default(),
    };
    let parts: [Box<dyn Part>; 3] = [
        Box::new(certificates::Owner::new(&context)),
        Box::new(SitePart::start(&context, site, &mut watches)),
        Box::new(RulesPart::new(&context, rules)),
    ];
    let ready = async {
        join_all(parts.iter().map(|part| part.synced())).await;
        readiness.set(true);
        std::future::pending::<Infallible>().await
    };
    let Context { args, clients, .. } = &context;
    let stop = CancellationToken::new();
    let elector = Elector::new(
        clients.requests.clone(),
        &args.namespace,
        &args.name,
        args.lease.terms(),
        Timestamp::now,
    );
    let shown = show_leading(elector.leading(), &metrics);
    // A replica that loses the lead continues as a follower: its work is a future that is dropped with everything in
    // progress, and all state is in the cluster.
    let mut elected = pin!(elector.run(&stop, || lead(&parts)));
    let ended = tokio::select! {
        stopped = stopped() => stopped.map_err(RunError::Signal),
        error = admin => Err(RunError::Admin(error)),
        _ = watches.join_next() => Err(RunError::Watch),
        never = ready => match never {},
        never = shown => match never {},
        never = &mut elected => match never {
            Some(never) => match never {},
            None => Ok(()),
        },
    };
    readiness.set(false);
    stop.cancel();
    if timeout(VACATE_WITHIN, elected).await.is_err() {
        tracing::warn!("could not release the leader Lease in time; it expires by itself");
    }
    ended
}

/// Updates the leader metric; a follower reports nothing about the site.
async fn show_leading(mut leading: watch::Receiver<bool>, metrics: &Metrics) -> Infallible {
    loop {
        let leads = *leading.borrow_and_update();
        metrics.leader.set(i64::from(leads));
        if !leads {
            metrics.forget_site();
        }
        if leading.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
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

/// The leader's work. One task polls all parts, so losing the lead drops all their work at once.
async fn lead(parts: &[Box<dyn Part>]) -> Infallible {
    let work = parts.iter().map(|part| part.lead());
    let (never, ..) = select_all(work).await;
    match never {}
}
