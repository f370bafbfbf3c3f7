//! Compiles a written RoleRule to a [`Rule`], or reports what is wrong with it.
//!
//! The schema of the CRD cannot check all of this, and `spec` may come from a careless commit: a rule ends up in RBAC,
//! in expressions of an admission policy and in patches of every object of its kind.

use serde_json::Value;

use crate::api::{ActiveMode, RoleRuleField, RoleRuleReady, RoleRuleSpec, ValueType};
use crate::json::pointer::{Pointer, PointerError};
use crate::names::GROUP;
use crate::rules::rule::{Active, Field, Reach, Ready, Rule};

/// The most fields of a rule as written.
const MAX_FIELDS: usize = 8;

/// Groups of access control, of enforcement and of the cluster's own state.
const PROTECTED_GROUPS: [&str; 8] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "rbac.authorization.k8s.io",
];

/// Kinds of the core group that grant access, or that other controllers generate and no rule can keep passive.
const PROTECTED_CORE: [&str; 9] = [
    "bindings",
    "endpoints",
    "events",
    "namespaces",
    "nodes",
    "persistentvolumes",
    "pods",
    "secrets",
    "serviceaccounts",
];

/// Why a RoleRule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("{0} already has a rule")]
    Taken(String),
    #[error("{0} belongs to kubectl-failover: a rule for it could prevent role changes")]
    OwnGroup(String),
    #[error("{0} cannot have a rule: the cluster or its access control depends on it")]
    Protected(String),
    #[error("{field} is {value:?}: {expected}")]
    Name {
        field: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("a rule has one to {MAX_FIELDS} fields, not {0}")]
    FieldCount(usize),
    #[error(transparent)]
    Pointer(#[from] PointerError),
    #[error(
        "{0} may not be touched: rules reach spec, labels and annotations outside failover.dev"
    )]
    Forbidden(Pointer),
    #[error("{0} and {1} overlap")]
    Overlap(Pointer, Pointer),
    #[error("{pointer}: {value} is not of type {expected}")]
    WrongType {
        pointer: Pointer,
        value: String,
        expected: &'static str,
    },
    #[error("{0}: labels and annotations are of type string")]
    NotText(Pointer),
    #[error("{0}: the value is too long or holds control characters")]
    Unprintable(Pointer),
    #[error("{0}: the fixed active value is missing")]
    NoFixedValue(Pointer),
    #[error("{0}: the active value is passive")]
    ActiveIsPassive(Pointer),
    #[error("{0}: a manual field has no active value: it becomes active only with consent")]
    ManualValue(Pointer),
    #[error("ready.condition is {0:?}: use the type of a condition, such as Ready")]
    Condition(String),
    #[error("ready.except: {0} has no value, or one that is no integer, boolean or string")]
    Exception(Pointer),
    #[error("{0}: a safeguard needs an earlier field, whose data it protects")]
    Safeguard(Pointer),
    #[error("scale: the first field must be of type integer with the passive value 0, not {0}")]
    Scale(Pointer),
}

impl TryFrom<&RoleRuleSpec> for Rule {
    type Error = RuleError;

