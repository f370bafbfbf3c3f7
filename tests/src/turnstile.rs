//! A proxy to the API server that counts writes and closes at one of them: before the write, or after it but before its
//! answer. Then a test can kill the client.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::ControlPlane;

/// Whether it closes before or after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

/// Forwards requests to `address` to the API server with their own identity.
#[derive(Debug)]
pub struct Turnstile {
    pub address: SocketAddr,
    gate: Arc<watch::Sender<Gate>>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Clone, Debug)]
enum Gate {
    Open,
    /// So many writes pass; it closes at the next.
    Armed {
        passing: usize,
        side: Side,
    },
    /// The last write is in progress.
    Closing,
    /// Closed at this write.
    Closed(String),
}

#[derive(Clone)]
struct Proxy {
    /// A client of the API server without an identity.
    server: Client,
    gate: Arc<watch::Sender<Gate>>,
}

impl Turnstile {
    /// Starts open.
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        let mut config = plane.without_identity();
        config.default_retry = false;
        let gate = Arc::new(watch::Sender::new(Gate::Open));
        let proxy = Proxy {
            server: Client::try_from(config).context("a client without an identity")?,
            gate: Arc::clone(&gate),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(pass).with_state(proxy);
        let serving = tokio::spawn(async move {
            // It ends with its handle.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            gate,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    /// For a kubeconfig.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets everything pass.
    pub fn open(&self) {
        self.gate.send_replace(Gate::Open);
    }

    /// Lets so many writes pass, and closes at the one that follows.
    pub fn close_at(&self, passing: usize, side: Side) {
        self.gate.send_replace(Gate::Armed { passing, side });
    }

    /// Waits until it has closed; returns the write.
    pub async fn closed(&self) -> String {
        let mut gate = self.gate.subscribe();
        let gate = gate
            .wait_for(|gate| matches!(gate, Gate::Closed(_)))
            .await
            .expect("its sender is held here");
        match &*gate {
            Gate::Closed(write) => write.clone(),
            Gate::Open | Gate::Armed { .. } | Gate::Closing => unreachable!("waited for"),
        }
    }
}

async fn pass(State(proxy): State<Proxy>, request: Request) -> Response {
    let write =
        is_counted(&request).then(|| format!("{} {}", request.method(), request.uri().path()));
    let pass = proxy.admit(write.as_deref());
    if pass == Pass::Never {
        return std::future::pending().await;
    }
    let answer = proxy.forward(request).await.unwrap_or_else(|error| {
        let mut answer = Response::new(Body::from(error.to_string()));
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
        answer
    });
    if pass == Pass::Last {
        proxy
            .gate
            .send_replace(Gate::Closed(write.unwrap_or_default()));
        return std::future::pending().await;
    }
    answer
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Yes,
    Last,
    Never,
}

impl Proxy {
    fn admit(&self, write: Option<&str>) -> Pass {
        let mut pass = Pass::Yes;
        self.gate.send_if_modified(|gate| {
            let (Gate::Armed { passing, side }, Some(write)) = (&mut *gate, write) else {
                if matches!(gate, Gate::Closing | Gate::Closed(_)) {
                    pass = Pass::Never;
                }
                return false;
            };
            if *passing > 0 {
                *passing -= 1;
                return false;
            }
            (*gate, pass) = match side {
                Side::Before => (Gate::Closed(write.to_owned()), Pass::Never),
                Side::After => (Gate::Closing, Pass::Last),
            };
            true
        });
        pass
    }

    async fn forward(&self, request: Request) -> Result<Response> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let mut headers = HeaderMap::new();
        for name in [header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT] {
            if let Some(value) = parts.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        parts.headers = headers;
        let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
        let (mut parts, body) = self.server.send(request).await?.into_parts();
        parts.headers.remove(header::TRANSFER_ENCODING);
        parts.headers.remove(header::CONTENT_LENGTH);
        Ok(Response::from_parts(parts, Body::new(body)))
    }
}

/// Whether a request is counted: writes, but no lease renewals, events, dry runs or self-reviews.
fn is_counted<B>(request: &http::Request<B>) -> bool {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    if query.split('&').any(|part| part.starts_with("dryRun=")) {
        return false;
    }
    let uncounted = [
        "/leases/",
        "/events",
        "/selfsubjectreviews",
        "/selfsubjectaccessreviews",
    ];
    !matches!(*request.method(), Method::GET | Method::HEAD)
        && !uncounted.iter().any(|part| path.contains(part))
}
