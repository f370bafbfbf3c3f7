//! Attempts to activate a secondary: applies by Flux, scaling by people, and new objects.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::site::FLUX;
use testbed::{eventually, fixtures};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{NAMESPACE, api_of, rule_of};

/// An attempt, and the stored object if it was admitted.
type Attempt = Pin<Box<dyn Future<Output = (String, kube::Result<Value>)> + Send>>;

/// The outcomes of all attempts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Stored as passive.
    pub(super) rewritten: usize,
    /// 403, by the backstop.
    pub(super) refused: usize,
    /// There was no API server to answer.
    pub(super) unavailable: usize,
    /// Stored as active, which must not happen.
    pub(super) active: Vec<String>,
}

impl Tally {
    #[track_caller]
    pub(super) fn expect_none_active(&self, fault: &str) {
        assert_eq!(self.active, Vec::<String>::new(), "{fault}: {self:?}");
        let tried = self.rewritten + self.refused > 0;
        assert!(tried, "{fault}: nobody tried: {self:?}");
    }

    fn count(&mut self, attempt: &str, result: kube::Result<Value>) {
        match result {
            Ok(stored) => {
                let rule = rule_of(&stored);
                let field = &rule.fields[0];
                let value = field.pointer.lookup(&stored);
                // A Scale omits zero.
                let zero = stored["scaled"] == json!(true) && value.is_none();
                if zero || field.is_passive(value) {
                    self.rewritten += 1;
                } else {
                    self.active.push(format!("{attempt}: {stored}"));
                }
            }
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let ours = status.message.contains("kubectl failover status");
                assert!(ours, "{attempt}: {}", status.message);
                self.refused += 1;
            }
            Err(kube::Error::Api(status)) if ![429, 500, 503, 504].contains(&status.code) => {
                panic!("{attempt}: {status:?}");
            }
            Err(_) => self.unavailable += 1,
        }
    }

    fn add(&mut self, other: Self) {
        self.rewritten += other.rewritten;
        self.refused += other.refused;
        self.unavailable += other.unavailable;
        self.active.extend(other.active);
    }
}

/// How many new objects were created so far.
static COMERS: AtomicUsize = AtomicUsize::new(0);

/// Makes every attempt once, all concurrently.
pub(super) async fn attack(client: &Client) -> Tally {
    let mut attempts = Vec::new();
    for manifest in fixtures::every_kind(NAMESPACE) {
        if rule_of(&manifest).scale {
            attempts.push(scale(client, manifest.clone()));
        }
        attempts.push(apply(client, manifest));
    }
    let name = format!("late-{}", COMERS.fetch_add(1, Ordering::Relaxed));
    attempts.push(create(client, fixtures::deployment(NAMESPACE, &name, 2)));
    attempts.push(create(
        client,
        fixtures::volume_replication(NAMESPACE, &name),
    ));
    let mut tally = Tally::default();
    for (attempt, result) in join_all(attempts).await {
        tally.count(&attempt, result);
    }
    tally
}

fn apply(client: &Client, manifest: Value) -> Attempt {
    let api = api_of(client, &manifest);
    Box::pin(async move {
        let params = PatchParams::apply(FLUX).force();
        let applied = api
            .patch(name(&manifest), &params, &Patch::Apply(&manifest))
            .await;
        (
            format!("apply {}", fixtures::label(&manifest)),
            applied.map(to_value),
        )
    })
}

fn create(client: &Client, manifest: Value) -> Attempt {
    let api = api_of(client, &manifest);
    Box::pin(async move {
        let object: DynamicObject = serde_json::from_value(manifest.clone()).unwrap();
        let created = api.create(&PostParams::default(), &object).await;
        (
            format!("create {}", fixtures::label(&manifest)),
            created.map(to_value),
        )
    })
}

fn scale(client: &Client, manifest: Value) -> Attempt {
    let api = api_of(client, &manifest);
    Box::pin(async move {
        let patch = Patch::Merge(json!({"spec": {"replicas": 4}}));
        let params = PatchParams::default();
        let scaled = api.patch_scale(name(&manifest), &params, &patch).await;
        let scaled = scaled.map(|scale| {
            let replicas = scale.spec.and_then(|spec| spec.replicas);
            json!({"kind": manifest["kind"], "scaled": true, "spec": {"replicas": replicas}})
        });
        (format!("scale {}", fixtures::label(&manifest)), scaled)
    })
}

fn name(manifest: &Value) -> &str {
    manifest["metadata"]["name"].as_str().unwrap()
}

fn to_value(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap()
}

/// One attack after the other, until it is called off.
pub(super) struct RepeatedAttack {
    rounds: watch::Receiver<usize>,
    ended: JoinHandle<Tally>,
    stop: DropGuard,
}

impl RepeatedAttack {
    pub(super) fn start(client: Client) -> Self {
        let stop = CancellationToken::new();
        let (count, rounds) = watch::channel(0);
        let stopped = stop.clone();
        let ended = tokio::spawn(async move {
            let mut all = Tally::default();
            while !stopped.is_cancelled() {
                all.add(attack(&client).await);
                count.send_modify(|count| *count += 1);
                // An API server that is down refuses connections at once, and needs the CPU to come back.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            all
        });
        Self {
            rounds,
            ended,
            stop: stop.drop_guard(),
        }
    }

    /// Waits for so many more attacks.
    pub(super) async fn rounds(&self, more: usize) {
        let until = *self.rounds.borrow() + more;
        eventually("further attacks", || async {
            let rounds = *self.rounds.borrow();
            if rounds >= until && !self.ended.is_finished() {
                Ok(())
            } else {
                Err(rounds)
            }
        })
        .await;
    }

    pub(super) async fn stop(self) -> Tally {
        drop(self.stop);
        self.ended.await.unwrap()
    }
}