    fn try_from(spec: &RoleRuleSpec) -> Result<Self, RuleError> {
        check_kind(spec)?;
        let fields = spec
            .fields
            .iter()
            .map(Field::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        for (i, a) in fields.iter().enumerate() {
            if let Some(b) = fields[i + 1..].iter().find(|b| overlap(a, b)) {
                return Err(RuleError::Overlap(a.pointer.clone(), b.pointer.clone()));
            }
        }
        let Some(first) = fields.first() else {
            return Err(RuleError::FieldCount(0));
        };
        if first.safeguard {
            return Err(RuleError::Safeguard(first.pointer.clone()));
        }
        if spec.scale && first.passive != 0 {
            return Err(RuleError::Scale(first.pointer.clone()));
        }
        Ok(Self {
            group: spec.group.clone().into(),
            version: spec.version.clone().into(),
            kind: spec.kind.clone().into(),
            resource: spec.resource.clone().into(),
            layer: spec.layer,
            fields,
            scale: spec.scale,
            reach: Reach::All,
            ready: spec.ready.as_ref().map(Ready::try_from).transpose()?,
        })
    }
}

/// The rule as written. The rule in force may have accumulated more fields than a written one may have: see
/// [`super::in_force`].
pub fn written(spec: &RoleRuleSpec) -> Result<Rule, RuleError> {
    if spec.fields.len() > MAX_FIELDS {
        return Err(RuleError::FieldCount(spec.fields.len()));
    }
    Rule::try_from(spec)
}

/// Whether one pointer equals, or lies above, the other.
pub(super) fn overlap(a: &Field, b: &Field) -> bool {
    a.pointer == b.pointer
        || a.pointer.is_ancestor_of(&b.pointer)
        || b.pointer.is_ancestor_of(&a.pointer)
}

fn check_kind(spec: &RoleRuleSpec) -> Result<(), RuleError> {
    let what = || match spec.group.as_str() {
        "" => spec.resource.clone(),
        group => format!("{}.{group}", spec.resource),
    };
    if spec.group == GROUP || spec.group.ends_with(".failover.dev") {
        return Err(RuleError::OwnGroup(what()));
    }
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    for (field, value, sound, expected) in [
        (
            "group",
            &spec.group,
            spec.group.is_empty() || is_subdomain(&spec.group),
            "use the API group in lower case, or nothing for the core group",
        ),
        (
            "version",
            &spec.version,
            spec.version.starts_with('v') && spec.version.chars().all(lower),
            "use a version such as v1 or v1beta1",
        ),
        (
            "kind",
            &spec.kind,
            spec.kind.starts_with(|c: char| c.is_ascii_uppercase())
                && spec.kind.chars().all(|c| c.is_ascii_alphanumeric()),
            "use the kind in CamelCase",
        ),
        (
            "resource",
            &spec.resource,
            is_label(&spec.resource),
            "use the plural in lower case, as in its URL, without a subresource",
        ),
    ] {
        if !sound {
            return Err(RuleError::Name {
                field,
                value: value.clone(),
                expected,
            });
        }
    }
    let protected = PROTECTED_GROUPS.contains(&spec.group.as_str())
        || (spec.group.is_empty() && PROTECTED_CORE.contains(&spec.resource.as_str()));
    if protected {
        return Err(RuleError::Protected(what()));
    }
    Ok(())
}

/// A DNS label of RFC 1123.
fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

impl TryFrom<&RoleRuleField> for Field {
    type Error = RuleError;

    fn try_from(field: &RoleRuleField) -> Result<Self, RuleError> {
        let pointer: Pointer = field.pointer.parse()?;
        if !may_touch(&pointer) {
            return Err(RuleError::Forbidden(pointer));
        }
        if pointer.segment(0) == Some("metadata") && field.value_type != ValueType::String {
            return Err(RuleError::NotText(pointer));
        }
        let typed = |value: &Value| checked(value, field.value_type, &pointer);
        let passive = typed(&field.passive)?;
        let also_passive = field
            .also_passive
            .iter()
            .map(typed)
            .collect::<Result<Vec<_>, _>>()?;
        let value = field.active.value.as_ref().map(typed).transpose()?;
        if value
            .as_ref()
            .is_some_and(|v| *v == passive || also_passive.contains(v))
        {
            return Err(RuleError::ActiveIsPassive(pointer));
        }
        let active = match field.active.mode {
            ActiveMode::Restore => Active::Restore { or: value },
            ActiveMode::Fixed => {
                Active::Fixed(value.ok_or_else(|| RuleError::NoFixedValue(pointer.clone()))?)
            }
            ActiveMode::Manual if value.is_some() => {
                return Err(RuleError::ManualValue(pointer));
            }
            ActiveMode::Manual => Active::Manual,
        };
        Ok(Self {
            pointer,
            value_type: field.value_type,
            passive,
            also_passive,
            absent_is_passive: field.absent_is_passive,
            active,
            safeguard: field.safeguard,
        })
    }
}

impl TryFrom<&RoleRuleReady> for Ready {
    type Error = RuleError;

