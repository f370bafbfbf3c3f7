//! Input that an API server never sends, sent to the real process over TLS: many bodies of the largest size at once, objects
//! of ten thousand levels, and clients that do not finish their request.
//!
//! Random input is the subject of `fuzz`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use failover_core::names;
use futures::future::join_all;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use testbed::fixtures;
use testbed::quiet::{Quiet, quiet};
use testbed::site::{Options, Site};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The largest review that the webhook reads.
const LARGEST: usize = 7 << 20;

/// So many reviews of that size, each on its own connection.
const CONNECTIONS: usize = 64;

/// Half of the memory limit of the shipped Deployment.
const MEMORY_KIB: u64 = 128 << 10;

/// How long the webhook waits for the rest of a body: a review queued behind such a body would wait as long.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

struct Bed {
    site: Site,
    connector: TlsConnector,
    _quiet: Quiet,
}

impl Bed {
    async fn start() -> Self {
        let site = Site::start(Options {
            role: "secondary",
            ..Options::default()
        })
        .await
        .unwrap();
        site.enrolled_namespace("shop").await;
        let config = site.webhook_trust().await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        Self {
            site,
            connector,
            _quiet: quiet().await,
        }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let address = self.site.webhook_serving();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::from(address.ip());
        self.connector.connect(name, stream).await.unwrap()
    }

    /// Sends a review on its own connection; returns status and body of the answer. None if the connection was closed before
    /// the whole review was sent, which loses the answer.
    async fn ask(&self, review: &str) -> Option<(u16, Value)> {
        let mut stream = self.connect().await;
        let request = head(review.len()) + review;
        // A rejected client gets its answer before that.
        let _ = send(&mut stream, &request).await;
        let answer = until_closed(stream).await;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some((status, serde_json::from_str(body).unwrap()))
    }

    /// Asserts that an ordinary review is answered without waiting for unfinished requests.
    async fn expect_ordinary_service(&self) {
        let asked = Instant::now();
        let review = review(&fixtures::deployment("shop", "web", 3).to_string());
        assert_forced(&self.ask(&review).await.unwrap());
        assert!(asked.elapsed() < BODY_TIMEOUT, "{:?}", asked.elapsed());
    }
}

fn head(length: usize) -> String {
    format!(
        "POST {} HTTP/1.1\r\nhost: webhook\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n",
        names::WEBHOOK_PATH
    )
}

/// A review of the creation of this Deployment, which is given as text.
fn review(object: &str) -> String {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": "CREATE",
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
            "namespace": "shop", "name": "web", "object": "OBJECT",
        },
    });
    review.to_string().replace("\"OBJECT\"", object)
}

