//! Serves HTTP over TLS: connections are bounded in number, and each in time.
//!
//! ```text
//!   permit ─► accept ─► task: handshake (timeout) ─► HTTP/1.1 (header timeouts, keep-alive) ─► router
//!                                                        ▲ graceful shutdown when draining ends
//! ```

pub mod certificate;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Limits on a client. A real API server stays far below them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections: usize,
    /// From the first byte to a finished handshake.
    pub handshake: Duration,
    /// From the handshake to the end of the first request's headers: an idle client does not keep a permit.
    pub first_request: Duration,
    /// From the end of one request to the end of the next one's headers. Go's HTTP client closes an idle connection
    /// after 90 s; if we closed first, a request could already be on its way and would be lost.
    pub headers: Duration,
    /// How long requests in flight are waited for at shutdown.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            handshake: Duration::from_secs(5),
            first_request: Duration::from_secs(10),
            headers: Duration::from_secs(120),
            farewell: Duration::from_secs(6),
        }
    }
}

/// A bound listener that does not serve yet, so that the caller learns the port.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    limits: Limits,
}

impl Server {
    pub async fn bind(address: SocketAddr, limits: Limits) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            limits,
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is cancelled, then lets the requests in flight finish. What `open` returns is kept for as
    /// long as a connection is open.
    pub async fn serve<G: Send + 'static>(
        self,
        config: ServerConfig,
        router: Router,
        open: impl Fn() -> G,
        stop: CancellationToken,
    ) {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let connections = TaskTracker::new();
        loop {
            // The permit first: a connection that is not accepted waits in the kernel's queue and costs no memory here.
            let permit = tokio::select! {
                permit = permits.clone().acquire_owned() => permit.expect("never closed"),
                () = stop.cancelled() => break,
            };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = Connection {
                        acceptor: acceptor.clone(),
                        router: router.clone(),
                        limits: self.limits,
                        stop: stop.clone(),
                    };
                    let guard = open();
                    connections.spawn(async move {
                        // A panicking handler ends only its own connection.
                        let served = std::panic::AssertUnwindSafe(connection.serve(stream))
                            .catch_unwind()
                            .await;
                        if served.is_err() {
                            tracing::error!("a handler panicked; its connection was closed");
                        }
                        drop((permit, guard));
                    });
                }
                Err(error) => {
                    // Out of file descriptors, or the connection was gone before it was accepted.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        connections.close();
        let farewell = tokio::time::timeout(self.limits.farewell, connections.wait());
        if farewell.await.is_err() {
            tracing::warn!(
                open = connections.len(),
                "connections that do not come to an end are cut"
            );
        }
    }
}

struct Connection {
    acceptor: TlsAcceptor,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        // Otherwise an answer in two segments waits for the client's delayed acknowledgement: 45 ms were measured.
        let _ = stream.set_nodelay(true);
        let handshake = tokio::time::timeout(self.limits.handshake, self.acceptor.accept(stream));
        match handshake.await {
            Ok(Ok(stream)) => speak(stream, self.router, self.limits, &self.stop).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        }
    }
}

/// Speaks HTTP/1.1 on a connection until either side closes it.
async fn speak<S>(stream: S, router: Router, limits: Limits, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let asked = Arc::clone(&asked);
        hyper::service::service_fn(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            router.clone().oneshot(request.map(Body::new))
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        // Headers and body are joined and sent in one write.
        .writev(false)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let silent = async {
        tokio::time::sleep(limits.first_request).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = silent => {
            tracing::debug!("no request came");
            return;
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
mod tests;
