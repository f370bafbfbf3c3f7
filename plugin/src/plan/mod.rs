//! What a role would change in what was found: pure, and by the very function that the webhook runs.

pub mod object_roles;
pub mod summary;

use std::collections::HashSet;
use std::sync::Arc;

use failover_core::admission::rewrite::Note;
use failover_core::checks::available::left_out;
use failover_core::checks::batch::{is_resumed, missed_run};
use failover_core::checks::hooks::Hook;
use failover_core::checks::uncovered::Uncovered;
use failover_core::checks::uncovered::traffic::Published;
use failover_core::guards::Hold;
use failover_core::names::{HELD_ANNOTATION, RESTORE_ANNOTATION};
use failover_core::object::ObjectRef;
use failover_core::object_roles::Deferred;
use failover_core::plan::{Item, plan_object, role_of};
use failover_core::transition::EnrolledNamespace;
use failover_core::{Layer, NamespaceState, Role, Roles, Rule};
use jiff::Timestamp;
use serde_json::Value;

use crate::cli::batch::BatchConsent;
use crate::cluster::{PlannedWrite, StoredObject, Survey, Unseen, WithoutRule, WriteAnswers};
use crate::plan::object_roles::{ObjectRoleEntry, in_force};

/// Everything there is to know about a change before it is made.
#[derive(Clone, Debug)]
pub struct Plan {
    pub site: String,
    pub role: Role,
    pub namespaces: Vec<String>,
    /// Objects that a rule reaches.
    pub objects: usize,
    /// Objects that would change, or about which something is to be said; sorted.
    pub items: Vec<Planned>,
    /// Objects that cannot be brought to agree with the role, and why.
    pub hopeless: Vec<(ObjectRef, String)>,
    /// Hook Jobs that do not run under the role.
    pub hooks: Vec<HeldHook>,
    /// Objects of kinds with a ready rule that is not in force.
    pub without_rule: Vec<WithoutRule>,
    /// CronJobs that missed a run, and which.
    pub missed_runs: Vec<(ObjectRef, Timestamp)>,
    /// What a promotion would not wait for before traffic, and why.
    pub not_waited_for: Vec<(ObjectRef, String)>,
    /// What of the batch work would run.
    pub batch: BatchConsent,
    /// What no rule reaches.
    pub uncovered: Vec<Uncovered>,
    /// What no rule reaches and external-dns publishes.
    pub published: Vec<Published>,
    /// Objects with a role or an exemption of their own.
    pub object_roles: Vec<ObjectRoleEntry>,
    /// What is asked of single objects and not in force.
    pub deferred: Vec<Deferred>,
    /// What stays passive since what installed it is gone.
    pub orphaned: Vec<Deferred>,
    /// What could not be checked.
    pub unseen: Vec<Unseen>,
    /// Whether the API server would take the changes.
    pub writes: WriteAnswers,
    /// Guards that would hold.
    pub holds: Vec<Hold>,
}

/// An object that would change, and as it is now.
#[derive(Clone, Debug)]
pub struct Planned {
    pub rule: Arc<Rule>,
    pub item: Item,
    pub before: Value,
}

impl Planned {
    pub fn changes(&self) -> bool {
        !self.item.rewrite.is_empty()
    }
}

impl Plan {
    pub fn changed(&self) -> impl Iterator<Item = &Planned> {
        self.items.iter().filter(|planned| planned.changes())
    }

