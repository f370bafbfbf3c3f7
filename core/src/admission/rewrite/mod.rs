//! The desired state of an object under a role: the function that enforcement consists of.
//!
//! [`rewrite`] is pure and deterministic: the same rule, role and subject give the same bytes, its own output gives an
//! empty patch, and a dry run equals a run. It changes only the rule's fields, the parents that it creates for them and
//! our own two annotations. (And a `creationTimestamp` that the API server restores anyway, as a mark for a second
//! call: [`ownership::lost_timestamp`].)
//!
//! ```text
//!                    field is active                      field is passive
//!   secondary   force passive, record what was      keep the record (or, where the manifest itself
//!               asked for                            now says passive, record that)
//!   primary     leave it, drop the record            restore from the record, drop the record
//! ```
//!
//! The source of the record decides what a hostile or careless writer can do. On an update it is the *old* object's: a
//! rollout copies annotations and people edit them, so the incoming one is not read. There is one exception, and it
//! needs proof: when another webhook changes the object after us, the API server calls us again with our own output as
//! the incoming object. A record that differs from the old one and that no field manager owns cannot come from the
//! request, because ownership is computed from the request before admission. So it is ours, from the first call
//! ([`ownership::is_unowned`]).
//!
//! On a create there is no old object, and the incoming record is read under either role: that is how the objects of a
//! standby come back from a backup. It gives the writer no new power, because the writer could set the fields directly:
//! only values of the right type for the rule's own fields are restored, only where the field is passive, and never on
//! an object that has a controlling owner.
//!
//! Two cases cannot be detected, and are documented. A scale to 0 on a secondary keeps the older record. An apply of
//! the passive value that also changes something else keeps it too, because the second call for an apply of an active
//! value would look the same, unless Flux applies it. The next reconcile changes nothing else, so it resolves the
//! second case.

mod ownership;
mod to_primary;
mod to_secondary;

#[cfg(test)]
pub(crate) mod generate;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;

use json_patch::Patch;
use serde_json::Value;

use crate::admission::Operation;
use crate::admission::annotations;
use crate::admission::record::{Record, RecordProblem};
use crate::json::patch::{NotAnObject, PatchBuilder};
use crate::json::pointer::Pointer;
use crate::json::view::View;
use crate::names::{CONTROLLER_MANAGER, HELD_ANNOTATION, RESTORE_ANNOTATION};
use crate::role::Role;
use crate::rules::rule::{Active, Field, Reach, Rule};

/// What to change, what that means, and what a person should know about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rewrite {
    /// The role of the object; `None` if no rule reaches it.
    pub role: Option<Role>,
    /// Applies to the given object. Empty: the object conforms.
    pub patch: Patch,
    pub changes: Vec<FieldChange>,
    pub notes: Vec<Note>,
}

impl Rewrite {
    pub fn is_empty(&self) -> bool {
        self.patch.0.is_empty()
    }

    /// Whether the patch only removes the controller's ownership of fields.
    pub fn only_gives_back(&self) -> bool {
        !self.is_empty() && self.patch.0.iter().all(ownership::is_about_owners)
    }
}

/// One field before and after; `None` means absent.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    pub pointer: Pointer,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// A fact about an object that its patch does not show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    #[error("its restore record is not used: {0}")]
    InvalidRecord(RecordProblem),
    #[error("dropped a restore record that kubectl-failover did not write")]
    DroppedRecord,
    #[error("{0} stays passive: its manifest says so")]
    StaysPassive(Pointer),
    #[error("{0} stays passive: there is no restore record")]
    NoRecord(Pointer),
    #[error("it is not restored: its annotations would take {size} bytes, and {limit} are the limit", limit = annotations::LIMIT)]
    NoRoom { size: usize },
    #[error(
        "{0} is not restored: the field that it protects has no restore record, so the old value could destroy data"
    )]
    StaysSafe(Pointer),
    #[error(
        "not scaled through /scale, because its data is not protected yet: change the object itself"
    )]
    NotThroughScale,
    #[error("held since it was created: it runs only with consent")]
    Held(Pointer),
}

