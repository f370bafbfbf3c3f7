//! Log lines: what changed in a transition since the last report.

use std::collections::BTreeMap;

use failover_core::api::{Site, Step, StepActivity, StepName, StepState, Transition};
use failover_core::transition::pause;
use jiff::{SignedDuration, Timestamp};

use super::table::{advice, not_waited_for, whole};
use super::{activity, count, paused, what};
use crate::output::words::words;
use crate::output::{Line, Tone, clean};

/// A shorter step is reported once, when it is done.
const BRIEF: SignedDuration = SignedDuration::from_secs(2);
/// How often a running step is reported again, if its count has changed.
const EVERY: SignedDuration = SignedDuration::from_secs(10);
/// How many of the objects that a step waits for are named.
const NAMED: usize = 3;

/// What was reported about a transition.
#[derive(Debug, Default)]
pub(super) struct LogLines {
    id: Option<String>,
    paused: bool,
    steps: BTreeMap<StepName, ReportedStep>,
}

/// What was reported about a step.
#[derive(Debug)]
struct ReportedStep {
    /// Since when it has been in this state, by the clock of this command.
    since: Timestamp,
    /// When it was last reported, and its progress then.
    last_report: Option<(Timestamp, Extent)>,
    state: StepState,
    activity: Option<StepActivity>,
}

/// The progress of a step, without the messages: these count seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Extent {
    done: i64,
    blockers: Vec<(String, Option<String>)>,
}

impl Extent {
    fn of(step: &Step) -> Self {
        Self {
            done: step.done,
            blockers: step
                .blocked
                .iter()
                .map(|b| (b.guard.clone(), b.object.clone()))
                .collect(),
        }
    }
}

impl LogLines {
    /// The lines to report now.
    pub(super) fn of(&mut self, site: &Site, now: Timestamp) -> Vec<Line> {
        let mut lines = Vec::new();
        let name = clean(&site.spec.site_name).into_owned();
        lines.extend(self.pause(&name, site, now));
        let transition = site.status.as_ref().and_then(|s| s.transition.as_ref());
        let Some(transition) = transition else {
            return lines;
        };
        if self.id.as_deref() != Some(transition.id.as_str()) {
            self.id = Some(transition.id.clone());
            self.steps.clear();
        }
        for step in &transition.steps {
            lines.extend(self.step(&name, transition, step, now));
        }
        lines
    }

    fn pause(&mut self, name: &str, site: &Site, now: Timestamp) -> Option<Line> {
        let pause = pause(site, now);
        if pause.is_some() == self.paused {
            return None;
        }
        self.paused = pause.is_some();
        Some(if let Some(pause) = pause {
            let text = format!(
                "site {name}: {}; nothing moves until: kubectl failover resume",
                paused(pause, now)
            );
            Line::new(Tone::Warning, text)
        } else {
            Line::new(Tone::Plain, format!("site {name}: resumed"))
        })
    }

    fn step(
        &mut self,
        name: &str,
        transition: &Transition,
        step: &Step,
        now: Timestamp,
    ) -> Option<Line> {
        if step.state == StepState::Pending {
            self.steps.remove(&step.name);
            return None;
        }
        let reported = self.steps.entry(step.name).or_insert_with(|| ReportedStep {
            since: now,
            last_report: None,
            state: step.state,
            activity: step.activity,
        });
        if reported.state != step.state || reported.activity != step.activity {
            *reported = ReportedStep {
                since: now,
                last_report: None,
                state: step.state,
                activity: step.activity,
            };
        }
        let extent = Extent::of(step);
        let due = match (step.state, &reported.last_report) {
            (StepState::Done | StepState::Blocked | StepState::Unknown(_), None) => true,
            (StepState::Running, None) => now.duration_since(reported.since) >= BRIEF,
            (StepState::Running | StepState::Blocked, Some((last_report, before))) => {
                *before != extent && now.duration_since(*last_report) >= EVERY
            }
            (StepState::Done | StepState::Unknown(_), Some(_)) | (StepState::Pending, _) => false,
        };
        if !due {
            return None;
        }
        reported.last_report = Some((now, extent));
        Some(line(name, transition, step))
    }
}

fn line(name: &str, transition: &Transition, step: &Step) -> Line {
    let place = transition.steps.iter().position(|s| s.name == step.name);
    let head = format!(
        "site {name}: {} {}/{} {}",
        words(transition.to).noun,
        place.map_or(0, |place| place + 1),
        transition.steps.len(),
        clean(step.name.as_str())
    );
    let counted = count(step);
    match step.state {
        StepState::Done => {
            let (from, to) = (step.started_at.as_ref(), step.finished_at.as_ref());
            let took = from.zip(to).map_or_else(String::new, |(from, to)| {
                format!(" in {}", whole(to.0.duration_since(from.0)))
            });
            let mut text = format!("{head}: done{took}{counted}");
            for line in not_waited_for(step) {
                text.push_str("\n  ");
                text.push_str(line.text.trim_start());
            }
            Line::new(Tone::Plain, text)
        }
        StepState::Blocked => {
            let mut text = format!("warning: {head}: blocked{counted}");
            for blocked in &step.blocked {
                text.push_str("\n  ");
                text.push_str(&what(blocked));
            }
            if let Some(advice) = advice(transition, step) {
                text.push_str("\n  ");
                text.push_str(&advice);
            }
            Line::new(Tone::Warning, text)
        }
        StepState::Unknown(word) => {
            let text = format!(
                "warning: {head}: {}: of a later version",
                clean(word.as_str())
            );
            Line::new(Tone::Warning, text)
        }
        StepState::Running | StepState::Pending => {
            let mut text = format!("{head}: {}{counted}", clean(activity(step)));
            for blocked in step.blocked.iter().take(NAMED) {
                text.push_str("\n  ");
                text.push_str(&what(blocked));
            }
            Line::new(Tone::Plain, text)
        }
    }
}
