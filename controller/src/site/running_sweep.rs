//! A running sweep. The loop polls it while it waits, keeps observing, and drops it when it decides otherwise.
//!
//! It is not a task of its own: once the loop is dropped, as when leadership ends, nothing is written any more.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use failover_core::namespace::ObjectRoles;
use failover_core::transition::{EnrolledNamespace, SweepProgress, SweepReport};
use failover_core::{Layer, RuleSet};
use jiff::Timestamp;
use tokio::time::Instant;

use super::object_roles::in_force;
use crate::metrics::{Metrics, SweepLabels, WriterLabels};
use crate::sweep::progress::Progress;
use crate::sweep::{SweepError, Sweeper, Swept};

type Work = Pin<Box<dyn Future<Output = Result<Swept, SweepError>> + Send>>;

/// How often the progress of a sweep is written.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(1500);

pub struct Sweeping {
    /// The revision of the roles it enforces.
    pub revision: i64,
    /// The layers whose objects it sweeps.
    pub layers: &'static [Layer],
    /// The object roles that it enforces.
    pub objects: BTreeMap<String, ObjectRoles>,
    progress: Arc<Progress>,
    /// The progress that the status shows, and since when.
    shown: (SweepProgress, Instant),
    started: Instant,
    work: Work,
}

impl std::fmt::Debug for Sweeping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweeping")
            .field("revision", &self.revision)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl Sweeping {
    pub fn start(
        sweeper: &Sweeper,
        namespaces: &[EnrolledNamespace],
        rules: &RuleSet,
        revision: i64,
        layers: &'static [Layer],
    ) -> Self {
        let rules = rules.of_layers(layers);
        let progress = Arc::new(Progress::default());
        let (sweeper, counted) = (sweeper.clone(), Arc::clone(&progress));
        let swept = namespaces.to_vec();
        let work = Box::pin(async move { sweeper.sweep(&swept, &rules, &counted).await });
        let started = Instant::now();
        Self {
            revision,
            layers,
            objects: in_force(namespaces),
            progress,
            shown: (SweepProgress::default(), started),
            started,
            work,
        }
    }

    /// Continues the sweep to its end. Dropping this future pauses the sweep.
    pub async fn finish(&mut self) -> Result<Swept, SweepError> {
        (&mut self.work).await
    }

    /// Its progress, as the status shows it.
    pub fn shown(&self) -> SweepProgress {
        self.shown.0
    }

    /// Updates the shown progress if that is due. Returns when it is due next: now, if there is new progress.
    pub fn show(&mut self, now: Instant) -> Instant {
        let (before, since) = self.shown;
        if now < since + PROGRESS_EVERY {
            return since + PROGRESS_EVERY;
        }
        let progress = self.progress.read();
        self.shown = (progress, now);
        if progress == before {
            now + PROGRESS_EVERY
        } else {
            now
        }
    }

    pub fn took(&self) -> Duration {
        self.started.elapsed()
    }

    /// Its report, which continues the count of an earlier sweep under the same revision.
    pub fn report(
        &self,
        earlier: Option<&SweepReport>,
        swept: &Swept,
        finished_at: Timestamp,
    ) -> SweepReport {
        let before = earlier
            .filter(|report| report.revision == self.revision)
            .map_or(0, |report| report.changed);
        SweepReport {
            revision: self.revision,
            layers: self.layers,
            total: swept.total,
            changed: before + swept.changed(),
            left: swept.left,
            blocked: swept.blocked.clone(),
            finished_at,
        }
    }
}

/// Counts a sweep in the metrics.
pub fn count(
    metrics: &Metrics,
    layers: &[Layer],
    result: Result<&Swept, &SweepError>,
    took: Duration,
) {
    let label = match result {
        Err(_) => "failed",
        Ok(swept) if swept.left > 0 => "blocked",
        Ok(swept) if swept.changed() > 0 => "corrected",
        Ok(_) => "clean",
    };
    metrics
        .sweeps
        .get_or_create(&SweepLabels {
            result: label.to_owned(),
        })
        .inc();
    let Ok(swept) = result else { return };
    metrics.sweep_duration.observe(took.as_secs_f64());
    metrics.nonconforming_objects.set(swept.left);
    if layers == Layer::ALL {
        metrics.forced_objects.set(swept.forced);
    }
    for (by, objects) in [
        ("webhook", swept.readmitted),
        ("controller", swept.rewritten),
    ] {
        let labels = WriterLabels { by: by.to_owned() };
        metrics
            .objects_rewritten
            .get_or_create(&labels)
            .inc_by(u64::try_from(objects).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_counts_the_changes_of_all_its_sweeps() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let swept = |rewritten| Swept {
            total: 9,
            rewritten,
            ..Swept::default()
        };
        let sweeping = |revision| Sweeping {
            revision,
            layers: &Layer::ALL,
            objects: BTreeMap::new(),
            progress: Arc::default(),
            shown: (SweepProgress::default(), Instant::now()),
            started: Instant::now(),
            work: Box::pin(std::future::pending()),
        };
        let first = sweeping(4).report(None, &swept(3), at);
        assert_eq!(first.changed, 3);
        assert_eq!(sweeping(4).report(Some(&first), &swept(2), at).changed, 5);
        assert_eq!(
            sweeping(5).report(Some(&first), &swept(2), at).changed,
            2,
            "a new revision counts anew"
        );
    }

    #[test]
    fn sweeps_are_counted_by_result() {
        let metrics = Metrics::new();
        count(
            &metrics,
            &Layer::ALL,
            Ok(&Swept::default()),
            Duration::from_millis(30),
        );
        count(
            &metrics,
            &Layer::ALL,
            Ok(&Swept {
                forced: 4,
                readmitted: 2,
                rewritten: 1,
                left: 1,
                ..Swept::default()
            }),
            Duration::from_millis(30),
        );
        let text = metrics.encode().unwrap();
        for line in [
            "failover_sweeps_total{result=\"clean\"} 1",
            "failover_sweeps_total{result=\"blocked\"} 1",
            "failover_objects_rewritten_total{by=\"webhook\"} 2",
            "failover_objects_rewritten_total{by=\"controller\"} 1",
            "failover_nonconforming_objects 1",
            "failover_held_objects 4",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
