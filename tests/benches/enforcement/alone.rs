//! The webhook alone, called over TLS at a rate that does not depend on how fast it answers.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use failover_core::names;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::json;
use testbed::fixtures;
use testbed::site::Site;

use crate::figures::{CpuTime, Figures};

type Connection = StreamOwned<ClientConnection, TcpStream>;

const PER_SECOND: u32 = 2_000;
const LASTING: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(2);

/// As many connections as the API server would have; each sends its share of the requests.
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
    let config = Arc::new(site.webhook_trust().await.unwrap());
    let address = site.webhook_serving();
    let mut connections: Vec<Connection> = (0..CONNECTIONS)
        .map(|_| connect(&config, address))
        .collect();
    for lasting in [WARM_UP, LASTING] {
        let (cpu, since) = (CpuTime::of(&site.webhook), Instant::now());
        // One thread each: an executor's timers are too coarse for this measurement.
        let took: Figures = thread::scope(|scope| {
            let asking: Vec<_> = connections
                .iter_mut()
                .zip(0..)
                .map(|(stream, first)| {
                    let request = &request;
                    scope.spawn(move || ask(stream, request, since, first, lasting))
                })
                .collect();
            asking
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
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
    println!("  of which in the handler, by its own histogram, warm-up included:");
    for (share, seconds) in quantiles(&metrics) {
        println!("    {share} % within {} ms", seconds * 1e3);
    }
}

/// Percentiles, from the buckets of a histogram.
fn quantiles(metrics: &str) -> impl Iterator<Item = (f64, f64)> {
    const BUCKET: &str = "failover_webhook_request_duration_seconds_bucket{le=\"";
    let buckets: Vec<(f64, f64)> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(BUCKET)?.split_once("\"} "))
        .filter_map(|(bound, count)| Some((bound.parse().ok()?, count.parse().ok()?)))
        .collect();
    let all = buckets.last().map_or(0.0, |(_, count)| *count);
    [50.0, 99.0, 99.9].into_iter().filter_map(move |share| {
        let reached = buckets
            .iter()
            .find(|(_, count)| *count >= all * share / 100.0);
        reached.map(|(bound, _)| (share, *bound))
    })
}

fn connect(config: &Arc<ClientConfig>, address: SocketAddr) -> Connection {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::from(address.ip());
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    StreamOwned::new(connection, stream)
}

/// Sends its share of the requests. A duration counts from when the request was due, so that a late answer delays the
/// following ones, too.
fn ask(
    stream: &mut Connection,
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
        thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(request.as_bytes()).unwrap();
        stream.flush().unwrap();
        let mut read = 0;
        while !is_whole(&answer[..read]) {
            let more = stream.read(&mut answer[read..]).unwrap();
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
