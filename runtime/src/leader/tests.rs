use std::future::pending;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{advance, sleep};
use tower::{BoxError, service_fn};

use super::*;

const TERMS: Terms = Terms {
    duration: Duration::from_secs(15),
    renew_every: Duration::from_secs(2),
};

/// An API server with one Lease, or none, that can stop answering.
#[derive(Clone)]
struct Server(Arc<Mutex<State>>);

struct State {
    lease: Option<Value>,
    silent: bool,
    version: u64,
}

impl Server {
    fn new() -> Self {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": "failover-controller",
                "namespace": "failover-system",
                "resourceVersion": "1",
                "labels": { "app.kubernetes.io/component": "controller" },
            },
        });
        Self(Arc::new(Mutex::new(State {
            lease: Some(lease),
            silent: false,
            version: 1,
        })))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }

    /// As another writer would, with kubectl or a controller.
    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        self.change(|state| {
            state.version += 1;
            let lease = state.lease.as_mut().unwrap();
            edit(lease);
            lease["metadata"]["resourceVersion"] = json!(state.version.to_string());
        });
    }

    fn lease(&self) -> Value {
        self.0.lock().unwrap().lease.clone().unwrap()
    }

    fn holder(&self) -> Option<String> {
        Some(self.lease()["spec"]["holderIdentity"].as_str()?.to_owned())
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                assert_eq!(
                    parts.uri.path(),
                    "/apis/coordination.k8s.io/v1/namespaces/failover-system/leases/failover-controller"
                );
                let body = body.collect().await?.to_bytes();
                let silent = server.0.lock().unwrap().silent;
                if silent {
                    pending::<()>().await;
                }
                let (status, answer) = server.0.lock().unwrap().answer(&parts.method, &body);
                let body = Body::from(answer.to_string().into_bytes());
                Ok::<_, BoxError>(Response::builder().status(status).body(body)?)
            }
        });
        Client::new(service, "default")
    }

    fn elector(&self, name: &str) -> Elector {
        let now = || "2026-03-01T12:00:00Z".parse().unwrap();
        Elector::new(self.client(), "failover-system", name, TERMS, now)
    }

    fn replica(&self, name: &str) -> Replica {
        let elector = self.elector(name);
        let leading = elector.leading();
        let started = Arc::new(Mutex::new(0));
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (started, stop) = (Arc::clone(&started), stop.clone());
            async move {
                let work = || {
                    *started.lock().unwrap() += 1;
                    pending::<()>()
                };
                elector.run(&stop, work).await
            }
        });
        Replica {
            leading,
            started,
            stop,
            task,
        }
    }
}

impl State {
    fn answer(&mut self, method: &Method, body: &[u8]) -> (StatusCode, Value) {
        let refuse = |code: u16, reason: &str| {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure",
                "code": code, "reason": reason, "message": reason,
            });
            (StatusCode::from_u16(code).unwrap(), status)
        };
        let Some(lease) = &mut self.lease else {
            return refuse(404, "NotFound");
        };
        if method == Method::PUT {
            let mut written: Value = serde_json::from_slice(body).unwrap();
            if written["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] {
                return refuse(409, "Conflict");
            }
            self.version += 1;
            written["metadata"]["resourceVersion"] = json!(self.version.to_string());
            *lease = written;
        }
        (StatusCode::OK, lease.clone())
    }
}

struct Replica {
    leading: watch::Receiver<bool>,
    /// How often its work was started.
    started: Arc<Mutex<u32>>,
    stop: CancellationToken,
    task: JoinHandle<Option<()>>,
}

impl Replica {
    async fn leads(&mut self, leads: bool) -> Instant {
        self.leading.wait_for(|now| *now == leads).await.unwrap();
        Instant::now()
    }

