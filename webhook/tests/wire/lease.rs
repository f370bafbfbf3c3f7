//! The Lease by which a replica reports, against a fake API server. The paused clock advances only while all tasks
//! sleep.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use failover_core::names::ENFORCER_NAMESPACE;
use failover_core::{NamespaceState, Role};
use failover_webhook::enforcer::Enforcer;
use failover_webhook::mutate::App;
use failover_webhook::readiness::{NotReady, Watched};
use http_body_util::BodyExt as _;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::bed::{enrolled, ready};

/// Longer than any wait in these tests.
const LONG: Duration = Duration::from_secs(60);

/// How the API server answers a request.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Fine,
    Failing,
    Silent,
}

#[derive(Debug)]
struct Call {
    method: Method,
    uri: String,
    body: Value,
    at: Instant,
}

/// A reporting replica, and the calls that arrive.
struct Bed {
    app: App,
    mood: Arc<Mutex<Mood>>,
    calls: mpsc::UnboundedReceiver<Call>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Bed {
    fn start(app: App, mood: Mood) -> Self {
        let mood = Arc::new(Mutex::new(mood));
        let (sender, calls) = mpsc::unbounded_channel();
        let service = {
            let mood = Arc::clone(&mood);
            tower::service_fn(move |request| {
                let mood = *mood.lock().expect("nobody panics with it");
                serve(request, mood, sender.clone())
            })
        };
        let stop = CancellationToken::new();
        let enforcer = Enforcer {
            client: Client::new(service, "default"),
            namespace: ENFORCER_NAMESPACE.to_owned(),
            name: "webhook-0".to_owned(),
            store: app.store.clone(),
            readiness: app.readiness.clone(),
        };
        Self {
            app,
            mood,
            calls,
            task: tokio::spawn(enforcer.report(stop.clone())),
            stop,
        }
    }

    fn set_mood(&self, mood: Mood) {
        *self.mood.lock().expect("nobody panics with it") = mood;
    }

    async fn next(&mut self) -> Call {
        timeout(LONG, self.calls.recv())
            .await
            .expect("it calls")
            .expect("it runs")
    }

    async fn is_quiet_for(&mut self, duration: Duration) -> bool {
        timeout(duration, self.calls.recv()).await.is_err()
    }

    fn see(&self, namespace: &str, revision: i64) {
        let state = NamespaceState {
            revision: Some(revision),
            ..enrolled(Role::Secondary)
        };
        self.app.store.put_namespace(namespace.to_owned(), state);
    }
}

async fn serve(
    request: Request<kube::client::Body>,
    mood: Mood,
    calls: mpsc::UnboundedSender<Call>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body in memory").to_bytes();
    let call = Call {
        method: parts.method,
        uri: parts.uri.to_string(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        at: Instant::now(),
    };
    let mut answer = call.body.clone();
    // The test may be over.
    let _ = calls.send(call);
    let status = match mood {
        Mood::Fine => StatusCode::OK,
        Mood::Failing => {
            answer =
                json!({ "kind": "Status", "status": "Failure", "code": 500, "message": "etcd" });
            StatusCode::INTERNAL_SERVER_ERROR
        }
        Mood::Silent => std::future::pending().await,
    };
    let mut response = Response::new(Body::from(answer.to_string()));
    *response.status_mut() = status;
    Ok(response)
}

fn reported(call: &Call) -> (&str, &str) {
    let annotation = |key| {
        call.body["metadata"]["annotations"][key]
            .as_str()
            .unwrap_or_default()
    };
    (
        annotation("failover.dev/revision"),
        annotation("failover.dev/namespaces"),
    )
}

#[tokio::test(start_paused = true)]
async fn nothing_is_reported_before_everything_has_synced() {
    let app = App::default();
    let mut bed = Bed::start(app, Mood::Fine);
    bed.see("shop", 7);
    assert!(bed.is_quiet_for(LONG).await);
    bed.app.readiness.certificate_valid_until(i64::MAX);
    for watched in [Watched::Namespaces, Watched::RoleRules, Watched::Site] {
        assert!(bed.is_quiet_for(LONG).await, "before {watched:?}");
        bed.app.readiness.synced(watched);
    }
    assert_eq!(bed.app.readiness.check(), Err(NotReady::Contact));
    assert_eq!(reported(&bed.next().await), ("7", "1"));
}

#[tokio::test(start_paused = true)]
async fn the_lease_reports_identity_observed_revision_and_duration() {
    let mut bed = Bed::start(ready(), Mood::Fine);
    bed.see("shop", 7);
    bed.see("till", 5);
    let call = bed.next().await;
    assert_eq!(call.method, Method::PATCH);
    assert_eq!(
        call.uri,
        "/apis/coordination.k8s.io/v1/namespaces/failover-enforcers/leases/webhook-0?&force=true&fieldManager=failover-webhook"
    );
    let renewed: jiff::Timestamp = call.body["spec"]["renewTime"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("a time");
    assert!(
        jiff::Timestamp::now().duration_since(renewed).abs() < jiff::SignedDuration::from_mins(1)
    );
    let mut lease = call.body;
    lease["spec"]["renewTime"] = Value::Null;
    assert_eq!(
        lease,
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": "webhook-0",
                "labels": { "failover.dev/enforcer": "webhook" },
                "annotations": { "failover.dev/revision": "5", "failover.dev/namespaces": "2" },
            },
            "spec": { "holderIdentity": "webhook-0", "leaseDurationSeconds": 15, "renewTime": null },
        })
    );
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_every_5_s_and_at_once_when_the_observed_revision_changes() {
    let app = ready();
    let mut bed = Bed::start(app, Mood::Fine);
    bed.see("shop", 7);
    let first = bed.next().await;
    let second = bed.next().await;
    assert_eq!(second.at - first.at, Duration::from_secs(5));

    // A namespace that has not been labelled yet has no observed revision.
    let unlabelled = NamespaceState {
        revision: None,
        ..enrolled(Role::Secondary)
    };
    bed.app.store.put_namespace("till".into(), unlabelled);
    let changed = bed.next().await;
    assert_eq!(changed.at, second.at, "at once");
    assert_eq!(reported(&changed), ("0", "2"));
    bed.see("till", 8);
    let changed = bed.next().await;
    assert_eq!(reported(&changed), ("7", "2"));

    // Neither the lowest revision nor the number of namespaces has changed.
    bed.see("till", 9);
    let later = bed.next().await;
    assert_eq!(later.at - changed.at, Duration::from_secs(5));
    bed.app.store.remove_namespace("shop");
    assert_eq!(reported(&bed.next().await), ("9", "1"));
}

#[tokio::test(start_paused = true)]
async fn only_a_successful_renewal_counts_as_contact() {
    for mood in [Mood::Failing, Mood::Silent] {
        let app = App::default();
        app.readiness.certificate_valid_until(i64::MAX);
        for watched in [Watched::Namespaces, Watched::RoleRules, Watched::Site] {
            app.readiness.synced(watched);
        }
        let mut bed = Bed::start(app, mood);
        let first = bed.next().await;
        let second = bed.next().await;
        // One second of pause, after three seconds of waiting if there is no answer at all.
        let silence = match mood {
            Mood::Silent => Duration::from_secs(3),
            _ => Duration::ZERO,
        };
        assert_eq!(second.at - first.at, Duration::from_secs(1) + silence);
        assert_eq!(bed.app.readiness.check(), Err(NotReady::Contact));

        bed.set_mood(Mood::Fine);
        bed.next().await;
        // The next call shows that the answer has been read.
        bed.next().await;
        assert_eq!(bed.app.readiness.check(), Ok(()), "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_deleted_on_shutdown_and_an_unavailable_api_server_does_not_delay_it() {
    for mood in [Mood::Fine, Mood::Failing, Mood::Silent] {
        let mut bed = Bed::start(ready(), Mood::Fine);
        bed.next().await;
        bed.set_mood(mood);
        bed.stop.cancel();
        let call = bed.next().await;
        assert_eq!(call.method, Method::DELETE);
        assert!(call.uri.contains("/failover-enforcers/leases/webhook-0"));
        timeout(Duration::from_secs(5), bed.task)
            .await
            .expect("it ends")
            .expect("it does not panic");
        assert!(bed.calls.recv().await.is_none());
    }
}
