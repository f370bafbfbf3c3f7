//! Pointers, records and namespace state from any text: everything that is parsed from labels, annotations and
//! RoleRules.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bolero::{TypeGenerator, produce};
use failover_core::admission::record::Record;
use failover_core::json::pointer::{MAX_SEGMENTS, Pointer};
use failover_core::names::{
    ENFORCE_LABEL, OBJECTS_ANNOTATION, REVISION_ANNOTATION, SITE_ANNOTATION,
};
use failover_core::namespace::{ExemptLabel, NamespaceState};
use failover_core::role::Layer;
use failover_core::rules::rule::Field;
use failover_core::rules::set::RuleSet;
use serde_json::{Value, json};

/// A part of a text: a word with a meaning, or any character.
#[derive(Clone, Debug, TypeGenerator)]
enum Part {
    Word(u8),
    Character(char),
}

const WORDS: [&str; 40] = [
    "/",
    "~",
    "~0",
    "~1",
    "/spec",
    "/spec/replicas",
    "/spec/suspend",
    "/metadata/annotations/",
    "/metadata",
    "external-dns.alpha.kubernetes.io~1controller",
    "0",
    "-",
    "3",
    "-1",
    "1e400",
    "9223372036854775807",
    "99999999999999999999",
    "true",
    "null",
    "\"",
    "\\",
    "\\u0000",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "{\"/spec/replicas\":",
    "{\"/spec\":null,",
    "deployments/web",
    "cronjobs/report",
    "=",
    "exempt",
    "site",
    "primary",
    "secondary",
    "enabled",
    "policy",
    " ",
];

fn text(parts: &[Part]) -> String {
    parts.iter().fold(String::new(), |mut text, part| {
        match part {
            Part::Word(word) => text.push_str(WORDS[usize::from(*word) % WORDS.len()]),
            Part::Character(character) => text.push(*character),
        }
        text
    })
}

#[test]
fn pointers_records_and_namespaces() {
    let rules = AssertUnwindSafe(RuleSet::built_in());
    bolero::check!()
        .with_generator(produce::<Vec<Part>>().with().len(0..12usize))
        .with_test_time(super::unless_long(Duration::from_secs(3)))
        .for_each(|parts| {
            let text = text(parts);
            pointer_holds(&text);
            for rule in rules.iter() {
                record_holds(&text, &rule.fields);
            }
            namespace_holds(&text, &rules);
        });
}

/// A pointer prints as its source, stays within its limit, and finds its field and nothing else.
fn pointer_holds(text: &str) {
    let Ok(pointer) = text.parse::<Pointer>() else {
        return;
    };
    assert_eq!(pointer.to_string(), text);
    assert!((1..=MAX_SEGMENTS).contains(&pointer.len()), "{text}");
    let mut object = json!("there");
    for segment in pointer.segments().rev() {
        object = json!({segment: object});
    }
    assert_eq!(pointer.lookup(&object), Some(&json!("there")), "{text}");
    assert_eq!(object.pointer(text), Some(&json!("there")), "{text}");
    assert_eq!(pointer.lookup(&json!({})), None);
    assert_eq!(pointer.lookup(&json!("there")), None);
}

/// A record keeps only what the rule could have written: it is written and parsed again without loss or problems.
fn record_holds(text: &str, fields: &[Field]) {
    let fields: Vec<&Field> = fields.iter().collect();
    let (record, _) = Record::parse(text, &fields);
    for field in &fields {
        if let Some(Some(value)) = record.get(&field.pointer) {
            assert!(field.value_type.matches(value), "{text}");
        }
    }
    let Some(written) = record.to_annotation() else {
        assert_eq!(record, Record::default(), "{text}");
        return;
    };
    assert_eq!(Record::parse(&written, &fields), (record, vec![]), "{text}");
    assert!(serde_json::from_str::<BTreeMap<String, Value>>(&written).is_ok());
}

/// A Namespace with such a text in any of its keys is parsed, and the result is written and parsed again.
fn namespace_holds(text: &str, rules: &RuleSet) {
    let all = |keys: &[&str]| -> BTreeMap<String, String> {
        let entries = keys.iter().map(|key| ((*key).to_owned(), text.to_owned()));
        entries.collect()
    };
    let layers = Layer::ALL.map(Layer::label);
    let labels = all(&[&[ENFORCE_LABEL], &layers[..]].concat());
    let annotations = all(&[OBJECTS_ANNOTATION, SITE_ANNOTATION, REVISION_ANNOTATION]);
    let (state, _) = NamespaceState::parse(Some(&labels), Some(&annotations));
    for rule in rules.iter() {
        // Only a Namespace with an exact enrolment label is enforced.
        assert!(
            state.enforcement.is_some()
                || state.role_for(rule, "web", ExemptLabel::Unseen).is_none()
        );
    }
    let present = |written: BTreeMap<&'static str, Option<String>>| -> BTreeMap<String, String> {
        let entries = written.into_iter();
        entries
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    };
    let again = NamespaceState::parse(
        Some(&present(state.labels())),
        Some(&present(state.annotations())),
    );
    assert_eq!(again, (state, vec![]), "{text}");
}
