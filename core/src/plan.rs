//! What a role would change, before it does: [`plan_object`] runs the same function as the webhook on a copy.

use std::fmt;

use serde_json::Value;

use crate::rewrite::{Rewrite, RewriteError, rewrite_stored};
use crate::role::{Layer, Role};
use crate::rule::Rule;

/// An object, as a person names it.
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

/// What happens to one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub object: ObjectRef,
    pub kind: String,
    pub layer: Layer,
    pub role: Role,
    pub rewrite: Rewrite,
    /// The object as it will be.
    pub after: Value,
}

/// What a role does to a stored object; `None` where it changes nothing and there is nothing to say.
pub fn plan_object(
    rule: &Rule,
    role: Role,
    namespace: &str,
    object: &Value,
) -> Result<Option<Item>, RewriteError> {
    let rewrite = rewrite_stored(rule, role, object)?;
    if rewrite.is_empty() && rewrite.notes.is_empty() {
        return Ok(None);
    }
    let mut after = object.clone();
    json_patch::patch(&mut after, &rewrite.patch)
        .expect("a patch made for this object applies to it");
    Ok(Some(Item {
        object: ObjectRef::of(rule, namespace, object),
        kind: rule.kind.to_string(),
        layer: rule.layer,
        role,
        rewrite,
        after,
    }))
}
