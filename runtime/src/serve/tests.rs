//! The listener over real sockets and real handshakes.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};

use axum::routing::get;
use failover_certs::{Name, Pair, issue_authority, issue_leaf};
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{self, Certificate, ServingCertificate};
use super::*;

/// Long enough for everything that must happen, and far below what would let a test pass by waiting.
const SOON: Duration = Duration::from_secs(5);

const ASK: &str = "GET / HTTP/1.1\r\nhost: w\r\n\r\n";

/// A server, and the authority of its certificate.
struct Bed {
    address: SocketAddr,
    authority: Pair,
    serving: ServingCertificate,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// The number of open connections.
    open: Arc<AtomicUsize>,
}

impl Bed {
    async fn start(limits: Limits, router: Router) -> Self {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), limits)
            .await
            .unwrap();
        let address = server.local_addr().unwrap();
        let (serving, stop) = Default::default();
        let open = Arc::new(AtomicUsize::new(0));
        let config = certificate::config(ServingCertificate::clone(&serving));
        let task = server.serve(
            config,
            router,
            counting(&open),
            CancellationToken::clone(&stop),
        );
        let bed = Self {
            address,
            authority: issue_authority(Timestamp::now()).unwrap(),
            serving,
            stop,
            task: tokio::spawn(task),
            open,
        };
        bed.rotate();
        bed
    }

    /// Swaps in a new certificate and returns it as clients see it.
    fn rotate(&self) -> CertificateDer<'static> {
        let pair = leaf(&self.authority);
        let certificate = Certificate::check(&pair, Timestamp::now()).unwrap();
        self.serving.set(&certificate);
        CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        handshake(&self.authority, stream).await.unwrap()
    }
}

/// Counts connections for as long as they are open.
fn counting(open: &Arc<AtomicUsize>) -> impl Fn() -> Open + use<> {
    let open = Arc::clone(open);
    move || {
        open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&open))
    }
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn leaf(authority: &Pair) -> Pair {
    let names = BTreeSet::from([Name::Dns("webhook".into())]);
    issue_leaf(authority, &names, Timestamp::now()).unwrap()
}

async fn handshake<S>(authority: &Pair, stream: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    connector
        .connect(ServerName::try_from("webhook").unwrap(), stream)
        .await
}

