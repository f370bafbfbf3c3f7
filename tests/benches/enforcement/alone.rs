//! The webhook alone, asked over TLS at a rate that does not depend on how fast it answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use failover_core::names;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use testbed::fixtures;
use testbed::site::Site;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep_until;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::figures::{CpuTime, Figures};

const PER_SECOND: u32 = 2_000;
const LASTING: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(2);

/// As many as the API server would have; each asks its share of the times.
const CONNECTIONS: u32 = 32;

pub(crate) async fn run(site: &Site) {
    site.enrolled_namespace("alone").await;
    let object = fixtures::deployment("alone", "web", 3);
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": "CREATE",
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
            "namespace": "alone", "name": "web", "object": object,
            "options": {"fieldManager": "kustomize-controller"},
        },
    });
    let body = review.to_string();
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: webhook\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        names::WEBHOOK_PATH,
        body.len()
    );
    let mut connections = join_all((0..CONNECTIONS).map(|_| connect(site))).await;
    for lasting in [WARM_UP, LASTING] {
        let (cpu, since) = (CpuTime::of(&site.webhook), Instant::now());
        let asking = connections.iter_mut().zip(0..);
        let asking = asking.map(|(stream, first)| ask(stream, &request, since, first, lasting));
        let took: Figures = join_all(asking).await.into_iter().flatten().collect();
        if lasting == LASTING {
            let share = cpu.used_by(&site.webhook).as_secs_f64() / since.elapsed().as_secs_f64();
            println!(
                "\nwebhook alone, {PER_SECOND}/s open loop over {CONNECTIONS} TLS connections: {took}"
            );
            println!(
                "  {:.0} % of a core, {} MiB resident",
                share * 100.0,
                site.webhook.resident_kib().unwrap_or_default() >> 10,
            );
        }
    }
    let metrics = testbed::admin::get(site.webhook_admin(), "/metrics")
        .await
        .unwrap();
    for line in metrics
        .lines()
        .filter(|line| line.contains("duration") && !line.starts_with('#'))
    {
        println!("  {line}");
    }
}

async fn connect(site: &Site) -> TlsStream<TcpStream> {
    let secrets: Api<Secret> = Api::namespaced(site.client(), names::SYSTEM_NAMESPACE);
    let secret = secrets.get(names::TLS_SECRET).await.unwrap();
    let authority = CertificateDer::from_pem_slice(&secret.data.unwrap()["ca.crt"].0).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let address = site.webhook_serving();
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector
        .connect(ServerName::from(address.ip()), stream)
        .await
        .unwrap()
}

/// Every so many of the times at which something is asked. An answer's duration counts from the time at which its question was
/// due, so that one that comes late makes the following ones late too.
async fn ask(
    stream: &mut TlsStream<TcpStream>,
    request: &str,
    since: Instant,
    first: u32,
    lasting: Duration,
) -> Vec<Duration> {
    let every = Duration::from_secs(1) / PER_SECOND;
    let mut took = Vec::new();
    let mut answer = vec![0; 16 << 10];
    for number in (first..).step_by(CONNECTIONS as usize) {
        let due = since + every * number;
        if due > since + lasting {
            break;
        }
        sleep_until(due.into()).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut read = 0;
        while !is_whole(&answer[..read]) {
            let more = stream.read(&mut answer[read..]).await.unwrap();
            assert!(
                more > 0,
                "closed: {}",
                String::from_utf8_lossy(&answer[..read])
            );
            read += more;
        }
        took.push(due.elapsed());
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    took
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() >= length.parse().unwrap())
}