    /// What would be written.
    pub fn planned_writes(&self) -> Vec<PlannedWrite<'_>> {
        self.changed()
            .map(|planned| PlannedWrite {
                rule: &planned.rule,
                object: &planned.item.object,
                before: &planned.before,
                patch: &planned.item.rewrite.patch,
            })
            .collect()
    }

    /// Jobs that have been held since they were created, and whether they run.
    pub fn held_jobs_and_consent(&self) -> impl Iterator<Item = (&ObjectRef, bool)> {
        self.held_jobs()
            .map(|job| (job, self.batch.held_jobs.has(&job.namespace, &job.name)))
    }

    /// A Job among these (`NAMESPACE/NAME`) of which it is known that it is not held.
    pub fn not_held<'a>(&self, named: impl IntoIterator<Item = &'a String>) -> Option<&'a str> {
        // Of Jobs that could not be seen nobody can say so.
        if !self.unseen.is_empty() {
            return None;
        }
        let held: HashSet<String> = self
            .held_jobs()
            .map(|job| format!("{}/{}", job.namespace, job.name))
            .collect();
        let mut named = named.into_iter();
        named.find(|job| !held.contains(*job)).map(String::as_str)
    }

    /// Jobs that have been held since they were created.
    pub fn held_jobs(&self) -> impl Iterator<Item = &ObjectRef> {
        let held = |planned: &&Planned| {
            let notes = &planned.item.rewrite.notes;
            notes.iter().any(|note| matches!(note, Note::Held(_)))
        };
        self.items.iter().filter(held).map(|p| &p.item.object)
    }
}