/// Why an object cannot be made to conform to its role. A write that would store such an object must be refused.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    #[error("the object is not readable JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    #[error(
        "{pointer} is {value}, not of type {expected}: it cannot be recorded and so is not overwritten"
    )]
    WrongType {
        pointer: Pointer,
        value: String,
        expected: &'static str,
    },
    #[error(
        "{pointer} is {value}, which the API server does not accept: it could not be restored, so it is not recorded"
    )]
    NotTaken { pointer: Pointer, value: String },
    /// The API server would refuse it as invalid, because of our change.
    #[error(
        "its annotations have no room for the restore record: {size} bytes with it, the limit is {limit}",
        limit = annotations::LIMIT
    )]
    NoRoom { size: usize },
    #[error(transparent)]
    NotAnObject(#[from] NotAnObject),
}

/// The object that is written, and the stored one.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) operation: Operation,
    pub(crate) object: View<'a>,
    /// Present on an update.
    pub(crate) old: Option<View<'a>>,
    /// `fieldManager` of the request.
    pub(crate) manager: Option<&'a str>,
}

impl<'a> Subject<'a> {
    pub(crate) fn parse(
        rule: &Rule,
        operation: Operation,
        manager: Option<&'a str>,
        object: &'a str,
        old: Option<&'a str>,
    ) -> Result<Self, RewriteError> {
        let pointers = || rule.fields.iter().map(|f| &f.pointer);
        let view = |text| View::parse(text, pointers()).map_err(RewriteError::NotJson);
        let old = match operation {
            Operation::Create => None,
            Operation::Update => old.map(view).transpose()?,
        };
        Ok(Self {
            operation,
            object: view(object)?,
            old,
            manager,
        })
    }
}

/// Computes the desired state of an object under a role. See the module's documentation.
pub(crate) fn rewrite(
    rule: &Rule,
    role: Role,
    subject: &Subject<'_>,
) -> Result<Rewrite, RewriteError> {
    if rule.reach == Reach::Uncontrolled && subject.object.is_controlled() {
        return Ok(Rewrite::default());
    }
    let rewrite = match role {
        Role::Secondary => to_secondary::rewrite(rule, subject)?,
        Role::Primary => to_primary::rewrite(rule, subject),
    };
    match annotations::overflow(&subject.object, &rewrite.patch) {
        None => Ok(rewrite),
        Some(size) => match role {
            Role::Secondary => Err(RewriteError::NoRoom { size }),
            // The object is active as it is: its write is not refused because of us, and the record stays.
            Role::Primary => Ok(Rewrite {
                role: Some(role),
                notes: vec![Note::NoRoom { size }],
                ..Rewrite::default()
            }),
        },
    }
}

/// Computes the desired state of a stored object under a role, for the sweeper and `plan`. An empty patch: the object
/// conforms.
pub fn rewrite_stored(rule: &Rule, role: Role, object: &Value) -> Result<Rewrite, RewriteError> {
    let text = object.to_string();
    let subject = Subject::parse(rule, Operation::Update, None, &text, Some(&text))?;
    rewrite(rule, role, &subject)
}

/// Whether the controller owns fields of the rule on a stored object.
pub(crate) fn is_owned(rule: &Rule, object: &Value) -> bool {
    let mut entries = object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    if !entries.any(|entry| entry["manager"] == CONTROLLER_MANAGER) {
        return false;
    }
    let text = object.to_string();
    View::parse(&text, []).is_ok_and(|view| !ownership::given_back(rule, &view).is_empty())
}

/// The two annotations that keep original values.
#[derive(Clone, Debug, Default, PartialEq)]
struct Records {
    /// Restored by a promotion.
    restore: Record,
    /// Restored only by consent.
    held: Record,
}