/// The certificate that a connection was opened with.
fn presented<S>(stream: &TlsStream<S>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

/// Sends a request and reads until the answer ends with this text.
async fn ask<S>(stream: &mut S, request: &str, ends_with: &str) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(ends_with.as_bytes()) {
        let read = timeout(SOON, stream.read_buf(&mut text))
            .await
            .expect("an answer")
            .unwrap();
        assert!(read > 0, "closed after {}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

/// Whether the server closes the connection soon.
async fn is_closed<S: AsyncRead + Unpin>(stream: &mut S) -> bool {
    let mut remaining = Vec::new();
    timeout(SOON, stream.read_to_end(&mut remaining))
        .await
        .is_ok()
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

#[tokio::test]
async fn a_new_certificate_applies_to_new_handshakes_and_open_connections_continue() {
    let bed = Bed::start(Limits::default(), hello()).await;
    let first = bed.rotate();
    let mut old = bed.connect().await;
    assert_eq!(presented(&old), first);
    let second = bed.rotate();
    let new = bed.connect().await;
    assert_eq!(presented(&new), second);
    assert_ne!(first, second);
    ask(&mut old, ASK, "hello").await;
}

#[tokio::test]
async fn without_a_certificate_handshakes_fail_until_there_is_one() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), Limits::default())
        .await
        .unwrap();
    let address = server.local_addr().unwrap();
    let serving = ServingCertificate::default();
    let stop = CancellationToken::new();
    tokio::spawn(server.serve(certificate::config(serving.clone()), hello(), || (), stop));
    let authority = issue_authority(Timestamp::now()).unwrap();
    let connect = async || handshake(&authority, TcpStream::connect(address).await.unwrap()).await;
    connect().await.unwrap_err();
    serving.set(&Certificate::check(&leaf(&authority), Timestamp::now()).unwrap());
    ask(&mut connect().await.unwrap(), ASK, "hello").await;
}

#[tokio::test]
async fn clients_that_do_not_finish_a_handshake_or_a_request_are_disconnected() {
    let limits = Limits {
        handshake: Duration::from_millis(100),
        first_request: Duration::from_millis(100),
        ..Limits::default()
    };
    let bed = Bed::start(limits, hello()).await;
    let mut dumb = TcpStream::connect(bed.address).await.unwrap();
    assert!(is_closed(&mut dumb).await);
    let mut silent = bed.connect().await;
    assert!(is_closed(&mut silent).await);
    let mut slow = bed.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    assert!(is_closed(&mut slow).await);
}

#[tokio::test]
async fn a_client_may_be_idle_after_a_request_but_not_stop_within_headers() {
    let limits = Limits {
        first_request: Duration::from_millis(50),
        headers: Duration::from_millis(400),
        ..Limits::default()
    };
    let bed = Bed::start(limits, hello()).await;
    let mut client = bed.connect().await;
    ask(&mut client, ASK, "hello").await;
    // Longer than the limit for a first request.
    tokio::time::sleep(Duration::from_millis(150)).await;
    ask(&mut client, ASK, "hello").await;
    client.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    assert!(is_closed(&mut client).await);
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_served_when_another_has_ended() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let bed = Bed::start(limits, hello()).await;
    let mut first = bed.connect().await;
    ask(&mut first, ASK, "hello").await;
    let second = bed.connect();
    tokio::pin!(second);
    assert!(
        timeout(Duration::from_millis(200), &mut second)
            .await
            .is_err()
    );
    assert_eq!(bed.open.load(Ordering::Relaxed), 1);
    drop(first);
    ask(&mut timeout(SOON, second).await.unwrap(), ASK, "hello").await;
}

#[tokio::test]
async fn a_panicking_handler_ends_only_its_own_connection() {
    let router = hello().route(
        "/panic",
        get(async || -> &'static str { panic!("on purpose") }),
    );
    let bed = Bed::start(Limits::default(), router).await;
    let mut client = bed.connect().await;
    client
        .write_all(b"GET /panic HTTP/1.1\r\nhost: w\r\n\r\n")
        .await
        .unwrap();
    assert!(is_closed(&mut client).await);
    ask(&mut bed.connect().await, ASK, "hello").await;
}

#[tokio::test]
async fn shutdown_finishes_requests_in_flight_and_closes_idle_connections() {
    let (started, mut has_started) = tokio::sync::mpsc::channel::<()>(1);
    let go = Arc::new(tokio::sync::Notify::new());
    let slow = {
        let go = Arc::clone(&go);
        async move || {
            started.send(()).await.unwrap();
            go.notified().await;
            "done"
        }
    };
    let bed = Bed::start(Limits::default(), hello().route("/slow", get(slow))).await;
    let mut idle = bed.connect().await;
    ask(&mut idle, ASK, "hello").await;
    let mut last = bed.connect().await;
    last.write_all(b"GET /slow HTTP/1.1\r\nhost: w\r\n\r\n")
        .await
        .unwrap();
    has_started.recv().await.unwrap();
    bed.stop.cancel();
    assert!(is_closed(&mut idle).await, "nothing is under way on it");
    assert!(!bed.task.is_finished());
    go.notify_one();
    ask(&mut last, "", "done").await;
    timeout(SOON, bed.task).await.expect("it ends").unwrap();
    TcpStream::connect(bed.address).await.unwrap_err();
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_block_shutdown() {
    let limits = Limits {
        farewell: Duration::from_millis(100),
        ..Limits::default()
    };
    let (started, mut has_started) = tokio::sync::mpsc::channel::<()>(1);
    let never = async move || -> &'static str {
        started.send(()).await.unwrap();
        std::future::pending().await
    };
    let bed = Bed::start(limits, Router::new().route("/", get(never))).await;
    let mut client = bed.connect().await;
    client.write_all(ASK.as_bytes()).await.unwrap();
    has_started.recv().await.unwrap();
    bed.stop.cancel();
    timeout(SOON, bed.task).await.expect("it ends").unwrap();
}

/// Counts the writes on a transport.
struct Counted<S>(S, Arc<AtomicUsize>);

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, buf);
        if written.is_ready() {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn headers_and_body_leave_in_one_write() {
    let authority = issue_authority(Timestamp::now()).unwrap();
    let serving = ServingCertificate::default();
    serving.set(&Certificate::check(&leaf(&authority), Timestamp::now()).unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(certificate::config(serving)));
    let (client, server) = tokio::io::duplex(1 << 20);
    let writes = Arc::new(AtomicUsize::new(0));
    let server = Counted(server, Arc::clone(&writes));
    // As long as an answer with a patch and warnings, and small enough for one TLS record.
    let body = format!("{}end", "x".repeat(8_000));
    let router = Router::new().route("/", get(async move || body));
    tokio::spawn(async move {
        let stream = acceptor.accept(server).await.unwrap();
        speak(stream, router, Limits::default(), &CancellationToken::new()).await;
    });
    let mut client = handshake(&authority, client).await.unwrap();
    ask(&mut client, ASK, "end").await;
    for _ in 0..3 {
        let before = writes.load(Ordering::Relaxed);
        ask(&mut client, ASK, "end").await;
        assert_eq!(writes.load(Ordering::Relaxed) - before, 1);
    }
}
