//! The record: the original values of forced fields, kept in the object's own annotation.
//!
//! `failover.dev/restore: {"/spec/replicas":3}` — compact JSON, pointers sorted. `null` means that the field was absent
//! and is restored by removal. A `null` for a parent of a field means that the parent was absent too: it was created
//! for the field and is removed with it, unless it holds something else by then.
//!
//! A record is only ever read through [`Record::parse`], which keeps what a rule could have written and nothing else.
//! So the writer of the annotation can choose among values of the right type for the rule's own fields, and no more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::json::pointer::Pointer;
use crate::rules::rule::Field;

/// Original values by field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    values: BTreeMap<Pointer, Option<Value>>,
    created: BTreeSet<Pointer>,
}

/// Why a record, or a part of it, is ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    #[error("it is not a JSON object of pointers")]
    NotAnObject,
    #[error("{0} is not a field of the rule")]
    UnknownField(String),
    #[error("{pointer} holds {value}, which is no {expected} that the API server takes there")]
    WrongType {
        pointer: Pointer,
        value: String,
        expected: &'static str,
    },
}

impl Record {
    /// Parses a record, keeps the entries that the rule's fields allow and reports the others.
    pub fn parse(text: &str, fields: &[&Field]) -> (Self, Vec<RecordProblem>) {
        let Ok(entries) = serde_json::from_str::<BTreeMap<String, Value>>(text) else {
            return (Self::default(), vec![RecordProblem::NotAnObject]);
        };
        let mut record = Self::default();
        let mut problems = Vec::new();
        for (key, value) in entries {
            let Ok(pointer) = key.parse::<Pointer>() else {
                problems.push(RecordProblem::UnknownField(shorten(&key)));
                continue;
            };
            if let Some(field) = fields.iter().find(|f| f.pointer == pointer) {
                if value.is_null() {
                    record.values.insert(pointer, None);
                } else if field.takes(&value) {
                    record.values.insert(pointer, Some(value));
                } else {
                    problems.push(RecordProblem::WrongType {
                        pointer,
                        value: shorten(&value.to_string()),
                        expected: field.value_type.as_str(),
                    });
                }
            } else if value.is_null()
                && fields
                    .iter()
                    .any(|f| is_removable_parent(&pointer, &f.pointer))
            {
                record.created.insert(pointer);
            } else {
                problems.push(RecordProblem::UnknownField(shorten(&key)));
            }
        }
        record.normalise();
        (record, problems)
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The recorded value of a field: `Some(None)` means "was absent".
    pub fn get(&self, pointer: &Pointer) -> Option<Option<&Value>> {
        self.values.get(pointer).map(Option::as_ref)
    }

    /// The topmost parent that was created for a field.
    pub fn created_for(&self, pointer: &Pointer) -> Option<&Pointer> {
        self.created
            .iter()
            .filter(|c| c.is_ancestor_of(pointer))
            .min_by_key(|c| c.len())
    }

    /// Records a value, or its absence together with the topmost parent that is absent too.
    pub fn insert(
        &mut self,
        pointer: Pointer,
        value: Option<Value>,
        absent_parent: Option<Pointer>,
    ) {
        if value.is_none() {
            self.created.extend(absent_parent);
        }
        self.values.insert(pointer, value);
        self.normalise();
    }

    /// Copies the entry of another record, if it has one.
    pub fn copy_from(&mut self, other: &Self, pointer: &Pointer) -> bool {
        let Some(value) = other.values.get(pointer) else {
            return false;
        };
        self.insert(
            pointer.clone(),
            value.clone(),
            other.created_for(pointer).cloned(),
        );
        true
    }

    /// The annotation's text, or `None` for an empty record.
    pub fn to_annotation(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let entries: BTreeMap<String, &Value> = self
            .values
            .iter()
            .map(|(pointer, value)| (pointer.to_string(), value.as_ref().unwrap_or(&Value::Null)))
            .chain(
                self.created
                    .iter()
                    .map(|pointer| (pointer.to_string(), &Value::Null)),
            )
            .collect();
        Some(serde_json::to_string(&entries).expect("a map of strings to JSON values is JSON"))
    }

    /// Keeps only the created parents that have a meaning: those with an absent field below, and of nested ones the
    /// topmost.
    fn normalise(&mut self) {
        let (values, all) = (&self.values, self.created.clone());
        self.created.retain(|created| {
            values
                .iter()
                .any(|(pointer, value)| value.is_none() && created.is_ancestor_of(pointer))
                && !all.iter().any(|other| other.is_ancestor_of(created))
        });
    }
}

/// Whether `parent` may be removed together with a field below it. The parents of annotations and labels are not
/// recorded: the API server drops these maps itself when they are empty (`omitempty` in ObjectMeta).
pub(crate) fn is_removable_parent(parent: &Pointer, field: &Pointer) -> bool {
    parent.is_ancestor_of(field) && parent.segment(0) != Some("metadata")
}

/// Shortens foreign text so that it is still recognisable in a message.
fn shorten(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match clean.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &clean[..end]),
        None => clean,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::rules::set::RuleSet;

    fn fields(resource: &str) -> Vec<Field> {
        RuleSet::built_in()
            .iter()
            .find(|r| r.resource == resource)
            .unwrap()
            .fields
            .clone()
    }

    fn parse(text: &str, fields: &[Field]) -> (Record, Vec<RecordProblem>) {
        Record::parse(text, &fields.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_record_is_compact_and_sorted_and_round_trips() {
        let fields = fields("virtualservices");
        let mut record = Record::default();
        record.insert(
            fields[1].pointer.clone(),
            Some(json!("dns-controller")),
            None,
        );
        record.insert(fields[0].pointer.clone(), None, None);
        let text = record.to_annotation().unwrap();
        assert_eq!(
            text,
            r#"{"/metadata/annotations/external-dns.alpha.kubernetes.io~1controller":null,"/metadata/annotations/external-dns.kubernetes.io~1controller":"dns-controller"}"#
        );
        assert_eq!(parse(&text, &fields), (record, vec![]));
    }

    #[rstest]
    #[case("banana")]
    #[case("[3]")]
    #[case(r#"{"/spec/replicas":"3"}"#)]
    #[case(r#"{"/spec/replicas":3.5}"#)]
    #[case(r#"{"/spec/replicas":{"a":1}}"#)]
    #[case(r#"{"/spec/template":{}}"#)]
    #[case(r#"{"/metadata":null}"#)]
    #[case(r#"{"/metadata/annotations":null}"#)]
    #[case(r#"{"spec/replicas":3}"#)]
    fn entries_that_the_rule_cannot_have_written_are_dropped(#[case] text: &str) {
        let (record, problems) = parse(text, &fields("deployments"));
        assert_eq!(record, Record::default());
        assert_eq!(problems.len(), 1, "{problems:?}");
    }

    #[test]
    fn a_created_parent_counts_only_beside_an_absent_field() {
        let fields = fields("cronjobs");
        let (record, problems) = parse(r#"{"/spec":null,"/spec/suspend":null}"#, &fields);
        assert_eq!(problems, vec![]);
        assert_eq!(
            record.created_for(&fields[0].pointer),
            Some(&"/spec".parse().unwrap())
        );
        let (record, _) = parse(r#"{"/spec":null,"/spec/suspend":false}"#, &fields);
        assert_eq!(record.created_for(&fields[0].pointer), None);
    }
}