impl Records {
    /// Parses the records of an object.
    fn parse(view: &View<'_>, fields: &[Field], notes: &mut Vec<Note>) -> Self {
        let mut read = |text: Option<String>, there: bool, may_hold: fn(&Active) -> bool| {
            let fields: Vec<&Field> = fields
                .iter()
                .filter(|field| may_hold(&field.active))
                .collect();
            let (record, problems) = match text {
                Some(text) => Record::parse(&text, &fields),
                None if there => (Record::default(), vec![RecordProblem::NotAnObject]),
                None => return Record::default(),
            };
            notes.extend(problems.into_iter().map(Note::InvalidRecord));
            record
        };
        Self {
            restore: read(view.restore(), view.has_restore(), |active| {
                !matches!(active, Active::Fixed(_))
            }),
            held: read(view.held(), view.has_held(), |active| {
                matches!(active, Active::Manual)
            }),
        }
    }

    /// Whether a field was forced when the object was created, and becomes active only on consent.
    fn waits_for_consent(&self, field: &Field) -> bool {
        self.held
            .get(&field.pointer)
            .is_some_and(|original| !field.is_passive(original))
    }

    /// Writes the annotations so that they match the records.
    fn write(&self, object: &View<'_>, patch: &mut PatchBuilder) -> Result<(), NotAnObject> {
        for (key, text, incoming, there) in [
            (
                RESTORE_ANNOTATION,
                self.restore.to_annotation(),
                object.restore(),
                object.has_restore(),
            ),
            (
                HELD_ANNOTATION,
                self.held.to_annotation(),
                object.held(),
                object.has_held(),
            ),
        ] {
            match text {
                Some(text) if incoming.as_deref() != Some(&text) => {
                    patch.set(&Pointer::annotation(key), Value::String(text))?;
                }
                None if there => patch.remove(&Pointer::annotation(key), None),
                _ => {}
            }
        }
        Ok(())
    }
}

fn patch_builder(rule: &Rule, object: &View<'_>) -> PatchBuilder {
    let pointers: Vec<&Pointer> = rule.fields.iter().map(|f| &f.pointer).collect();
    let annotations = [
        (RESTORE_ANNOTATION, object.has_restore()),
        (HELD_ANNOTATION, object.has_held()),
    ];
    PatchBuilder::new(object, &pointers, &annotations)
}

/// The longest warning that the API server passes on in full.
const WARNING_LIMIT: usize = 120;

impl Rewrite {
    /// The warnings for the writer, if something was changed: `site east is secondary: deployments/web replicas 3 -> 0
    /// (kubectl failover status)`. At most one warning, of at most 120 characters.
    pub fn warnings(&self, site: Option<&str>, object: &str) -> Vec<String> {
        let changes = !self.is_empty() && !self.only_gives_back();
        let Some(role) = self.role.filter(|_| changes) else {
            return vec![];
        };
        let what = match self.changes.as_slice() {
            [] => match self.notes.first() {
                Some(note) => note.to_string(),
                None => "restore record repaired".to_owned(),
            },
            [change] => change.to_string(),
            [change, rest @ ..] => format!("{change} (+{})", rest.len()),
        };
        let site = site.map_or_else(|| "this site".to_owned(), |site| format!("site {site}"));
        let long = format!("{site} is {role}: {object} {what} (kubectl failover status)");
        let short = format!("{site} is {role}: {object} {what}");
        let warning = [long, short]
            .into_iter()
            .find(|w| w.chars().count() <= WARNING_LIMIT)
            .unwrap_or_else(|| {
                let mut cut: String = format!("{site} is {role}: {object} {what}")
                    .chars()
                    .take(WARNING_LIMIT - 3)
                    .collect();
                cut.push_str("...");
                cut
            });
        vec![
            warning
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
        ]
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| match value {
            None => "unset".to_owned(),
            Some(Value::String(s)) => s.clone(),
            Some(value) => value.to_string(),
        };
        write!(
            f,
            "{} {} -> {}",
            self.pointer.field(),
            text(&self.before),
            text(&self.after)
        )
    }
}
