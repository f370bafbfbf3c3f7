//! How a plan is printed: as a table with remarks, as a diff, or as a document.

mod document;

use failover_core::Role;
use failover_core::admission::rewrite::Note;
use failover_core::guards::{GuardId, Hold};
use failover_core::names::CONTROLLER_MANAGER;
use serde::{Serialize, Serializer};
use serde_json::Value;

use self::document::PlanDocument;
use crate::output::diff::unified;
use crate::output::words::words;
use crate::output::{PlanFormat, Report, Screen, Table, Tone, clean, counted};
use crate::plan::{HOOKS_HINT, Plan, Planned};

/// How many objects of a kind are named before the rest is counted.
const NAMED: usize = 5;

pub(super) fn print(plan: &Plan, format: PlanFormat, screen: &Screen) {
    if let Some(format) = format.plain() {
        PlanReport(plan).print(format, screen);
        return;
    }
    for planned in plan.changed() {
        let name = planned.item.object.to_string();
        let diff = unified(&clean(&name), &planned.before, &planned.item.after);
        screen.data(diff.trim_end_matches('\n'));
    }
    remarks(plan, screen);
}

/// The report of a plan.
struct PlanReport<'a>(&'a Plan);

impl Serialize for PlanReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PlanDocument::of(self.0).serialize(serializer)
    }
}

impl Report for PlanReport<'_> {
    const KIND: &'static str = "Plan";

    fn names(&self) -> Vec<String> {
        let changed = self.0.changed().map(|planned| &planned.item.object);
        changed
            .map(|object| clean(&object.to_string()).into_owned())
            .collect()
    }

    fn text(&self, wide: bool, screen: &Screen) {
        let table = table(self.0, wide);
        if !table.is_empty() {
            screen.data(&table.to_string());
        }
        remarks(self.0, screen);
    }
}

fn table(plan: &Plan, wide: bool) -> Table {
    let header = [
        "NAMESPACE",
        "OBJECT",
        "FIELD",
        "NOW",
        "THEN",
        "LAYER",
        "KIND",
        "NOTES",
    ];
    let columns = if wide { header.len() } else { 5 };
    let mut table = Table::new(&header[..columns]);
    for planned in plan.changed() {
        let item = &planned.item;
        let object = format!("{}/{}", item.object.resource, item.object.name);
        let mut row = |field: String, before: String, after: String| {
            let cells = [
                item.object.namespace.clone(),
                object.clone(),
                field,
                before,
                after,
                item.layer.to_string(),
                item.kind.clone(),
                notes(planned).join("; "),
            ];
            table.row(&cells[..columns]);
        };
        if item.rewrite.only_gives_back() {
            row(
                "managedFields".to_owned(),
                CONTROLLER_MANAGER.to_owned(),
                value(None),
            );
        } else if item.rewrite.changes.is_empty() {
            row(
                "record".to_owned(),
                "stale".to_owned(),
                "repaired".to_owned(),
            );
        }
        for change in &item.rewrite.changes {
            row(
                change.pointer.to_string(),
                value(change.before.as_ref()),
                value(change.after.as_ref()),
            );
        }
    }
    table
}

/// What is printed beside the table: on stderr, so that stdout has the table only.
fn remarks(plan: &Plan, screen: &Screen) {
    let words = words(plan.role);
    let noted: Vec<String> = plan
        .items
        .iter()
        .map(|planned| (&planned.item.object, other_notes(planned)))
        .filter(|(_, notes)| !notes.is_empty())
        .map(|(object, notes)| format!("{object}: {}", notes.join("; ")))
        .collect();
    let hopeless = plan
        .hopeless
        .iter()
        .map(|(object, why)| format!("{object}: {why}"));
    let uncovered = plan
        .uncovered
        .iter()
        .map(|uncovered| format!("{}: {}", uncovered.object, uncovered.why));
    let published = plan
        .published
        .iter()
        .map(|published| format!("{}: {}", published.object, published.why));
    section(screen, Tone::Plain, "To know:", noted);
    batch(plan, screen);
    let not_waited_for = plan
        .not_waited_for
        .iter()
        .map(|(object, why)| format!("{object}: {why}"));
    section(
        screen,
        Tone::Warning,
        "Not waited for before traffic:",
        not_waited_for.collect(),
    );
    // Where they hold it, they are named by their guard.
    let holds_it = |hold: &Hold| hold.guard == GuardId::NotConforming;
    if !plan.holds.iter().any(holds_it) {
        section(
            screen,
            Tone::Bad,
            &format!("Objects that block the {}:", words.noun),
            hopeless.collect(),
        );
    }
    let unasked = plan.writes.unasked.iter();
    section(
        screen,
        Tone::Warning,
        "Not checked whether the API server accepts these; the controller checks before the transition starts:",
        unasked
            .map(|unasked| format!("{}: {}", unasked.what, unasked.why))
            .collect(),
    );
    without_rule(plan, screen);
    // Where they hold the demotion, they are named by their guard.
    let holds = |guard| plan.holds.iter().any(|hold| hold.guard == guard);
    let unguarded = |guard| plan.role == Role::Secondary && !holds(guard);
    if unguarded(GuardId::UncoveredWorkloads) {
        section(
            screen,
            Tone::Warning,
            "No rule covers these, they keep running:",
            uncovered.collect(),
        );
    }
    if unguarded(GuardId::UncoveredTraffic) {
        section(
            screen,
            Tone::Warning,
            "No rule covers these, both sites publish their names:",
            published.collect(),
        );
    }
    single_objects(plan, screen);
    let holds = plan.holds.iter().map(|hold| {
        let object = hold.object.as_ref();
        let object = object.map_or_else(String::new, |object| format!(" ({object})"));
        format!("{}{object}: {}; {}", hold.guard, hold.message, hold.hint)
    });
    section(
        screen,
        Tone::Warning,
        "Guards that would block:",
        holds.collect(),
    );
    let changed = plan.changed().count();
    screen.note(&format!(
        "{} of site {}: {changed} of {} in {} would change",
        words.noun,
        clean(&plan.site),
        counted(plan.objects, "object"),
        counted(plan.namespaces.len(), "namespace")
    ));
}

