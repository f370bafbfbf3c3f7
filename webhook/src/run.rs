//! The process: starts everything, and stops it in the order that loses no request.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use failover_runtime::clients::Clients;
use failover_runtime::serve::certificate::{self, ServingCertificate};
use failover_runtime::serve::{Limits, Server};
use failover_runtime::{admin, logs};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args::{Args, Lease, Serving};
use crate::body::BODY_TIMEOUT;
use crate::enforcer::Enforcer;
use crate::mutate::{self, App};
use crate::timeouts::TIMEOUTS;
use crate::{tls, watches};

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: Args) -> Result<()> {
    let Args {
        serving,
        lease,
        log,
    } = args;
    let Serving {
        bind,
        admin_bind,
        tls_dir,
        drain,
    } = serving;
    let Lease {
        name,
        lease_namespace,
    } = lease;
    logs::init(&log)?;
    let mut terminate = signal(SignalKind::terminate()).context("no handler for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no handler for SIGINT")?;

    // Bound first, so that a port in use is an error at once and the log shows the addresses.
    let limits = Limits {
        farewell: BODY_TIMEOUT + Duration::from_secs(1),
        ..Limits::default()
    };
    let server = Server::bind(bind, limits)
        .await
        .with_context(|| format!("--bind {bind}"))?;
    let admin_listener = TcpListener::bind(admin_bind)
        .await
        .with_context(|| format!("--admin-bind {admin_bind}"))?;
    tracing::info!(addr = %server.local_addr()?, "serving admission reviews");
    tracing::info!(addr = %admin_listener.local_addr()?, "serving /metrics, /livez and /readyz");

    let clients = Clients::infer(&TIMEOUTS)
        .await
        .context("no configuration for the API server")?;
    let app = App::default();
    let serving = ServingCertificate::default();
    let mut parts = JoinSet::new();
    parts.spawn(
        tls::Follower {
            folder: tls_dir,
            serving: serving.clone(),
            readiness: app.readiness.clone(),
            metrics: app.metrics.clone(),
        }
        .follow(),
    );
    parts.spawn(watches::follow(
        clients.watches,
        app.store.clone(),
        app.readiness.clone(),
    ));
    let admin_router = admin::router(app.clone());
    parts.spawn(async move {
        if let Err(error) = axum::serve(admin_listener, admin_router).await {
            tracing::error!(%error, "the admin port failed");
        }
    });
    let stop_reporting = CancellationToken::new();
    let enforcer = Enforcer {
        client: clients.requests,
        namespace: lease_namespace,
        name,
        store: app.store.clone(),
        readiness: app.readiness.clone(),
    };
    let mut reporting = tokio::spawn(enforcer.report(stop_reporting.clone()));
    let metrics = app.metrics.clone();
    let stop_serving = CancellationToken::new();
    let mut serving = tokio::spawn(server.serve(
        certificate::config(serving),
        mutate::router(app.clone()),
        move || metrics.connection(),
        stop_serving.clone(),
    ));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        // None of these tasks ends by itself. Without one of them answers are not reliable, so the process ends and is
        // restarted.
        ended = parts.join_next() => bail!("a task of the process ended unexpectedly: {ended:?}"),
        ended = &mut reporting => bail!("reporting ended: {ended:?}"),
        ended = &mut serving => bail!("serving ended: {ended:?}"),
    }
    // Not ready any more, but still answering: API servers keep connections, and some still send requests to a
    // terminating pod. The webhook configuration is left alone; it belongs to the other replicas as well.
    tracing::info!(seconds = drain.as_secs(), "shutting down: draining");
    app.readiness.drain();
    tokio::time::sleep(drain).await;
    stop_serving.cancel();
    serving.await.context("the server panicked")?;
    // Last, so that the controller waits for this replica for as long as it answers.
    stop_reporting.cancel();
    reporting.await.context("the report panicked")?;
    tracing::info!("shut down");
    Ok(())
}
