//! The loop over the steps of a journal, of a site or of a FailoverPolicy.
//!
//! ```text
//!   the first step that is not Done
//!        ├─ Pending ─► begin   orders the roles of the step; they come into force once the journal is written
//!        ├─► work              the state of the step, and its act
//!        │     ├─ an act    ─► recorded as Running or Blocked; the act follows once that is written
//!        │     └─ no act    ─► Done ─► end ─► the next step
//!        └─ no task: a later version wrote it; the transition waits for that version, or for a new order
//! ```

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::size;
use crate::api::{Blocked, NotWaitedFor, Step, StepActivity, StepState};

/// The owner of the steps.
pub(crate) trait Subject {
    /// The work of a step.
    type Task: Copy;
    /// The acts that a step may need.
    type Act;

    fn now(&self) -> Timestamp;

    /// The steps of its journal, in order.
    fn steps(&mut self) -> &mut [Step];

    /// `None`: a later version has written the step.
    fn task(&self, step: &Step) -> Option<Self::Task>;

    /// Begins a pending step. It is marked as running already.
    fn begin(&mut self, index: usize, task: Self::Task);

    /// The state of a step that has begun.
    fn work(&mut self, index: usize, task: Self::Task) -> StepOutcome<Self::Act>;

    /// Called when a step is done.
    fn end(&mut self, _index: usize) {}
}

/// The state of a step, and the act that it needs; no act: it is done.
#[derive(Debug)]
pub(crate) struct StepOutcome<Act> {
    pub total: i64,
    pub done: i64,
    pub activity: Option<StepActivity>,
    pub blocked: Vec<Blocked>,
    pub not_waited_for: Vec<NotWaitedFor>,
    /// A person has to act.
    pub stalled: bool,
    pub act: Option<Act>,
}

impl<Act> Default for StepOutcome<Act> {
    fn default() -> Self {
        Self {
            total: 0,
            done: 0,
            activity: None,
            blocked: vec![],
            not_waited_for: vec![],
            stalled: false,
            act: None,
        }
    }
}

/// The result of a pass through the steps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Advanced<Act> {
    /// The last step is done.
    Done,
    /// The act for a running step.
    Running(Act),
    /// The act for a step that needs a person.
    Stalled(Act),
    /// A later version wrote the next step.
    Unknown,
}

impl<Act> Advanced<Act> {
    /// The act, and whether a person has to act; `None`: the last step is done. Before a step of a later version the
    /// only act is `wait`.
    pub(super) fn act(self, wait: impl FnOnce() -> Act) -> Option<(Act, bool)> {
        match self {
            Self::Done => None,
            Self::Running(act) => Some((act, false)),
            Self::Stalled(act) => Some((act, true)),
            Self::Unknown => Some((wait(), true)),
        }
    }
}

/// Advances the steps as far as the observation allows.
pub(crate) fn advance<S: Subject>(subject: &mut S) -> Advanced<S::Act> {
    loop {
        let now = subject.now();
        let steps = subject.steps();
        let Some(index) = steps.iter().position(|step| step.state != StepState::Done) else {
            return Advanced::Done;
        };
        let step = steps[index].clone();
        let known = subject.task(&step).filter(|_| !step.is_unknown());
        let Some(task) = known else {
            return Advanced::Unknown;
        };
        if step.state == StepState::Pending {
            let step = &mut subject.steps()[index];
            step.state = StepState::Running;
            step.started_at.get_or_insert(Time(now));
            subject.begin(index, task);
        }
        let outcome = subject.work(index, task);
        let step = &mut subject.steps()[index];
        let Some(act) = note(step, outcome, now) else {
            subject.end(index);
            continue;
        };
        return if step.state == StepState::Blocked {
            Advanced::Stalled(act)
        } else {
            Advanced::Running(act)
        };
    }
}

/// Records the state of a step in the journal, and returns its act; `None`: it is done.
fn note<Act>(step: &mut Step, outcome: StepOutcome<Act>, now: Timestamp) -> Option<Act> {
    step.total = outcome.total;
    step.done = outcome.done;
    step.blocked = outcome.blocked;
    size::cut_blocked(&mut step.blocked);
    step.not_waited_for = outcome.not_waited_for;
    if outcome.act.is_none() {
        step.state = StepState::Done;
        step.activity = None;
        step.finished_at = Some(Time(now));
        return None;
    }
    step.activity = outcome.activity;
    step.state = if outcome.stalled {
        StepState::Blocked
    } else {
        StepState::Running
    };
    outcome.act
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Steps that take one act each, except those that are done at once.
    struct Errands {
        steps: Vec<Step>,
        at_once: &'static [usize],
        stalled: bool,
        log: Vec<String>,
    }

    impl Subject for Errands {
        type Task = ();
        type Act = usize;

        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn steps(&mut self) -> &mut [Step] {
            &mut self.steps
        }

        fn task(&self, _: &Step) -> Option<()> {
            Some(())
        }

        fn begin(&mut self, index: usize, (): ()) {
            self.log.push(format!("begin {index}"));
        }

        fn work(&mut self, index: usize, (): ()) -> StepOutcome<usize> {
            StepOutcome {
                activity: Some(StepActivity::Waiting),
                stalled: self.stalled,
                act: (!self.at_once.contains(&index)).then_some(index),
                ..StepOutcome::default()
            }
        }

        fn end(&mut self, index: usize) {
            self.log.push(format!("end {index}"));
        }
    }

    fn errands(names: &[&str], at_once: &'static [usize]) -> Errands {
        let step = |name: &&str| {
            serde_json::from_value(json!({"name": name, "state": "Pending"})).unwrap()
        };
        Errands {
            steps: names.iter().map(step).collect(),
            at_once,
            stalled: false,
            log: vec![],
        }
    }

    #[test]
    fn a_step_begins_once_and_the_next_one_when_it_is_done() {
        let mut errands = errands(&["guards", "traffic"], &[]);
        assert_eq!(advance(&mut errands), Advanced::Running(0));
        assert_eq!(advance(&mut errands), Advanced::Running(0));
        assert_eq!(errands.steps[0].activity, Some(StepActivity::Waiting));
        errands.at_once = &[0];
        assert_eq!(advance(&mut errands), Advanced::Running(1));
        assert_eq!(errands.steps[0].activity, None);
        errands.at_once = &[1];
        assert_eq!(advance(&mut errands), Advanced::Done);
        assert_eq!(errands.log, ["begin 0", "end 0", "begin 1", "end 1"]);
        assert!(errands.steps.iter().all(|step| step.finished_at.is_some()));
    }

    #[test]
    fn a_stalled_step_is_blocked_until_it_advances() {
        let mut errands = errands(&["guards"], &[]);
        errands.stalled = true;
        assert_eq!(advance(&mut errands), Advanced::Stalled(0));
        assert_eq!(errands.steps[0].state, StepState::Blocked);
        errands.stalled = false;
        assert_eq!(advance(&mut errands), Advanced::Running(0));
        assert_eq!(errands.log, ["begin 0"]);
    }

    #[test]
    fn a_step_of_a_later_version_stops_the_loop() {
        let mut errands = errands(&["guards", "quiesce", "traffic"], &[0, 2]);
        assert_eq!(advance(&mut errands), Advanced::Unknown);
        assert_eq!(errands.steps[1].state, StepState::Pending);
        assert_eq!(errands.log, ["begin 0", "end 0"]);
    }
}