    async fn stop(self) {
        self.stop.cancel();
        assert_eq!(self.task.await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_at_once_and_the_second_follows_until_it_stops() {
    let server = Server::new();
    let mut first = server.replica("first");
    first.leads(true).await;
    let mut second = server.replica("second");
    sleep(Duration::from_secs(120)).await;
    assert!(*first.leading.borrow() && !*second.leading.borrow());
    assert_eq!(*second.started.lock().unwrap(), 0);

    let stopped = Instant::now();
    first.stop().await;
    let taken = second.leads(true).await;
    assert!(
        taken - stopped <= TERMS.renew_every,
        "{:?}",
        taken - stopped
    );
    second.stop().await;
    assert_eq!(server.holder(), None);
}

#[tokio::test(start_paused = true)]
async fn the_lease_records_holder_times_and_duration() {
    let server = Server::new();
    let mut replica = server.replica("pod-a");
    replica.leads(true).await;
    let lease = server.lease();
    let spec = &lease["spec"];
    assert!(
        spec["holderIdentity"]
            .as_str()
            .unwrap()
            .starts_with("pod-a_")
    );
    assert_eq!(spec["leaseDurationSeconds"], 15);
    assert_eq!(spec["leaseTransitions"], 1);
    assert_eq!(spec["renewTime"], "2026-03-01T12:00:00.000000Z");
    assert_eq!(spec["acquireTime"], spec["renewTime"]);
    let labels = &lease["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/component"], "controller");
    replica.stop().await;
}

#[tokio::test(start_paused = true)]
async fn work_is_dropped_in_time_when_the_api_server_is_silent_and_restarted_when_it_answers() {
    let server = Server::new();
    let mut replica = server.replica("a");
    replica.leads(true).await;
    let before = Instant::now();
    server.change(|state| state.silent = true);
    let lost = replica.leads(false).await;
    assert_eq!(lost - before, TERMS.give_up_after());

    server.change(|state| state.silent = false);
    replica.leads(true).await;
    assert_eq!(*replica.started.lock().unwrap(), 2);
    replica.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_replaced_after_the_promised_duration() {
    let server = Server::new();
    let mut first = server.replica("first");
    first.leads(true).await;
    let mut second = server.replica("second");
    sleep(Duration::from_secs(1)).await;
    first.task.abort();
    let died = Instant::now();
    let waited = second.leads(true).await - died;
    assert!(
        waited > TERMS.give_up_after() && waited <= TERMS.duration,
        "{waited:?}"
    );
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_does_not_take_over_the_term_of_a_namesake() {
    let server = Server::new();
    let mut first = server.replica("same");
    first.leads(true).await;
    let second = server.replica("same");
    sleep(Duration::from_secs(60)).await;
    assert!(*first.leading.borrow() && !*second.leading.borrow());
    first.stop().await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_writers_label_keeps_leadership_and_its_holder_identity_ends_it() {
    let server = Server::new();
    let mut replica = server.replica("a");
    replica.leads(true).await;
    server.edit(|lease| lease["metadata"]["labels"]["seen"] = json!("yes"));
    sleep(Duration::from_secs(30)).await;
    assert!(*replica.leading.borrow());
    assert_eq!(*replica.started.lock().unwrap(), 1);
    assert_eq!(server.lease()["metadata"]["labels"]["seen"], "yes");

    server.edit(|lease| lease["spec"]["holderIdentity"] = json!("thief"));
    let edited = Instant::now();
    assert!(replica.leads(false).await - edited <= TERMS.renew_every);
    replica.stop().await;
    assert_eq!(server.holder().as_deref(), Some("thief"));
}

#[tokio::test(start_paused = true)]
async fn a_missing_lease_ends_leadership_and_is_waited_for() {
    let server = Server::new();
    let mut replica = server.replica("a");
    replica.leads(true).await;
    let lease = server.lease();
    server.change(|state| state.lease = None);
    replica.leads(false).await;
    sleep(Duration::from_secs(300)).await;
    assert!(!*replica.leading.borrow());
    server.change(|state| {
        let mut lease = lease;
        lease["spec"] = json!({});
        state.lease = Some(lease);
    });
    replica.leads(true).await;
    replica.stop().await;

    let error = LeaseError::Missing {
        namespace: "failover-system".into(),
    };
    assert!(error.to_string().contains("kubectl failover install"));
}

#[tokio::test(start_paused = true)]
async fn work_that_ends_by_itself_releases_the_lease_and_returns_its_output() {
    let server = Server::new();
    let elector = server.elector("a");
    let stop = CancellationToken::new();
    let output = elector
        .run(&stop, || async {
            sleep(Duration::from_secs(5)).await;
            "done"
        })
        .await;
    assert_eq!(output, Some("done"));
    assert_eq!(server.holder(), None);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_in_flight_while_stopping_does_not_keep_the_lease() {
    let server = Server::new();
    let mut replica = server.replica("a");
    replica.leads(true).await;
    // A renewal was applied, and its answer was still on the way when we were stopped.
    server.edit(|lease| lease["spec"]["leaseTransitions"] = json!(1));
    replica.stop().await;
    assert_eq!(server.holder(), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_of_the_process_work_is_dropped_before_it_is_polled_again() {
    let server = Server::new();
    let elector = server.elector("a");
    let stop = CancellationToken::new();
    let longest_gap = Mutex::new((Instant::now(), Duration::ZERO));
    let run = elector.run(&stop, || {
        longest_gap.lock().unwrap().0 = Instant::now();
        std::future::poll_fn::<(), _>(|context| {
            let mut gap = longest_gap.lock().unwrap();
            gap.1 = gap.1.max(gap.0.elapsed());
            gap.0 = Instant::now();
            // Always woken, like work with a lot to do.
            context.waker().wake_by_ref();
            Poll::Pending
        })
    });
    let mut run = pin!(run);
    for _ in 0..1000 {
        assert!(futures::poll!(run.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    advance(Duration::from_secs(60)).await;
    for _ in 0..1000 {
        assert!(futures::poll!(run.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(longest_gap.lock().unwrap().1 < TERMS.give_up_after());
    stop.cancel();
    assert!(run.await.is_none());
}

#[rstest::rstest]
#[case(Duration::from_secs(15), 15)]
#[case(Duration::from_millis(500), 1)]
#[case(Duration::from_millis(1500), 2)]
fn the_duration_that_others_wait_is_rounded_up(#[case] duration: Duration, #[case] seconds: i32) {
    assert_eq!(whole_seconds(duration), seconds);
}