/// What `role` would change, all layers alike.
pub fn plan(
    site: &str,
    role: Role,
    enrolled: &[EnrolledNamespace],
    survey: &Survey,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan {
        site: site.to_owned(),
        role,
        namespaces: enrolled.iter().map(|n| n.name.clone()).collect(),
        objects: 0,
        items: Vec::new(),
        hopeless: Vec::new(),
        hooks: Vec::new(),
        without_rule: Vec::new(),
        missed_runs: Vec::new(),
        not_waited_for: Vec::new(),
        batch: BatchConsent::default(),
        uncovered: Vec::new(),
        published: Vec::new(),
        object_roles: in_force(enrolled),
        deferred: Vec::new(),
        orphaned: Vec::new(),
        unseen: survey.unseen.clone(),
        writes: WriteAnswers::default(),
        holds: Vec::new(),
    };
    for found in &survey.found {
        let ordered = NamespaceState {
            roles: Roles::all(role),
            ..found.namespace.state.clone()
        };
        let Some(role) = role_of(&found.rule, &ordered, &found.object) else {
            continue;
        };
        plan.objects += 1;
        let namespace = &found.namespace.name;
        let planned = plan_object(&found.rule, role, namespace, &found.object);
        let waits = [Layer::Gitops, Layer::Workloads].contains(&found.rule.layer);
        if waits && role == Role::Primary {
            let after = match &planned {
                Ok(Some(item)) => &item.after,
                Ok(None) | Err(_) => &found.object,
            };
            plan.not_waited_for
                .extend(left_out(&found.rule, after).map(|why| {
                    let object = ObjectRef::of(&found.rule, namespace, after);
                    (object, why)
                }));
        }
        match planned {
            Ok(None) => {}
            Ok(Some(item)) => {
                if let Some(missed) = resumed_run(&item, &found.object, now) {
                    plan.missed_runs.push((item.object.clone(), missed));
                }
                let mut notes = item.rewrite.notes.iter();
                if let Some(note) = notes.find(|note| matches!(note, Note::NoRoom { .. })) {
                    plan.hopeless.push((item.object.clone(), note.to_string()));
                }
                plan.hooks
                    .extend(HeldHook::of(&found.rule, &item.object, &item.after));
                plan.items.push(Planned {
                    rule: Arc::clone(&found.rule),
                    item,
                    before: found.object.clone(),
                });
            }
            Err(error) => plan.hopeless.push((
                ObjectRef::of(&found.rule, namespace, &found.object),
                error.to_string(),
            )),
        }
    }
    plan.items.sort_by(|a, b| {
        let key = |p: &Planned| {
            (
                p.item.object.namespace.clone(),
                p.item.layer,
                p.item.object.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    plan
}

/// A Job of an installer's that is kept from running, although the installer waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldHook {
    pub object: ObjectRef,
    pub hook: Hook,
}

impl HeldHook {
    fn of(rule: &Rule, reference: &ObjectRef, object: &Value) -> Option<Self> {
        if (&*rule.group, &*rule.resource) != ("batch", "jobs") {
            return None;
        }
        Some(Self {
            object: reference.clone(),
            hook: Hook::held(object)?,
        })
    }

    /// What is said of it.
    pub fn why(&self) -> String {
        let (of, consequence) = (self.hook.as_str(), self.hook.consequence());
        format!("hook of {of}: {consequence}")
    }
}

/// The hooks that are held now.
pub fn held_hooks(survey: &Survey) -> Vec<HeldHook> {
    let held = survey
        .found
        .iter()
        .filter(|found| carries_record(&found.object));
    held.filter_map(|found| {
        let reference = ObjectRef::of(&found.rule, &found.namespace.name, &found.object);
        HeldHook::of(&found.rule, &reference, &found.object)
    })
    .collect()
}

/// What lets hooks run on a standby.
pub const HOOKS_HINT: &str = "where a hook may run on a standby, exempt it: kubectl failover exempt job/NAME -n NAMESPACE, \
     with the label failover.dev/enforce=disabled in its manifest";

/// The run that a CronJob would start at once, when the plan resumes it.
fn resumed_run(item: &Item, before: &Value, now: Timestamp) -> Option<Timestamp> {
    let resumes = item.kind == "CronJob" && is_resumed(before, &item.after);
    resumes.then(|| missed_run(before, now)).flatten()
}

/// The state of an enrolled namespace under its current roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceStanding {
    /// Objects that a rule reaches.
    pub objects: usize,
    /// Objects that carry a restore record.
    pub forced: usize,
    /// Objects that stay passive although their role is active, and why.
    pub passive: Vec<(ObjectRef, String)>,
    /// Objects that do not match the role in effect: reference and, if nothing can be done, why.
    pub astray: Vec<(ObjectRef, Option<String>)>,
}

/// The state of each namespace, in the order of `enrolled`.
pub fn standing(enrolled: &[EnrolledNamespace], survey: &Survey) -> Vec<NamespaceStanding> {
    enrolled
        .iter()
        .map(|namespace| {
            let mut standing = NamespaceStanding::default();
            let of_namespace = |found: &&StoredObject| found.namespace.name == namespace.name;
            for found in survey.found.iter().filter(of_namespace) {
                let Some(role) = role_of(&found.rule, &namespace.state, &found.object) else {
                    continue;
                };
                standing.objects += 1;
                standing.forced += usize::from(carries_record(&found.object));
                let reference = || ObjectRef::of(&found.rule, &namespace.name, &found.object);
                match plan_object(&found.rule, role, &namespace.name, &found.object) {
                    Ok(Some(item)) if !item.rewrite.is_empty() => {
                        standing.astray.push((reference(), None));
                    }
                    Ok(Some(item)) => standing
                        .passive
                        .extend(stays_passive(&item).map(|why| (reference(), why))),
                    Ok(None) => {}
                    Err(error) => standing.astray.push((reference(), Some(error.to_string()))),
                }
            }
            standing
        })
        .collect()
}

/// Why an object stays passive on a primary, or will.
fn stays_passive(item: &Item) -> Option<String> {
    let notes = item.rewrite.notes.iter();
    let mut why = notes.filter(|note| matches!(note, Note::NoRecord(_) | Note::StaysPassive(_)));
    why.next().map(ToString::to_string)
}

/// Objects that carry a record, whatever their role: what leaving enforcement would leave behind.
pub fn recorded(survey: &Survey) -> Vec<ObjectRef> {
    survey
        .found
        .iter()
        .filter(|found| carries_record(&found.object))
        .map(|found| ObjectRef::of(&found.rule, &found.namespace.name, &found.object))
        .collect()
}

fn carries_record(object: &Value) -> bool {
    let annotations = &object["metadata"]["annotations"];
    [RESTORE_ANNOTATION, HELD_ANNOTATION]
        .iter()
        .any(|key| !annotations[*key].is_null())
}

#[cfg(test)]
pub(crate) mod tests;
