//! A transition from its journal, with the times of a watch: the journal's own times are full seconds.

use std::pin::pin;
use std::time::{Duration, Instant};

use failover_core::api::{Site, Step, StepActivity, StepName, StepState};
use futures::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};

/// One observed step.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) name: StepName,
    pub(crate) began: Instant,
    pub(crate) ended: Option<Instant>,
    /// The number of its objects; unknown for steps that ended together with the transition.
    pub(crate) total: Option<i64>,
    pub(crate) changed: i64,
    /// Its activities in order, with their durations.
    pub(crate) activities: Vec<(StepActivity, Duration)>,
    seen: Instant,
}

/// Watches until the next transition has ended.
pub(crate) async fn follow(client: Client) -> Vec<Passed> {
    let sites: Api<Site> = Api::all(client);
    let stream = watcher(sites, watcher::Config::default())
        .default_backoff()
        .applied_objects();
    let mut stream = pin!(stream);
    let mut steps: Vec<Passed> = vec![];
    let mut newest_before = None;
    loop {
        let status = stream.next().await.unwrap().unwrap().status;
        let (now, status) = (Instant::now(), status.unwrap_or_default());
        let newest = status.history.first();
        let before = newest_before.get_or_insert_with(|| newest.map(|entry| entry.id.clone()));
        let finished = newest.filter(|entry| Some(&entry.id) != before.as_ref());
        match (&status.transition, finished) {
            (Some(transition), _) => {
                for step in &transition.steps {
                    note(&mut steps, step, now);
                }
            }
            // Its last steps end together with it.
            (None, Some(entry)) => {
                let known: i64 = steps.iter().map(|passed| passed.changed).sum();
                if let Some(last) = steps.last_mut() {
                    last.changed += entry.objects - known;
                }
                for passed in steps.iter_mut().filter(|passed| passed.ended.is_none()) {
                    passed.until(now);
                    passed.total = None;
                    passed.ended = Some(now);
                }
                return steps;
            }
            (None, None) => {}
        }
    }
}

fn note(steps: &mut Vec<Passed>, step: &Step, now: Instant) {
    if step.state == StepState::Pending {
        return;
    }
    if !steps.iter().any(|passed| passed.name == step.name) {
        steps.push(Passed {
            name: step.name,
            began: now,
            ended: None,
            total: None,
            changed: 0,
            activities: vec![],
            seen: now,
        });
    }
    let found = steps.iter_mut().find(|passed| passed.name == step.name);
    let Some(passed) = found.filter(|passed| passed.ended.is_none()) else {
        return;
    };
    passed.until(now);
    passed.total = Some(step.total);
    passed.changed = step.changed;
    if step.state == StepState::Done {
        passed.ended = Some(now);
    } else if let Some(activity) = step.activity
        && passed
            .activities
            .last()
            .is_none_or(|(last, _)| *last != activity)
    {
        passed.activities.push((activity, Duration::ZERO));
    }
}

impl Passed {
    /// Its last activity continued until now.
    fn until(&mut self, now: Instant) {
        if let Some((_, lasted)) = self.activities.last_mut() {
            *lasted += now - self.seen;
        }
        self.seen = now;
    }
}
