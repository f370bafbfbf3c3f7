//! A steady stream of writes that a secondary has to rewrite, and their outcomes.

use std::time::{Duration, Instant};

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use testbed::fixtures;
use testbed::site::FLUX;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// 200 a second.
const EVERY: Duration = Duration::from_millis(5);

/// A machine that is too slow for that writes less instead of falling further behind.
const UNDER_WAY: usize = 16;

/// Far longer than the API server takes, whatever a webhook does.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Enough objects that concurrent writes hardly ever have the same one.
const OBJECTS: usize = 50;

/// When a refused write is retried.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

const BURST: usize = 2 * OBJECTS;

/// Writes until it is ended.
pub(crate) struct Load {
    stop: CancellationToken,
    writing: JoinHandle<Tally>,
}

/// The outcomes of the writes.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Stored, or dry run, as passive: at once or on a retry.
    rewritten: usize,
    /// Those of them that the backstop refused at first, because no replica had rewritten them.
    pub(crate) refused_at_first: usize,
    /// Let through unchanged.
    unrewritten: Vec<String>,
    /// Anything else.
    lost: Vec<String>,
    took: Vec<Duration>,
    lasted: Duration,
}

enum End {
    Rewritten { refused_at_first: bool },
    Unrewritten(String),
    Lost(String),
}

impl Load {
    /// Starts to write into a namespace; every second write is stored, the others are dry runs, as Flux makes them.
    pub(crate) fn start(client: &Client, namespace: &str) -> Self {
        let stop = CancellationToken::new();
        let writers = Writers::new(client, namespace);
        let writing = tokio::spawn(writers.write_until(stop.clone()));
        Self { stop, writing }
    }

    /// Many writes at once.
    pub(crate) async fn burst(client: &Client, namespace: &str) -> Tally {
        let writers = Writers::new(client, namespace);
        let writes = (0..BURST).map(|number| writers.write(number));
        let mut tally = Tally::default();
        for (end, took) in writes.collect::<JoinSet<_>>().join_all().await {
            tally.add(end, took);
        }
        tally
    }

    /// Ends it and waits for pending writes.
    pub(crate) async fn end(self) -> Tally {
        self.stop.cancel();
        self.writing.await.unwrap()
    }
}

impl Tally {
    /// Asserts that every write succeeded at once and was rewritten.
    #[track_caller]
    pub(crate) fn expect_all_rewritten(&self, during: &str) {
        self.expect_none_lost(during);
        assert_eq!(self.refused_at_first, 0, "{during}");
    }

    /// Asserts that every write succeeded, perhaps on a retry, and was rewritten.
    #[track_caller]
    pub(crate) fn expect_none_lost(&self, during: &str) {
        self.print(during);
        assert!(
            self.unrewritten.is_empty() && self.lost.is_empty(),
            "{during}: {:#?} {:#?}",
            self.unrewritten,
            self.lost
        );
    }

    #[expect(clippy::print_stderr, reason = "the figures are for the reader")]
    fn print(&self, during: &str) {
        let mut took = self.took.clone();
        took.sort();
        let at = |share: usize| took[(took.len() - 1) * share / 1000];
        eprintln!(
            "{during}: {} writes in {:.1?}, {} rewritten ({} refused at first), {} not, {} lost; p50 {:.1?}, p99 {:.1?}, longest {:.1?}",
            took.len(),
            self.lasted,
            self.rewritten,
            self.refused_at_first,
            self.unrewritten.len(),
            self.lost.len(),
            at(500),
            at(990),
            at(1000),
        );
    }

    fn add(&mut self, end: End, took: Duration) {
        self.took.push(took);
        match end {
            End::Rewritten { refused_at_first } => {
                self.rewritten += 1;
                self.refused_at_first += usize::from(refused_at_first);
            }
            End::Unrewritten(what) => self.unrewritten.push(what),
            End::Lost(why) => self.lost.push(why),
        }
    }
}

struct Writers {
    namespace: String,
    deployments: Api<DynamicObject>,
    cron_jobs: Api<DynamicObject>,
}

impl Writers {
    fn new(client: &Client, namespace: &str) -> Self {
        let api = |group, kind| {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
            Api::namespaced_with(client.clone(), namespace, &resource)
        };
        Self {
            namespace: namespace.to_owned(),
            deployments: api("apps", "Deployment"),
            cron_jobs: api("batch", "CronJob"),
        }
    }

    async fn write_until(self, stop: CancellationToken) -> Tally {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut under_way = JoinSet::new();
        let mut tally = Tally::default();
        let started = Instant::now();
        for number in 0.. {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => break,
            }
            under_way.spawn(self.write(number));
            while under_way.len() >= UNDER_WAY {
                let (end, took) = under_way.join_next().await.expect("some are").unwrap();
                tally.add(end, took);
            }
        }
        tally.lasted = started.elapsed();
        for (end, took) in under_way.join_all().await {
            tally.add(end, took);
        }
        tally
    }

    fn write(&self, number: usize) -> impl Future<Output = (End, Duration)> + use<> {
        let name = format!("load-{}", number / 2 % OBJECTS);
        let params = PatchParams::apply(FLUX).force();
        let (api, mut object, params, passive) = if number.is_multiple_of(2) {
            let object = fixtures::cron_job(&self.namespace, &name);
            (&self.cron_jobs, object, params, ("suspend", json!(true)))
        } else {
            let object = fixtures::deployment(&self.namespace, &name, 3);
            let dry = params.dry_run();
            (&self.deployments, object, dry, ("replicas", json!(0)))
        };
        object["metadata"]["annotations"] = json!({"revision": number.to_string()});
        let api = api.clone();
        async move {
            let started = Instant::now();
            let patch = Patch::Apply(&object);
            let carried_out = carry_out(|| api.patch(&name, &params, &patch), passive);
            let end = timeout(ANSWERED_WITHIN, carried_out)
                .await
                .unwrap_or_else(|late| End::Lost(late.to_string()));
            (end, started.elapsed())
        }
    }
}

/// Retries what the backstop refuses, as Flux does.
async fn carry_out<F>(mut write: impl FnMut() -> F, (field, passive): (&str, Value)) -> End
where
    F: Future<Output = kube::Result<DynamicObject>>,
{
    let mut refused_at_first = false;
    loop {
        match write().await {
            Ok(stored) if stored.data["spec"][field] == passive => {
                return End::Rewritten { refused_at_first };
            }
            Ok(stored) => return End::Unrewritten(stored.data["spec"].to_string()),
            Err(kube::Error::Api(status)) if is_of_backstop(&status) => {
                refused_at_first = true;
                sleep(AGAIN_AFTER).await;
            }
            Err(error) => return End::Lost(error.to_string()),
        }
    }
}

fn is_of_backstop(status: &kube::core::Status) -> bool {
    status.code == 403 && status.message.contains("ValidatingAdmissionPolicy")
}
