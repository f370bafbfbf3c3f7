//! Compiles a written RoleRule to a [`Rule`], or reports what is wrong with it.
//!
//! The schema of the CRD cannot check all of this, and `spec` may come from a careless commit: a rule ends up in RBAC,
//! in expressions of an admission policy and in patches of every object of its kind.

mod kind;

use serde_json::Value;

use crate::api::{ActiveMode, RoleRuleField, RoleRuleReady, RoleRuleSpec, ValueType};
use crate::json::pointer::{Pointer, PointerError};
use crate::names::GROUP;
use crate::rules::rule::{Active, Field, Reach, Ready, Rule};

/// The most fields of a rule as written.
const MAX_FIELDS: usize = 8;

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
        kind::check(spec)?;
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
        && (domain.is_empty() || kind::is_subdomain(domain));
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
mod tests;