    fn try_from(ready: &RoleRuleReady) -> Result<Self, RuleError> {
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let type_ = &ready.condition;
        if !(1..=316).contains(&type_.len()) || !type_.chars().all(inner) {
            return Err(RuleError::Condition(type_.clone()));
        }
        let except = ready.except.iter().map(|except| {
            let pointer: Pointer = except.pointer.parse()?;
            let scalar = |value: &Value| value.is_i64() || value.is_boolean() || value.is_string();
            if except.values.is_empty() || !except.values.iter().all(scalar) {
                return Err(RuleError::Exception(pointer));
            }
            Ok((pointer, except.values.clone()))
        });
        Ok(Self {
            condition: type_.clone().into(),
            except: except.collect::<Result<_, _>>()?,
        })
    }
}

/// Labels and annotations outside our own prefix, and fields below any top-level field other than metadata, status and
/// the type.
fn may_touch(pointer: &Pointer) -> bool {
    let segments: Vec<&str> = pointer.segments().collect();
    match segments.as_slice() {
        ["metadata", "annotations" | "labels", key] => may_touch_key(key),
        ["metadata" | "status" | "apiVersion" | "kind", ..] => false,
        // A whole top-level field is never a scalar in the kinds that can have a rule.
        rest => {
            let printable = |segment: &&str| !segment.chars().any(char::is_control);
            rest.len() > 1 && rest.iter().all(printable)
        }
    }
}

/// Our keys and those of kubectl have a meaning for their owners.
fn may_touch_key(key: &str) -> bool {
    let (domain, name) = key.rsplit_once('/').unwrap_or(("", key));
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let sound = (1..=63).contains(&name.len())
        && name.chars().all(inner)
        && (domain.is_empty() || is_subdomain(domain));
    let protected = [GROUP, "kubectl.kubernetes.io"]
        .iter()
        .any(|ours| domain == *ours || domain.ends_with(&format!(".{ours}")));
    sound && !protected
}

/// Checks a value of the declared type against the limits of every consumer: the admission policy has 64-bit integers,
/// and a string ends up in messages.
fn checked(value: &Value, value_type: ValueType, pointer: &Pointer) -> Result<Value, RuleError> {
    const LONGEST: usize = 253;
    let fits = match value_type {
        ValueType::Integer => value.is_i64(),
        ValueType::Boolean | ValueType::String => value_type.matches(value),
    };
    if !fits {
        return Err(RuleError::WrongType {
            pointer: pointer.clone(),
            value: value.to_string(),
            expected: value_type.as_str(),
        });
    }
    let text = value.as_str().unwrap_or_default();
    let in_label = pointer.segment(1) == Some("labels") && pointer.segment(0) == Some("metadata");
    let label = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.len() > LONGEST
        || text.chars().any(char::is_control)
        || (in_label && (text.len() > 63 || !text.chars().all(label)))
    {
        return Err(RuleError::Unprintable(pointer.clone()));
    }
    Ok(value.clone())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    /// A valid rule with one part replaced.
    fn with(part: &str, value: Value) -> Result<Rule, RuleError> {
        let mut spec = json!({
            "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads",
            "fields": [{"pointer": "/spec/size", "type": "integer", "passive": 0}],
        });
        *spec.pointer_mut(part).unwrap_or_else(|| panic!("{part}")) = value;
        written(&serde_json::from_value(spec).unwrap())
    }

    fn with_field(field: Value) -> Result<Rule, RuleError> {
        with("/fields/0", field)
    }

    #[track_caller]
    fn refused(rule: Result<Rule, RuleError>, because: &str) {
        let error = rule.unwrap_err().to_string();
        assert!(error.contains(because), "{error}");
    }

    #[rstest]
    #[case("/spec/replicas")]
    #[case("/spec/a/b/c/d/e")]
    #[case("/data/mode")]
    #[case("/metadata/annotations/example.com~1mode")]
    #[case("/metadata/labels/mode")]
    fn a_rule_may_change_fields_below_spec_and_foreign_labels_and_annotations(
        #[case] pointer: &str,
    ) {
        let field = json!({"pointer": pointer, "type": "string", "passive": "off"});
        assert_eq!(
            with_field(field).unwrap().fields[0].pointer.to_string(),
            pointer
        );
    }

    #[rstest]
    #[case("/metadata/name")]
    #[case("/metadata/namespace")]
    #[case("/metadata/finalizers")]
    #[case("/metadata/ownerReferences")]
    #[case("/metadata/annotations")]
    #[case("/metadata/annotations/a/b")]
    #[case("/metadata/annotations/failover.dev~1restore")]
    #[case("/metadata/annotations/x.failover.dev~1restore")]
    #[case("/metadata/labels/failover.dev~1enforce")]
    #[case("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration")]
    #[case("/metadata/annotations/not a key")]
    #[case("/metadata/resourceVersion")]
    #[case("/status/replicas")]
    #[case("/apiVersion")]
    #[case("/kind")]
    #[case("/spec")]
    #[case("/spec/a\nb")]
    fn a_rule_may_not_change_identity_or_status(#[case] pointer: &str) {
        let field = json!({"pointer": pointer, "type": "string", "passive": "off"});
        refused(with_field(field), "may not be touched");
    }

    #[rstest]
    #[case("/spec/a/b/c/d/e/f", "7 segments")]
    #[case("/spec/containers/0", "into an array")]
    #[case("spec.x", "must start with /")]
    fn an_invalid_pointer_is_named(#[case] pointer: &str, #[case] because: &str) {
        let field = json!({"pointer": pointer, "type": "string", "passive": "off"});
        refused(with_field(field), because);
    }

    #[rstest]
    #[case("/group", json!("failover.dev"), "belongs to kubectl-failover")]
    #[case("/group", json!("sub.failover.dev"), "belongs to kubectl-failover")]
    #[case("/group", json!("rbac.authorization.k8s.io"), "cannot have a rule")]
    #[case("/group", json!("*"), "group is \"*\"")]
    #[case("/group", json!("Example.com"), "lower case")]
    #[case("/resource", json!("*"), "resource is \"*\"")]
    #[case("/resource", json!("widgets/status"), "without a subresource")]
    #[case("/resource", json!("Widgets"), "lower case")]
    #[case("/kind", json!("widget"), "CamelCase")]
    #[case("/version", json!("1"), "such as v1")]
    #[case("/version", json!("v1/../v2"), "such as v1")]
    fn a_kind_is_spelled_as_in_its_url(
        #[case] part: &str,
        #[case] value: Value,
        #[case] because: &str,
    ) {
        refused(with(part, value), because);
    }

    #[rstest]
    #[case("secrets")]
    #[case("pods")]
    #[case("namespaces")]
    fn protected_kinds_have_no_rule(#[case] resource: &str) {
        let spec = json!({
            "version": "v1", "kind": "X", "resource": resource, "layer": "workloads",
            "fields": [{"pointer": "/data/x", "type": "string", "passive": "off"}],
        });
        refused(
            written(&serde_json::from_value(spec).unwrap()),
            "cannot have a rule",
        );
    }

    #[rstest]
    #[case(json!({"type": "integer", "passive": "0"}), "is not of type integer")]
    #[case(json!({"type": "integer", "passive": u64::MAX}), "is not of type integer")]
    #[case(json!({"type": "boolean", "passive": 1}), "is not of type boolean")]
    #[case(json!({"type": "string", "passive": null}), "is not of type string")]
    #[case(json!({"type": "string", "passive": "a\nb"}), "control characters")]
    #[case(json!({"type": "integer", "passive": 0, "alsoPassive": [true]}), "true is not of type integer")]
    #[case(json!({"type": "integer", "passive": 0, "active": {"value": "3"}}), "is not of type integer")]
    #[case(json!({"type": "integer", "passive": 0, "active": {"value": 0}}), "the active value is passive")]
    #[case(json!({"type": "integer", "passive": 0, "active": {"mode": "fixed"}}), "fixed active value is missing")]
    #[case(json!({"type": "integer", "passive": 0, "active": {"mode": "manual", "value": 1}}), "only with consent")]
    fn values_have_the_declared_type_and_a_meaning(#[case] field: Value, #[case] because: &str) {
        let mut field = field;
        field["pointer"] = json!("/spec/x");
        refused(with_field(field), because);
    }

    #[rstest]
    #[case("/metadata/labels/x", "integer", json!(0), "of type string")]
    #[case("/metadata/labels/x", "string", json!("a b"), "control characters")]
    fn label_values_are_valid(
        #[case] pointer: &str,
        #[case] value_type: &str,
        #[case] passive: Value,
        #[case] because: &str,
    ) {
        let field = json!({"pointer": pointer, "type": value_type, "passive": passive});
        refused(with_field(field), because);
    }

    #[rstest]
    #[case("/spec/a", "/spec/a")]
    #[case("/spec/a", "/spec/a/b")]
    #[case("/spec/a/b", "/spec/a")]
    fn fields_do_not_overlap(#[case] one: &str, #[case] other: &str) {
        let field = |pointer: &str| json!({"pointer": pointer, "type": "boolean", "passive": true});
        refused(
            with("/fields", json!([field(one), field(other)])),
            "overlap",
        );
    }

    #[test]
    fn the_number_of_fields_is_limited() {
        let field = |i: usize| json!({"pointer": format!("/spec/f{i}"), "type": "boolean", "passive": true});
        refused(with("/fields", json!([])), "not 0");
        refused(
            with("/fields", (0..9).map(field).collect()),
            "one to 8 fields, not 9",
        );
        assert!(with("/fields", (0..8).map(field).collect()).is_ok());
    }

    #[rstest]
    #[case(json!({"condition": ""}), "such as Ready")]
    #[case(json!({"condition": "is ready"}), "such as Ready")]
    #[case(json!({"condition": "Ready", "except": [{"pointer": "/spec/x", "values": []}]}), "has no value")]
    #[case(json!({"condition": "Ready", "except": [{"pointer": "/spec/x", "values": [null]}]}), "has no value")]
    #[case(json!({"condition": "Ready", "except": [{"pointer": "spec.x", "values": [1]}]}), "must start with /")]
    fn a_ready_condition_is_checked(#[case] ready: Value, #[case] because: &str) {
        let mut spec = json!({
            "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads",
            "fields": [{"pointer": "/spec/size", "type": "integer", "passive": 0}],
        });
        spec["ready"] = ready;
        refused(written(&serde_json::from_value(spec).unwrap()), because);
    }

    #[test]
    fn a_safeguard_needs_a_first_field() {
        let field = |pointer: &str, safeguard: bool| json!({"pointer": pointer, "type": "boolean", "passive": true, "safeguard": safeguard});
        let fields = |first: bool| json!([field("/spec/a", first), field("/spec/b", true)]);
        let rule = with("/fields", fields(false)).unwrap();
        let guards: Vec<_> = rule
            .safeguards()
            .map(|field| field.pointer.to_string())
            .collect();
        assert_eq!(guards, ["/spec/b"]);
        refused(
            with("/fields", fields(true)),
            "a safeguard needs an earlier field",
        );
    }

    #[test]
    fn scale_needs_a_count() {
        let spec = json!({
            "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads", "scale": true,
            "fields": [{"pointer": "/spec/on", "type": "boolean", "passive": false}],
        });
        refused(written(&serde_json::from_value(spec).unwrap()), "scale");
    }
}
