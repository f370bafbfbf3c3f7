//! Names that a standby keeps publishing: objects that external-dns reads and that no rule covers.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde_json::Value;

use super::external_dns::{self, GATEWAY_API, PREFIXES, SOURCES, Source};
use super::{is_exempt, reference, text};
use crate::object::ObjectRef;
use crate::role::Layer;
use crate::rules::set::RuleSet;

/// An object whose names a standby keeps publishing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub object: ObjectRef,
    pub why: String,
    /// The shipped rule that makes external-dns ignore it.
    pub rule: Option<&'static str>,
}

/// The kinds to check: those without a rule of the traffic layer.
pub fn unruled(rules: &RuleSet) -> Vec<&'static Source> {
    let is_ruled = |source: &Source| {
        rules
            .find(source.group, source.resource)
            .is_some_and(|rule| rule.layer == Layer::Traffic)
    };
    SOURCES.iter().filter(|source| !is_ruled(source)).collect()
}

/// A kind of the Gateway API in one namespace whose listeners provide names for routes: it must be listed too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parent {
    pub namespace: String,
    pub kind: ParentKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParentKind {
    Gateway,
    ListenerSet,
}

impl ParentKind {
    pub const ALL: [Self; 2] = [Self::Gateway, Self::ListenerSet];
    pub const GROUP: &'static str = GATEWAY_API;
    /// The version to read it in, if that is served.
    pub const VERSION: &'static str = "v1";

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
        }
    }

    /// Plural.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Gateway => "gateways",
            Self::ListenerSet => "listenersets",
        }
    }
}

/// The parents whose listeners provide names for these routes.
pub fn parents(source: &Source, objects: &[Value]) -> BTreeSet<Parent> {
    if source.listeners.is_empty() {
        return BTreeSet::new();
    }
    objects
        .iter()
        .filter(|route| !is_exempt(route) && takes_names_of_listeners(source, route))
        .flat_map(|route| Attachment::of(route).map(|attachment| attachment.parent))
        .collect()
}

fn takes_names_of_listeners(source: &Source, route: &Value) -> bool {
    let read = |prefix: &&str| !source.is_left_alone(route, prefix);
    external_dns::route_hosts(route).is_empty() && PREFIXES.iter().any(read)
}

/// The listed [`parents`].
#[derive(Debug, Default)]
pub struct Listeners(HashMap<(Parent, String), Vec<Listener>>);

#[derive(Debug)]
struct Listener {
    name: String,
    hostname: String,
    protocol: String,
}

impl Listeners {
    pub fn add(&mut self, parent: &Parent, objects: &[Value]) {
        for object in objects {
            let listeners = object["spec"]["listeners"].as_array().into_iter().flatten();
            let field = |listener: &Value, name: &str| {
                listener[name].as_str().unwrap_or_default().to_owned()
            };
            let listeners = listeners.map(|listener| Listener {
                name: field(listener, "name"),
                hostname: field(listener, "hostname"),
                protocol: field(listener, "protocol"),
            });
            let key = (parent.clone(), text(object, "name").to_owned());
            self.0.insert(key, listeners.collect());
        }
    }

    /// The hosts of the listeners that a route is attached to.
    fn hosts(&self, source: &Source, route: &Value) -> Vec<&str> {
        Attachment::of(route)
            .filter_map(|at| {
                let listeners = self.0.get(&(at.parent, at.name.to_owned()))?;
                Some((at.section, listeners))
            })
            .flat_map(|(section, listeners)| {
                let attached = move |listener: &&Listener| {
                    section.is_none_or(|section| section == listener.name)
                        && source.listeners.contains(&listener.protocol.as_str())
                };
                listeners.iter().filter(attached)
            })
            .map(|listener| listener.hostname.as_str())
            .filter(|hostname| !hostname.is_empty())
            .collect()
    }
}

/// One of a route's `parentRefs` that has listeners.
struct Attachment<'a> {
    parent: Parent,
    name: &'a str,
    section: Option<&'a str>,
}

impl<'a> Attachment<'a> {
    fn of(route: &'a Value) -> impl Iterator<Item = Self> {
        let parents = route["spec"]["parentRefs"].as_array().into_iter().flatten();
        parents.filter_map(|parent| {
            let field = |name: &str| parent[name].as_str().filter(|text| !text.is_empty());
            if field("group").unwrap_or(GATEWAY_API) != GATEWAY_API {
                return None;
            }
            // Another kind may be a Service, in a mesh: nothing is published.
            let named = field("kind").unwrap_or("Gateway");
            let kind = ParentKind::ALL.into_iter().find(|k| k.as_str() == named)?;
            let namespace = field("namespace").unwrap_or(text(route, "namespace"));
            Some(Self {
                parent: Parent {
                    namespace: namespace.to_owned(),
                    kind,
                },
                name: field("name")?,
                section: field("sectionName"),
            })
        })
    }
}

/// The objects from which external-dns publishes names. Both sites may publish an exempt object: an operator has
/// allowed it.
///
/// Only for namespaces that are enrolled as a whole, and kinds that are [`unruled`].
pub fn published(source: &Source, objects: &[Value], listeners: &Listeners) -> Vec<Published> {
    let objects = objects.iter().filter(|object| !is_exempt(object));
    objects
        .filter_map(|object| {
            let listened = listeners.hosts(source, object);
            let by = PREFIXES.map(|prefix| source.names(object, prefix, &listened));
            let all: BTreeSet<&str> = by.iter().flatten().copied().collect();
            if all.is_empty() {
                return None;
            }
            let who = match by.each_ref().map(BTreeSet::is_empty) {
                [false, true] => format!("external-dns before 0.22, which reads {},", PREFIXES[0]),
                [true, false] => format!("external-dns from 0.22 on, which reads {},", PREFIXES[1]),
                _ => "external-dns".to_owned(),
            };
            Some(Published {
                object: reference(source.group, source.resource, object),
                why: format!("{who} publishes {}", Shortened(&all)),
                rule: source.rule,
            })
        })
        .collect()
}

/// The first few names.
struct Shortened<'a>(&'a BTreeSet<&'a str>);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMED: usize = 3;
        let named: Vec<&str> = self.0.iter().copied().take(NAMED).collect();
        f.write_str(&named.join(", "))?;
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests;
