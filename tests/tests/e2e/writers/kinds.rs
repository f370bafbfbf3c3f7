//! The kinds of the matrix, straight from the rule table: a rule that is added there is covered here by itself.

use failover_core::api::ValueType;
use failover_core::rules::rule::{Active, Field, Rule};
use failover_core::{RuleSet, names};
use serde_json::{Value, json};
use testbed::fixtures;

/// One object of one kind.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) rule: Rule,
    /// As Git has it to begin with, with one replica where it has any.
    pub(super) manifest: Value,
}

/// An object of every kind that is ruled, for a namespace of its own.
pub(super) fn all(namespace: &str) -> Vec<Cell> {
    let mut manifests = fixtures::every_kind(namespace);
    manifests.push(fixtures::kustomization(namespace, "apps"));
    RuleSet::built_in()
        .iter()
        .map(|rule| {
            let found = manifests.iter().find(|m| m["kind"] == *rule.kind);
            let manifest = found.unwrap_or_else(|| panic!("no fixture of kind {}", rule.kind));
            let mut cell = Cell {
                rule: rule.clone(),
                manifest: manifest.clone(),
            };
            if rule.scale {
                cell.manifest = cell.asking(1);
            }
            cell
        })
        .collect()
}

impl Cell {
    pub(super) fn namespace(&self) -> &str {
        self.manifest["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.manifest["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
    }

    /// As kubectl takes it, and as the objects annotation has it but for the group: `deployments.apps/web`.
    pub(super) fn argument(&self) -> String {
        format!("{}/{}", self.rule.group_resource(), self.name())
    }

    /// `deployments/web`, as the objects annotation has it.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.rule.resource, self.name())
    }

    /// What makes it active with this many replicas, as a merge patch.
    pub(super) fn activation(&self, replicas: i64) -> Value {
        let mut patch = json!({});
        for field in fields(&self.rule) {
            let segments = field.pointer.segments().rev();
            let one = segments.fold(
                active(field, replicas),
                |inner, segment| json!({ segment: inner }),
            );
            json_patch::merge(&mut patch, &one);
        }
        patch
    }

    /// The manifest that says so.
    pub(super) fn asking(&self, replicas: i64) -> Value {
        let mut manifest = self.manifest.clone();
        json_patch::merge(&mut manifest, &self.activation(replicas));
        manifest
    }

    /// What a stored object says in the fields of the rule.
    pub(super) fn values(&self, object: &Value) -> Vec<Option<Value>> {
        values(&self.rule, object)
    }

    pub(super) fn is_passive(&self, object: &Value) -> bool {
        let fields = fields(&self.rule).zip(self.values(object));
        fields
            .into_iter()
            .all(|(field, value)| field.is_passive(value.as_ref()))
    }

    pub(super) fn is_active(&self, object: &Value) -> bool {
        let fields = fields(&self.rule).zip(self.values(object));
        fields
            .into_iter()
            .all(|(field, value)| !field.is_passive(value.as_ref()))
    }
}

/// The fields of a rule that writers fight for. What only guards another field has tests of its own: `safeguards`.
pub(super) fn fields(rule: &Rule) -> impl Iterator<Item = &Field> {
    rule.fields.iter().filter(|field| !field.safeguard)
}

/// What an object says in the fields of its rule.
pub(super) fn values(rule: &Rule, object: &Value) -> Vec<Option<Value>> {
    let values = fields(rule).map(|f| f.pointer.lookup(object));
    values.map(Option::<&Value>::cloned).collect()
}

/// Whether an object waits for consent before it runs at all.
pub(super) fn is_held(object: &Value) -> bool {
    object["metadata"]["annotations"]
        .get(names::HELD_ANNOTATION)
        .is_some()
}

/// A value of a field that is not passive.
fn active(field: &Field, replicas: i64) -> Value {
    match (&field.active, field.value_type) {
        (Active::Fixed(value) | Active::Restore { or: Some(value) }, _) => value.clone(),
        (_, ValueType::Integer) => json!(replicas),
        (_, ValueType::Boolean) => json!(field.passive == json!(false)),
        (_, ValueType::String) => json!("dns-controller"),
    }
}