/// What is in force of single objects, and what is not.
fn single_objects(plan: &Plan, screen: &Screen) {
    let object_roles = plan
        .object_roles
        .iter()
        .map(|object_roles| format!("{}: {}", object_roles.object, object_roles.role));
    section(
        screen,
        Tone::Plain,
        "Objects with a role or an exemption of their own:",
        object_roles.collect(),
    );
    let deferred = plan
        .deferred
        .iter()
        .map(|held| format!("{}: {}", held.object.namespace, held.why));
    section(
        screen,
        Tone::Warning,
        "Requested for single objects, and deferred:",
        deferred.collect(),
    );
    let orphaned = plan
        .orphaned
        .iter()
        .map(|held| format!("{}: {}", held.object, held.why));
    section(
        screen,
        Tone::Warning,
        "Orphaned, and left passive:",
        orphaned.collect(),
    );
}

/// What is said of CronJobs and Jobs.
fn batch(plan: &Plan, screen: &Screen) {
    let missed = plan
        .missed_runs
        .iter()
        .map(|(object, at)| format!("{object}: the run of {at}"));
    section(
        screen,
        Tone::Warning,
        if plan.batch.run_missed {
            "CronJobs that start a missed run at once (--run-missed):"
        } else {
            "CronJobs that missed a run, and wait for the next (--run-missed starts it at once):"
        },
        missed.collect(),
    );
    let held_jobs = |runs: bool| {
        plan.held_jobs_and_consent()
            .filter(|(_, consent)| *consent == runs)
            .map(|(job, _)| job.to_string())
            .collect()
    };
    section(
        screen,
        Tone::Warning,
        "Jobs held since they were created, which now run (--run-held-jobs):",
        held_jobs(true),
    );
    section(
        screen,
        Tone::Warning,
        "Jobs held since they were created, which stay held (--run-held-jobs runs them):",
        held_jobs(false),
    );
    section(
        screen,
        Tone::Warning,
        &format!("Hook Jobs that do not run ({HOOKS_HINT}):"),
        plan.hooks
            .iter()
            .map(|held| format!("{}: {}", held.object, held.why()))
            .collect(),
    );
}

/// What a ready rule would reach.
fn without_rule(plan: &Plan, screen: &Screen) {
    section(
        screen,
        Tone::Warning,
        "Objects of kinds for which a ready rule is not in force:",
        plan.without_rule
            .iter()
            .map(|without| {
                let objects = without.objects.iter().map(ToString::to_string);
                let objects: Vec<_> = objects.take(NAMED).collect();
                let more = match without.objects.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("{}{more}: {}", objects.join(", "), without.command())
            })
            .collect(),
    );
}

fn section(screen: &Screen, tone: Tone, heading: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    screen.tell(tone, heading);
    for line in lines {
        screen.note(&format!("  {}", clean(&line)));
    }
}

/// What is said of an object, but for what has a section of its own.
fn other_notes(planned: &Planned) -> Vec<String> {
    let notes = planned.item.rewrite.notes.iter();
    notes
        .filter(|note| !matches!(note, Note::Held(_)))
        .map(ToString::to_string)
        .collect()
}

fn notes(planned: &Planned) -> Vec<String> {
    planned
        .item
        .rewrite
        .notes
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn value(value: Option<&Value>) -> String {
    match value {
        None => "<unset>".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests;
