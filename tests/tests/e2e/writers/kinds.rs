//! The kinds of the matrix, from the rule table: a new rule is covered automatically.

use failover_core::api::ValueType;
use failover_core::rules::rule::{Active, Field, Rule};
use failover_core::{RuleSet, names};
use serde_json::{Value, json};
use testbed::fixtures;

/// One object of one kind.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) rule: Rule,
    /// As in Git at first, with one replica if the kind has replicas.
    pub(super) manifest: Value,
}

/// An object of every ruled kind, for this namespace.
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

    /// `deployments.apps/web`, as kubectl takes it.
    pub(super) fn argument(&self) -> String {
        format!("{}/{}", self.rule.group_resource(), self.name())
    }

    /// `deployments/web`, as in the objects annotation.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.rule.resource, self.name())
    }

    /// A merge patch that makes it active with this many replicas.
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

    /// The manifest with that patch.
    pub(super) fn asking(&self, replicas: i64) -> Value {
        let mut manifest = self.manifest.clone();
        json_patch::merge(&mut manifest, &self.activation(replicas));
        manifest
    }

    /// The values of a stored object in the fields of the rule.
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

/// The fields of a rule without those that only safeguard another one: the family `safeguards` tests these.
pub(super) fn fields(rule: &Rule) -> impl Iterator<Item = &Field> {
    rule.fields.iter().filter(|field| !field.safeguard)
}

/// The values of an object in the fields of its rule.
pub(super) fn values(rule: &Rule, object: &Value) -> Vec<Option<Value>> {
    let values = fields(rule).map(|f| f.pointer.lookup(object));
    values.map(Option::<&Value>::cloned).collect()
}

/// Whether a Job is held until somebody consents to run it.
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
