//! A transition, step by step.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::journal::ObservedStep;
use crate::world::World;

/// Prints for each step how long it took, and how much of that it waited for the cluster. The rest is ours.
pub(crate) fn print(steps: &[ObservedStep], world: &World, ordered: Instant) {
    println!("  step         seconds  waiting  objects  changed  activities");
    let (mut waited, mut total) = (Duration::ZERO, Duration::ZERO);
    for step in steps {
        let took = step
            .ended
            .map_or(Duration::ZERO, |ended| ended - step.began);
        let done = world.done_at(step.name);
        let waiting = done.map(|at| at.saturating_duration_since(step.began).min(took));
        waited += waiting.unwrap_or_default();
        total += took;
        println!(
            "  {:<12} {:>7} {:>8} {:>8} {:>8}  {}",
            step.name.as_str(),
            seconds(took),
            waiting.map_or_else(String::new, seconds),
            step.total
                .map_or_else(String::new, |total| total.to_string()),
            step.changed,
            activities(step)
        );
    }
    let before = steps.first().map(|step| step.began - ordered);
    println!(
        "  {} s of {} s were waiting for the world; {} s passed from the order to the first step",
        seconds(waited),
        seconds(total),
        seconds(before.unwrap_or_default()),
    );
}

fn activities(step: &ObservedStep) -> String {
    let mut sums: BTreeMap<&str, Duration> = BTreeMap::new();
    for (activity, lasted) in &step.activities {
        *sums.entry(activity.phrase()).or_default() += *lasted;
    }
    let each = sums
        .iter()
        .map(|(phrase, lasted)| format!("{phrase} {}", seconds(*lasted)));
    each.collect::<Vec<_>>().join(", ")
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}
