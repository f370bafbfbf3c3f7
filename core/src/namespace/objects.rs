//! The roles of single objects, as the annotation of their Namespace has them.

use std::collections::BTreeMap;
use std::fmt;

use super::NamespaceProblem;

/// The role of a single object, if it differs from its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectRole {
    /// No rule reaches it while it carries the exempt label.
    Exempt,
    /// It was exempt, and is deleted. A new object of its name with the exempt label is exempt again.
    ExemptIfLabelled,
    /// It follows its layer: how a policy names an object in a namespace enrolled as `policy`.
    Site,
    Primary,
    Secondary,
    /// Passive, whatever the role of its layer: its installer is gone, see [`crate::origin`].
    Orphaned,
}

impl ObjectRole {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::ExemptIfLabelled => "exempt-if-labelled",
            Self::Site => "site",
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::Orphaned => "orphaned",
        }
    }
}

/// The annotation [`OBJECTS_ANNOTATION`](crate::names::OBJECTS_ANNOTATION):
/// `deployments/web=exempt deployments/api=primary`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectRoles(BTreeMap<String, ObjectRole>);

impl ObjectRoles {
    pub fn get(&self, resource: &str, name: &str) -> Option<ObjectRole> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&format!("{resource}/{name}")).copied()
    }

    pub fn set(&mut self, resource: &str, name: &str, role: ObjectRole) {
        self.0.insert(format!("{resource}/{name}"), role);
    }

    pub fn remove(&mut self, resource: &str, name: &str) -> Option<ObjectRole> {
        self.0.remove(&format!("{resource}/{name}"))
    }

    /// `(resource, name, role)`, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, ObjectRole)> {
        self.0.iter().filter_map(|(object, role)| {
            let (resource, name) = object.split_once('/')?;
            Some((resource, name, *role))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn parse(text: &str, problems: &mut Vec<NamespaceProblem>) -> Self {
        let mut roles = BTreeMap::new();
        for entry in text.split_whitespace() {
            let parsed = entry.rsplit_once('=').and_then(|(object, role)| {
                let (resource, name) = object.split_once('/')?;
                let role = match role {
                    "exempt" => ObjectRole::Exempt,
                    "exempt-if-labelled" => ObjectRole::ExemptIfLabelled,
                    "site" => ObjectRole::Site,
                    "primary" => ObjectRole::Primary,
                    "secondary" => ObjectRole::Secondary,
                    "orphaned" => ObjectRole::Orphaned,
                    _ => return None,
                };
                (!resource.is_empty() && !name.is_empty()).then_some((object, role))
            });
            match parsed {
                Some((object, role)) => {
                    roles.insert(object.to_owned(), role);
                }
                None => problems.push(NamespaceProblem::Object(entry.to_owned())),
            }
        }
        Self(roles)
    }
}

impl fmt::Display for ObjectRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (object, role)) in self.0.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            write!(f, "{space}{object}={}", role.as_str())?;
        }
        Ok(())
    }
}
