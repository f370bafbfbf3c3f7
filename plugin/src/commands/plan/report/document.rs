//! The document `Plan`, as `-o json` and `-o yaml` print it.

use failover_core::admission::rewrite::FieldChange;
use failover_core::guards::Hold;
use failover_core::object::ObjectRef;
use failover_core::object_roles::Deferred;
use failover_core::{Layer, Role};
use serde::Serialize;
use serde_json::Value;

use super::notes;
use crate::cluster::{Unseen, WithoutRuleReport};
use crate::plan::object_roles::ObjectRoleEntry;
use crate::plan::{Plan, Planned};

/// The document `Plan`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlanDocument {
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
    pub(super) held_jobs_to_run: Vec<String>,
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
    pub(super) fn of(plan: &Plan) -> Self {
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
                .map(|hook| ReportReason {
                    object: hook.object.to_string(),
                    why: hook.why(),
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
    fn of_deferred(deferred: &Deferred) -> Self {
        Self {
            object: deferred.object.to_string(),
            why: deferred.why.clone(),
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
