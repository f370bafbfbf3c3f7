//! A plan in a few lines, above a question.

use failover_core::{Layer, Role};

use crate::connection::Connection;
use crate::output::words::words;
use crate::output::{clean, counted};
use crate::plan::{Plan, Planned};

/// How many of a kind are named before the rest is counted.
const NAMED: usize = 5;
/// How many objects are listed where no other command would list them.
const LISTED: usize = 20;

/// What a promotion or demotion of the site means.
pub fn of_change(plan: &Plan, connection: &Connection) -> String {
    let words = words(plan.role);
    let heading = format!(
        "The {} of site {} ({connection})",
        words.noun,
        clean(&plan.site)
    );
    let mut lines = vec![heading, changes(plan)];
    lines.extend(remarks(plan));
    lines.push(format!(
        "every object: kubectl failover plan {}",
        words.command
    ));
    lines.join("\n  ")
}

/// What it means for namespaces to come under a secondary site. They are not enrolled yet, so `plan` cannot list them.
pub fn of_arrival(plan: &Plan, connection: &Connection) -> String {
    let heading = format!(
        "Under site {}, which is secondary ({connection})",
        clean(&plan.site)
    );
    let mut lines = vec![heading, changes(plan)];
    let changed: Vec<String> = plan.changed().map(in_words).collect();
    lines.extend(
        changed
            .iter()
            .take(LISTED)
            .map(|object| format!("  {object}")),
    );
    if changed.len() > LISTED {
        lines.push(format!("  and {} more", changed.len() - LISTED));
    }
    lines.extend(remarks(plan));
    lines.extend(
        plan.hopeless
            .iter()
            .map(|(object, why)| format!("cannot be made passive: {object}: {}", clean(why))),
    );
    lines.join("\n  ")
}

fn in_words(planned: &Planned) -> String {
    let changes: Vec<_> = planned
        .item
        .rewrite
        .changes
        .iter()
        .map(ToString::to_string)
        .collect();
    clean(&format!("{} {}", planned.item.object, changes.join(", "))).into_owned()
}

fn changes(plan: &Plan) -> String {
    if plan.namespaces.is_empty() {
        return "changes nothing: no namespace is enrolled".to_owned();
    }
    let changed = plan.changed().count();
    let by_layer: Vec<_> = Layer::ALL
        .iter()
        .filter_map(|layer| {
            let of_layer = |planned: &&Planned| planned.item.layer == *layer;
            let count = plan.changed().filter(of_layer).count();
            (count > 0).then(|| format!("{layer} {count}"))
        })
        .collect();
    let by_layer = if by_layer.is_empty() {
        String::new()
    } else {
        format!(" ({})", by_layer.join(", "))
    };
    format!(
        "changes {changed} of {} in {}{by_layer}",
        counted(plan.objects, "object"),
        counted(plan.namespaces.len(), "namespace"),
    )
}

/// What a person should know besides.
fn remarks(plan: &Plan) -> Vec<String> {
    let missed: Vec<_> = plan
        .missed_runs
        .iter()
        .map(|(object, at)| format!("{object} (of {at})"))
        .collect();
    let (uncovered, published): (Vec<_>, Vec<_>) = match plan.role {
        Role::Secondary => (
            plan.uncovered
                .iter()
                .map(|u| u.object.to_string())
                .collect(),
            plan.published
                .iter()
                .map(|p| p.object.to_string())
                .collect(),
        ),
        Role::Primary => (Vec::new(), Vec::new()),
    };
    let held_jobs = |runs: bool| -> Vec<String> {
        plan.held_jobs_and_consent()
            .filter(|(_, consent)| *consent == runs)
            .map(|(job, _)| job.to_string())
            .collect()
    };
    let hooks: Vec<_> = plan
        .hooks
        .iter()
        .map(|held| held.object.to_string())
        .collect();
    let without_rule: Vec<_> = plan
        .without_rule
        .iter()
        .map(|without| {
            let count = counted(without.objects.len(), "object");
            format!("{} ({count}): {}", without.kind, without.command())
        })
        .collect();
    let deferred: Vec<_> = plan
        .deferred
        .iter()
        .map(|held| held.object.to_string())
        .collect();
    let orphaned: Vec<_> = plan
        .orphaned
        .iter()
        .map(|held| held.object.to_string())
        .collect();
    let not_waited_for: Vec<_> = plan
        .not_waited_for
        .iter()
        .map(|(object, _)| object.to_string())
        .collect();
    let unseen: Vec<_> = plan
        .unseen
        .iter()
        .map(|unseen| unseen.what.clone())
        .collect();
    [
        (
            if plan.batch.run_missed {
                "CronJobs that start a missed run at once (--run-missed)"
            } else {
                "CronJobs that missed a run and wait for the next (--run-missed starts it)"
            },
            missed,
        ),
        (
            "Jobs held since they were created, which now run (--run-held-jobs)",
            held_jobs(true),
        ),
        (
            "Jobs held since they were created, which stay so (--run-held-jobs runs them)",
            held_jobs(false),
        ),
        ("hook Jobs of Helm or Argo CD, which do not run", hooks),
        ("no rule covers these, but a ready rule would", without_rule),
        ("no rule covers these, they keep running", uncovered),
        (
            "no rule covers these, both sites publish their names",
            published,
        ),
        ("exemption requested, deferred until promotion", deferred),
        (
            "the installer of these is gone, they stay passive (kubectl failover plan promote says what to do)",
            orphaned,
        ),
        ("not waited for before traffic", not_waited_for),
        ("could not be read", unseen),
    ]
    .into_iter()
    .filter(|(_, names)| !names.is_empty())
    .map(|(what, names)| format!("{what}: {}", shortened(&names)))
    .collect()
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
