//! One rule: the fields that make the objects of a kind passive, and how they become active again.

use std::borrow::Cow;

use serde_json::Value;

use crate::api::ValueType;
use crate::json::pointer::Pointer;
use crate::role::Layer;

/// The rule for one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub group: Cow<'static, str>,
    /// The version in which the controller and the CLI read and write the kind. The webhook serves every version: the
    /// fields are the same in all of them.
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    /// Plural, as in URLs.
    pub resource: Cow<'static, str>,
    pub layer: Layer,
    pub fields: Vec<Field>,
    /// Whether `/scale` is another way to change the first field.
    pub scale: bool,
    pub reach: Reach,
    /// How an active object reports that it is up; `None`: by its available replicas, if it has any.
    pub ready: Option<Ready>,
}

/// How an active object reports that it is up.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// The type of the condition that is then True.
    pub condition: Cow<'static, str>,
    /// Objects whose field has one of these values are started by a person, and not waited for.
    pub except: Vec<(Pointer, Vec<Value>)>,
}

/// The objects of the kind that a rule reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    All,
    /// Only those without a controlling owner: the others follow their owner, which has a rule of its own.
    Uncontrolled,
    /// Only those that a FailoverPolicy names.
    Named,
}

/// One field of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub pointer: Pointer,
    pub value_type: ValueType,
    /// The value that is forced.
    pub passive: Value,
    /// Other values that are passive too and are left unchanged, such as `resync` of a VolumeReplication.
    pub also_passive: Vec<Value>,
    /// Whether an absent field is passive too. Otherwise absence is the API's default, which is active.
    pub absent_is_passive: bool,
    pub active: Active,
    /// Whether the field keeps the passive value of the first field from destroying data, as a StatefulSet's
    /// `whenScaled: Retain` keeps the claims that `replicas: 0` would delete. The first field does not become passive
    /// without it, and it becomes active again only if the first field does, or was recorded as passive.
    pub safeguard: bool,
}

/// How a field becomes active again.
#[derive(Clone, Debug, PartialEq)]
pub enum Active {
    /// From the record; `or` if there is none.
    Restore { or: Option<Value> },
    /// Always this value; nothing is recorded.
    Fixed(Value),
    /// From the record, but only on consent if the object was created while its layer was not primary: an object that
    /// never ran does not start by itself.
    Manual,
}

impl Field {
    /// Whether a value, or its absence, is passive.
    pub fn is_passive(&self, value: Option<&Value>) -> bool {
        match value {
            Some(value) => *value == self.passive || self.also_passive.contains(value),
            None => self.absent_is_passive,
        }
    }
}

impl Rule {
    /// The fields that must be passive before the first one may be, because its passive value alone destroys data.
    pub fn safeguards(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.safeguard)
    }

    /// Whether scaling down through `/scale` is unsafe: a Scale shows only the count, not the safeguards.
    pub fn scale_is_unsafe(&self) -> bool {
        self.scale && self.safeguards().next().is_some()
    }

    /// Whether it is the rule of this kind.
    pub fn is_of(&self, group: &str, resource: &str) -> bool {
        self.resource == resource && self.group == group
    }

    /// `deployments.apps`, or `replicationcontrollers` for the core group.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_string()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    /// Whether this rule applies to a stored object of its kind, in any namespace. It does not apply to an object with
    /// a controlling owner that its rule leaves to that owner: such an object has copies of its owner's annotations,
    /// which mean nothing on it.
    pub fn reaches(&self, object: &Value) -> bool {
        let controlled = || {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners
                .into_iter()
                .flatten()
                .any(|owner| owner["controller"] == Value::Bool(true))
        };
        self.reach != Reach::Uncontrolled || !controlled()
    }

    /// Whether all fields of a stored object are passive.
    pub fn is_passive(&self, object: &Value) -> bool {
        self.fields
            .iter()
            .all(|field| field.is_passive(field.pointer.lookup(object)))
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}
