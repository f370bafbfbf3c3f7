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
pub(crate) struct ObservedStep {
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
pub(crate) async fn follow(client: Client) -> Vec<ObservedStep> {
    let sites: Api<Site> = Api::all(client);
    let stream = watcher(sites, watcher::Config::default())
        .default_backoff()
        .applied_objects();
    let mut stream = pin!(stream);
    let mut steps: Vec<ObservedStep> = vec![];
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
                let known: i64 = steps.iter().map(|observed| observed.changed).sum();
                if let Some(last) = steps.last_mut() {
                    last.changed += entry.objects - known;
                }
                for observed in steps.iter_mut().filter(|observed| observed.ended.is_none()) {
                    observed.until(now);
                    observed.total = None;
                    observed.ended = Some(now);
                }
                return steps;
            }
            (None, None) => {}
        }
    }
}

fn note(steps: &mut Vec<ObservedStep>, step: &Step, now: Instant) {
    if step.state == StepState::Pending {
        return;
    }
    if !steps.iter().any(|observed| observed.name == step.name) {
        steps.push(ObservedStep {
            name: step.name,
            began: now,
            ended: None,
            total: None,
            changed: 0,
            activities: vec![],
            seen: now,
        });
    }
    let found = steps.iter_mut().find(|observed| observed.name == step.name);
    let Some(observed) = found.filter(|observed| observed.ended.is_none()) else {
        return;
    };
    observed.until(now);
    observed.total = Some(step.total);
    observed.changed = step.changed;
    if step.state == StepState::Done {
        observed.ended = Some(now);
    } else if let Some(activity) = step.activity
        && observed
            .activities
            .last()
            .is_none_or(|(last, _)| *last != activity)
    {
        observed.activities.push((activity, Duration::ZERO));
    }
}

impl ObservedStep {
    /// Its last activity continued until now.
    fn until(&mut self, now: Instant) {
        if let Some((_, lasted)) = self.activities.last_mut() {
            *lasted += now - self.seen;
        }
        self.seen = now;
    }
}
