//! How long transitions take, and each of their steps.

use failover_core::Role;
use failover_core::api::{Outcome, SiteStatus, StepName, StepState};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// `outcome` is `succeeded` or `superseded`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabels {
    pub to: String,
    pub outcome: String,
}

/// `step` is one of the Site's `status.transition.steps[].name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    pub to: String,
    pub step: String,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct TransitionMetrics {
    transition_duration: Family<TransitionLabels, Histogram, fn() -> Histogram>,
    step_duration: Family<StepLabels, Histogram, fn() -> Histogram>,
}

impl TransitionMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let transition_duration =
            Family::new_with_constructor(duration_histogram as fn() -> Histogram);
        registry.register_with_unit(
            "transition_duration",
            "Duration of transitions, from the request to the end",
            Unit::Seconds,
            transition_duration.clone(),
        );
        let step_duration = Family::new_with_constructor(duration_histogram as fn() -> Histogram);
        registry.register_with_unit(
            "step_duration",
            "How long the steps of transitions took",
            Unit::Seconds,
            step_duration.clone(),
        );
        Self {
            transition_duration,
            step_duration,
        }
    }

    /// Counts what has ended between two statuses: transitions, and steps of the running one.
    pub fn count_ended(&self, before: &SiteStatus, after: &SiteStatus) {
        let ended = after
            .history
            .iter()
            .take_while(|entry| before.history.first() != Some(*entry));
        for entry in ended {
            let outcome = match &entry.outcome {
                Outcome::Succeeded => "succeeded",
                Outcome::Superseded => "superseded",
                Outcome::Unknown(word) => word.as_str(),
            };
            let labels = TransitionLabels {
                to: entry.to.to_string(),
                outcome: outcome.to_owned(),
            };
            self.transition_duration
                .get_or_create(&labels)
                .observe(seconds(&entry.started_at, &entry.finished_at));
            // The last steps end together with their transition.
            let running = before.transition.as_ref().filter(|t| t.id == entry.id);
            let known = |name| {
                running.is_some_and(|t| {
                    let step = t.steps.iter().find(|step| step.name == name);
                    step.is_some_and(|step| step.state == StepState::Done)
                })
            };
            for step in entry.steps.iter().filter(|step| !known(step.name)) {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a transition takes less than 2^52 seconds"
                )]
                self.step_took(entry.to, step.name, step.seconds as f64);
            }
        }
        let Some(transition) = &after.transition else {
            return;
        };
        for step in transition
            .steps
            .iter()
            .filter(|step| step.state == StepState::Done)
        {
            let before = before.transition.iter().filter(|t| t.id == transition.id);
            let mut before = before
                .flat_map(|t| &t.steps)
                .filter(|s| s.name == step.name);
            if before.any(|s| s.state == StepState::Done) {
                continue;
            }
            if let (Some(from), Some(to)) = (&step.started_at, &step.finished_at) {
                self.step_took(transition.to, step.name, seconds(from, to));
            }
        }
    }

    fn step_took(&self, to: Role, step: StepName, seconds: f64) {
        let labels = StepLabels {
            to: to.to_string(),
            step: step.as_str().to_owned(),
        };
        self.step_duration.get_or_create(&labels).observe(seconds);
    }
}

/// 0.5 s to more than an hour.
fn duration_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.5, 2.0, 14))
}

fn seconds(from: &Time, to: &Time) -> f64 {
    to.0.duration_since(from.0).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(value: serde_json::Value) -> SiteStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn each_step_and_each_transition_is_counted_once_when_it_ends() {
        let mut registry = Registry::with_prefix("failover");
        let metrics = TransitionMetrics::register(&mut registry);
        let step = |name: &str, state: &str| json!({"name": name, "state": state, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:04Z"});
        let running = |steps: serde_json::Value| {
            status(json!({"transition": {
                "id": "1", "to": "secondary", "epoch": 1, "startedAt": "2026-01-01T00:00:00Z", "steps": steps
            }}))
        };
        let started = running(json!([
            step("traffic", "Running"),
            step("gitops", "Pending")
        ]));
        let advanced = running(json!([step("traffic", "Done"), step("gitops", "Running")]));
        let ended = status(json!({"history": [{
            "id": "1", "to": "secondary", "epoch": 1, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:08Z",
            "steps": [{"name": "traffic", "seconds": 4}, {"name": "gitops", "seconds": 4}], "outcome": "Succeeded"
        }]}));
        for pair in [
            (&started, &advanced),
            (&advanced, &advanced),
            (&advanced, &ended),
            (&ended, &ended),
        ] {
            metrics.count_ended(pair.0, pair.1);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "failover_step_duration_seconds_count{to=\"secondary\",step=\"traffic\"} 1",
            "failover_step_duration_seconds_sum{to=\"secondary\",step=\"gitops\"} 4.0",
            "failover_transition_duration_seconds_sum{to=\"secondary\",outcome=\"succeeded\"} 8.0",
            "failover_transition_duration_seconds_count{to=\"secondary\",outcome=\"succeeded\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
