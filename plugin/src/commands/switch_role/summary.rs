//! A plan in a few lines, above a question.

use std::fmt::Write as _;

use failover_core::{Layer, Role};

use super::words;
use crate::connection::Connection;
use crate::output::clean;
use crate::preview::Plan;

/// How many of a kind are named before the rest is counted.
const NAMED: usize = 5;

pub fn summary(plan: &Plan, connection: &Connection) -> String {
    let words = words(plan.role);
    let mut text = format!(
        "The {} of site {} ({connection})",
        words.noun,
        clean(&plan.site)
    );
    let changed = plan.changed().count();
    let _ = match plan.namespaces.len() {
        0 => write!(text, "\n  changes nothing: no namespace is enrolled"),
        n => write!(
            text,
            "\n  changes {changed} of {} objects in {n} enrolled namespace{}{}",
            plan.objects,
            s(n),
            by_layer(plan)
        ),
    };
    let mut line = |count: usize, what: String, names: Vec<String>| {
        if count > 0 {
            let _ = write!(text, "\n  {what}: {}", shortened(&names));
        }
    };
    let missed: Vec<_> = plan
        .missed_runs
        .iter()
        .map(|(object, at)| format!("{object} (of {at})"))
        .collect();
    line(
        missed.len(),
        format!(
            "{} CronJob{} start a missed run at once",
            missed.len(),
            s(missed.len())
        ),
        missed,
    );
    let held: Vec<_> = plan.held_jobs().map(ToString::to_string).collect();
    line(
        held.len(),
        format!(
            "{} Job{} held: created on a standby, never run",
            held.len(),
            s(held.len())
        ),
        held,
    );
    if plan.role == Role::Secondary {
        let uncovered: Vec<_> = plan
            .uncovered
            .iter()
            .map(|u| u.object.to_string())
            .collect();
        line(
            uncovered.len(),
            format!(
                "{} thing{} no rule reaches and that run on",
                uncovered.len(),
                s(uncovered.len())
            ),
            uncovered,
        );
    }
    let unseen: Vec<_> = plan.unseen.iter().map(|u| u.what.clone()).collect();
    line(unseen.len(), "could not be looked at".to_owned(), unseen);
    let _ = write!(
        text,
        "\n  every object: kubectl failover plan {}",
        words.command
    );
    text
}

fn by_layer(plan: &Plan) -> String {
    let counts: Vec<_> = Layer::ALL
        .iter()
        .filter_map(|layer| {
            let count = plan
                .changed()
                .filter(|planned| planned.item.layer == *layer)
                .count();
            (count > 0).then(|| format!("{layer} {count}"))
        })
        .collect();
    if counts.is_empty() {
        String::new()
    } else {
        format!(" ({})", counts.join(", "))
    }
}

fn shortened(names: &[String]) -> String {
    let named: Vec<_> = names
        .iter()
        .take(NAMED)
        .map(|name| clean(name).into_owned())
        .collect();
    match names.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn s(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
