//! The names of an object: in the annotation of its Namespace, and for a person.

use std::fmt;

use serde_json::Value;

use crate::rules::rule::Rule;

/// An object as the annotation names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub namespace: String,
    /// Plural.
    pub resource: String,
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.resource, self.name)
    }
}

/// An object as a person names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    pub namespace: String,
    pub group: String,
    /// Plural.
    pub resource: String,
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.resource, self.name)
    }
}

impl ObjectRef {
    /// The reference of an object of a rule's kind.
    pub fn of(rule: &Rule, namespace: &str, object: &Value) -> Self {
        Self {
            namespace: namespace.to_owned(),
            group: rule.group.to_string(),
            resource: rule.resource.to_string(),
            name: object["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}
