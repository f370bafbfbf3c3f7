//! A plan on paper.

use failover_core::admission::rewrite::{FieldChange, Note};
use failover_core::guards::{GuardId, Hold};
use failover_core::names::CONTROLLER_MANAGER;
use failover_core::object::ObjectRef;
use failover_core::object_roles::Deferred;
use failover_core::{Layer, Role};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::cluster::{Unseen, WithoutRuleReport};
use crate::output::diff::unified;
use crate::output::words::words;
use crate::output::{PlanFormat, Report, Screen, Table, Tone, clean, counted};
use crate::plan::object_roles::ObjectRoleEntry;
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

/// A plan, as it is reported.
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

/// What stands below the table: on stderr, so that the table stays a table.
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

/// The document `Plan`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlanDocument {
    site: String,
    role: Role,
    namespaces: Vec<String>,
    /// Objects that a rule reaches.
    objects: usize,
    /// Those that would change, or about which there is something to know.
    items: Vec<ReportItem>,
    hopeless: Vec<ReportReason>,
    /// Jobs that do not run, although an installer waits for them.
    hooks: Vec<ReportReason>,
    /// Objects of kinds with a ready rule that is not in force.
    without_rule: Vec<WithoutRuleReport>,
    missed_runs: Vec<ReportRun>,
    /// Whether those start at once.
    run_missed: bool,
    held_jobs: Vec<String>,
    /// Whether all of those run.
    run_held_jobs: bool,
    /// Which of them run.
    held_jobs_to_run: Vec<String>,
    /// What a promotion does not wait for before traffic.
    not_waited_for: Vec<ReportReason>,
    uncovered: Vec<ReportReason>,
    /// What no rule reaches and external-dns publishes.
    published: Vec<ReportReason>,
    /// Objects with a role or an exemption of their own.
    object_roles: Vec<ObjectRoleEntry>,
    /// What is asked of single objects and not in force.
    deferred: Vec<ReportReason>,
    /// What stays passive since what installed it is gone.
    orphaned: Vec<ReportReason>,
    unseen: Vec<Unseen>,
    /// Changes of which it is not known whether the API server would take them.
    unasked: Vec<Unseen>,
    guards: Vec<ReportGuard>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportItem {
    #[serde(flatten)]
    object: ReportObject,
    kind: String,
    layer: Layer,
    changes: Vec<ReportChange>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ReportObject {
    namespace: String,
    group: String,
    resource: String,
    name: String,
}

#[derive(Debug, Serialize)]
struct ReportChange {
    pointer: String,
    /// `null`: the field is absent.
    before: Option<Value>,
    after: Option<Value>,
}

#[derive(Debug, Serialize)]
struct ReportReason {
    object: String,
    why: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportRun {
    object: String,
    scheduled_for: String,
}

#[derive(Debug, Serialize)]
struct ReportGuard {
    guard: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    message: String,
    hint: String,
}

impl PlanDocument {
    fn of(plan: &Plan) -> Self {
        let reason = |(object, why): (&ObjectRef, &String)| ReportReason {
            object: object.to_string(),
            why: why.clone(),
        };
        Self {
            site: plan.site.clone(),
            role: plan.role,
            namespaces: plan.namespaces.clone(),
            objects: plan.objects,
            items: plan.items.iter().map(ReportItem::of).collect(),
            hopeless: plan
                .hopeless
                .iter()
                .map(|(o, why)| reason((o, why)))
                .collect(),
            hooks: plan
                .hooks
                .iter()
                .map(|held| ReportReason {
                    object: held.object.to_string(),
                    why: held.why(),
                })
                .collect(),
            without_rule: plan.without_rule.iter().map(Into::into).collect(),
            missed_runs: plan
                .missed_runs
                .iter()
                .map(|(object, at)| ReportRun {
                    object: object.to_string(),
                    scheduled_for: at.to_string(),
                })
                .collect(),
            run_missed: plan.batch.run_missed,
            run_held_jobs: plan.batch.held_jobs.is_all(),
            held_jobs_to_run: plan
                .held_jobs_and_consent()
                .filter(|(_, runs)| *runs)
                .map(|(job, _)| job.to_string())
                .collect(),
            held_jobs: plan.held_jobs().map(ToString::to_string).collect(),
            not_waited_for: plan
                .not_waited_for
                .iter()
                .map(|(o, why)| reason((o, why)))
                .collect(),
            uncovered: plan
                .uncovered
                .iter()
                .map(|u| reason((&u.object, &u.why)))
                .collect(),
            published: plan
                .published
                .iter()
                .map(|p| reason((&p.object, &p.why)))
                .collect(),
            object_roles: plan.object_roles.clone(),
            deferred: plan
                .deferred
                .iter()
                .map(ReportReason::of_deferred)
                .collect(),
            orphaned: plan
                .orphaned
                .iter()
                .map(ReportReason::of_deferred)
                .collect(),
            unseen: plan.unseen.clone(),
            unasked: plan.writes.unasked.clone(),
            guards: plan.holds.iter().map(ReportGuard::of).collect(),
        }
    }
}

impl ReportReason {
    fn of_deferred(held: &Deferred) -> Self {
        Self {
            object: held.object.to_string(),
            why: held.why.clone(),
        }
    }
}

impl ReportItem {
    fn of(planned: &Planned) -> Self {
        let item = &planned.item;
        Self {
            object: ReportObject {
                namespace: item.object.namespace.clone(),
                group: item.object.group.clone(),
                resource: item.object.resource.clone(),
                name: item.object.name.clone(),
            },
            kind: item.kind.clone(),
            layer: item.layer,
            changes: item.rewrite.changes.iter().map(ReportChange::of).collect(),
            notes: notes(planned),
        }
    }
}

impl ReportChange {
    fn of(change: &FieldChange) -> Self {
        Self {
            pointer: change.pointer.to_string(),
            before: change.before.clone(),
            after: change.after.clone(),
        }
    }
}

impl ReportGuard {
    fn of(hold: &Hold) -> Self {
        Self {
            guard: hold.guard.as_str(),
            object: hold.object.clone(),
            message: hold.message.clone(),
            hint: hold.hint.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