#[track_caller]
fn assert_forced((status, answer): &(u16, Value)) {
    assert_eq!(*status, 200, "{answer}");
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    assert!(answer["response"]["patch"].is_string(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_the_largest_size_stay_within_the_memory_limit() {
    let bed = Bed::start().await;
    let mut object = fixtures::deployment("shop", "web", 3);
    object["metadata"]["annotations"] = json!({"much": ""});
    let room = LARGEST - review(&object.to_string()).len();
    object["metadata"]["annotations"]["much"] = "x".repeat(room).into();
    let review = review(&object.to_string());
    assert_eq!(review.len(), LARGEST);

    let before = bed.site.webhook.resident_kib().unwrap();
    let large = join_all((0..CONNECTIONS).map(|_| bed.ask(&review)));
    let ordinary = async {
        for _ in 0..10 {
            bed.expect_ordinary_service().await;
        }
    };
    let (answers, ()) = tokio::join!(large, ordinary);
    let peak = bed.site.webhook.peak_resident_kib().unwrap();
    let mut answered = 0;
    for answer in answers.iter().flatten() {
        // A review that is not served in time gets 503.
        if answer.0 != 503 {
            assert_forced(answer);
            answered += 1;
        }
    }
    eprintln!(
        "{CONNECTIONS} bodies of 7 MiB: {answered} answered; {} MiB resident before, at most {} MiB",
        before >> 10,
        peak >> 10,
    );
    assert!(answered > 0);
    assert!(peak < MEMORY_KIB, "{peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_ten_thousand_levels_deep_is_forced_like_any_other() {
    const DEPTH: usize = 10_000;
    let bed = Bed::start().await;
    let mut object = fixtures::deployment("shop", "web", 3);
    object["spec"]["template"] = json!("DEEP");
    let deep = format!("{}{}", r#"{"a":["#.repeat(DEPTH), "]}".repeat(DEPTH));
    let object = object.to_string().replace("\"DEEP\"", &deep);
    assert_forced(&bed.ask(&review(&object)).await.unwrap());
    bed.expect_ordinary_service().await;
}

/// What a slow client has sent before it stalls.
#[derive(Clone, Copy, Debug)]
enum Begun {
    Connection,
    Handshake,
    Head,
    Body,
    LargeBody,
}

impl Begun {
    const ALL: [Self; 5] = [
        Self::Connection,
        Self::Handshake,
        Self::Head,
        Self::Body,
        Self::LargeBody,
    ];

    /// Begins a request and waits for the disconnect. Returns the answer and the elapsed time.
    async fn begin_and_stall(self, bed: &Bed) -> (String, Duration) {
        let since = Instant::now();
        let beginning = match self {
            Self::Connection | Self::Handshake => {
                let address = bed.site.webhook_serving();
                let mut stream = TcpStream::connect(address).await.unwrap();
                if matches!(self, Self::Handshake) {
                    // The first bytes of a TLS record.
                    stream.write_all(&[22, 3, 1, 1, 0, 1]).await.unwrap();
                }
                return (until_closed(stream).await, since.elapsed());
            }
            Self::Head => head(1000).replace("\r\n\r\n", "\r\n"),
            Self::Body => head(1000) + "{",
            Self::LargeBody => head(LARGEST) + "{",
        };
        let mut stream = bed.connect().await;
        send(&mut stream, &beginning).await.unwrap();
        (until_closed(stream).await, since.elapsed())
    }
}

/// Flushes what TLS has buffered.
async fn send(stream: &mut TlsStream<TcpStream>, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}

async fn until_closed(mut stream: impl AsyncRead + Unpin) -> String {
    let mut answer = Vec::new();
    // An abrupt close is fine.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_disconnected_and_delay_nobody() {
    const EACH: usize = 40;
    // Well beyond the webhook's longest timeout, 10 s for the head of the first request.
    const PATIENCE: Duration = Duration::from_secs(30);
    let bed = Bed::start().await;
    let slow = Begun::ALL.repeat(EACH);
    let slow = slow.into_iter().map(async |begun| {
        let ended = timeout(PATIENCE, begun.begin_and_stall(&bed)).await;
        (begun, ended)
    });
    let ordinary = async {
        // As long as the slow clients are connected.
        let since = Instant::now();
        let mut answered = 0;
        while since.elapsed() < Duration::from_secs(4) {
            bed.expect_ordinary_service().await;
            answered += 1;
        }
        answered
    };
    let (slow, answered) = tokio::join!(join_all(slow), ordinary);
    for (begun, ended) in slow {
        let (answer, after) = ended.unwrap_or_else(|_| panic!("not disconnected: {begun:?}"));
        let status = answer.split(' ').nth(1);
        match begun {
            Begun::Connection | Begun::Handshake | Begun::Head => assert_eq!(status, None),
            Begun::Body => assert_eq!(status, Some("408"), "after {after:?}: {answer}"),
            // The webhook waits for four of them and rejects the others.
            Begun::LargeBody => assert!(matches!(status, Some("408" | "503")), "{answer}"),
        }
    }
    eprintln!("{answered} ordinary reviews while {EACH} clients of each kind were stalled");
    bed.expect_ordinary_service().await;
}
