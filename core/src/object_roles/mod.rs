//! Compiles the requests for single objects, and the effects of their installers, into the entries in force: the
//! annotation [`OBJECTS_ANNOTATION`] of each enrolled Namespace.
//!
//! ```text
//!   exempt labels on objects ─┐                               ┌─► ObjectRoles per namespace ─► webhook, policies, sweeper
//!   FailoverPolicies ─────────┼─► compile(.., in force now) ──┼─► results per policy ────────► its status
//!   Namespaces as they are ───┘                               └─► deferred requests ─────────► status, plan
//! ```
//!
//! Everybody who may label an object, or commit to the repository that Flux applies, can *request* an entry. A request
//! takes effect at once if it makes an object more passive, and only on a settled primary if it makes it more active:
//! no commit activates an object on a standby. Two things still activate an object on a secondary, and both come from a
//! person: an exemption that an operator has put in force stays while the object asks for it, and a policy's
//! `desiredState: primary` is an order (an admission policy prevents GitOps from writing one).
//!
//! The `desiredState` of a policy takes effect on an object once the policy's own transition has reached the object's
//! layer (`crate::transition::decide_policy`): its journal, in the policy's status, lists those layers. Until then the
//! object keeps its state.
//!
//! An object that nothing orders to be active any more becomes passive at once. Volumes wait until nothing uses them
//! (`crate::transition::unused_volumes`).
//!
//! All state is in the cluster: the entries in force are read from the Namespace, and refused orders from the policy's
//! own status. So neither the order of events nor the number of runs matters.
//!
//! [`OBJECTS_ANNOTATION`]: crate::names::OBJECTS_ANNOTATION

mod decide;
mod limit;
mod requests;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::RuleSet;
use crate::api::{FailoverPolicy, ManagedResource, ManagedResourceReason};
use crate::namespace::{EnrolledNamespace, ExemptLabel, ObjectRole, ObjectRoles, ObjectStanding};
use crate::object::ObjectKey;
use crate::origin::Origins;
use crate::role::{Layer, Role};
use crate::rules::rule::Rule;
use requests::RequestedRoles;

/// All requests, and everything that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub namespaces: &'a [EnrolledNamespace],
    /// Objects of ruled kinds that carry the label `failover.dev/enforce: disabled`.
    pub exempt: &'a BTreeSet<ObjectKey>,
    pub policies: &'a [&'a FailoverPolicy],
    pub rules: &'a RuleSet,
    /// Objects that were exempt and do not exist now.
    pub absent: &'a BTreeSet<ObjectKey>,
    /// The site has settled in its role. During a transition nothing is loosened: an object that leaves enforcement now
    /// would be left out of the rest of the transition.
    pub settled: bool,
    /// Volumes that are known to be unused: only these become passive without a transition.
    pub unused: &'a BTreeSet<ObjectKey>,
    /// The installers of objects.
    pub origins: &'a Origins,
}

/// The entries to put in force, and the requests that are deferred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// By enrolled namespace.
    pub objects: BTreeMap<String, ObjectRoles>,
    /// Sorted by object.
    pub held: Vec<Deferred>,
    /// Objects that stay passive because their installer is gone; sorted by object.
    pub orphaned: Vec<Deferred>,
    /// The missing installers of objects that were just found orphaned: check that they are gone before that takes
    /// effect.
    pub missing: BTreeSet<ObjectKey>,
    /// Sorted by namespace and name.
    pub policies: Vec<PolicyResult>,
    /// Volumes that nothing orders to be active any more, and that become passive once nothing uses them.
    pub closing: BTreeSet<ObjectKey>,
    /// Exemptions in force whose label was not found: check that it is absent before they end.
    pub unasked: BTreeSet<ObjectKey>,
    /// Exemptions of deleted objects: check regularly whether one has been created without the label.
    pub awaited: BTreeSet<ObjectKey>,
}

/// A request that is not in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deferred {
    pub object: ObjectKey,
    /// What was requested, why it is not in force, and what would put it in force.
    pub why: String,
}

/// The result for one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyResult {
    pub namespace: String,
    pub name: String,
    /// In the order of its spec.
    pub resources: Vec<ResourceResult>,
}

impl PolicyResult {
    /// Whether it is the result for this policy.
    pub fn is_of(&self, policy: &FailoverPolicy) -> bool {
        requests::name_of(policy) == (&self.namespace, &self.name)
    }
}

/// The result for one object that a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceResult {
    pub resource: ManagedResource,
    /// `None` if its namespace or kind is not known; then the other fields are unknown too.
    pub object: Option<ObjectKey>,
    /// The layer that it changes with.
    pub layer: Option<Layer>,
    /// Its current state.
    pub standing: Option<ObjectStanding>,
    /// The role that it will have.
    pub state: Option<Role>,
    pub refused: Option<(ManagedResourceReason, String)>,
}

/// Decides the entries to put in force.
pub fn compile(inputs: &Inputs<'_>) -> Compiled {
    let namespaces = inputs.namespaces.iter().map(|n| (n.name.as_str(), n));
    let namespaces: ByName<'_> = namespaces.collect();
    let asked = RequestedRoles::read(inputs, &namespaces);
    let mut compiled = Compiled::default();
    let mut refused = BTreeMap::new();
    for namespace in inputs.namespaces {
        let mut objects = namespace.state.objects.clone();
        for key in keys(namespace, &asked, inputs.origins) {
            let Some(rule) = the_rule(inputs.rules, &key.resource) else {
                // Nothing reads such an entry; it stays until its rule is back.
                continue;
            };
            let current = namespace.state.objects.get(&key.resource, &key.name);
            let decided = decide::next(
                &decide::ObjectSubject {
                    state: &namespace.state,
                    rule,
                    current,
                    settled: inputs.settled,
                    unused: inputs.unused.contains(&key),
                    absent: inputs.absent.contains(&key),
                    installed: inputs.origins.of(&key, inputs.namespaces, inputs.rules),
                },
                asked.of(&key),
                &key,
            );
            match current {
                _ if asked.of(&key).exempt => {}
                Some(ObjectRole::Exempt) if decided.entry != current => {
                    compiled.unasked.insert(key.clone());
                }
                Some(ObjectRole::ExemptIfLabelled) => {
                    compiled.awaited.insert(key.clone());
                }
                _ => {}
            }
            match decided.entry {
                Some(role) => objects.set(&key.resource, &key.name, role),
                None => {
                    objects.remove(&key.resource, &key.name);
                }
            }
            if let Some((gone, why)) = decided.orphaned {
                if current != Some(ObjectRole::Orphaned) {
                    compiled.missing.insert(gone.owner.clone());
                }
                compiled.orphaned.push(Deferred {
                    object: key.clone(),
                    why,
                });
            }
            if decided.closes_later {
                compiled.closing.insert(key.clone());
            }
            if let Some(why) = decided.deferred {
                compiled.held.push(Deferred {
                    object: key.clone(),
                    why,
                });
            }
            if let Some(refusal) = decided.refused {
                refused.insert(key, refusal);
            }
        }
        for key in limit::make_room(&namespace.name, &namespace.state.objects, &mut objects) {
            let why = limit::no_room(&key);
            compiled.held.push(Deferred {
                object: key.clone(),
                why: why.clone(),
            });
            refused.insert(key, (ManagedResourceReason::NoRoom, why));
        }
        compiled.objects.insert(namespace.name.clone(), objects);
    }
    compiled.held.extend(asked.unusable);
    compiled.held.sort();
    compiled.orphaned.sort();
    compiled.policies = results(inputs, &namespaces, &compiled.objects, &refused);
    compiled
}

/// All objects of a namespace that are requested or in force.
fn keys(
    namespace: &EnrolledNamespace,
    asked: &RequestedRoles,
    origins: &Origins,
) -> BTreeSet<ObjectKey> {
    let in_force = namespace
        .state
        .objects
        .iter()
        .map(|(resource, name, _)| ObjectKey {
            namespace: namespace.name.clone(),
            resource: resource.to_owned(),
            name: name.to_owned(),
        });
    asked
        .in_namespace(&namespace.name)
        .chain(in_force)
        .chain(in_namespace(&origins.installed, &namespace.name))
        .collect()
}

/// The objects of one namespace, from a sorted map of all.
fn in_namespace<T>(
    objects: &BTreeMap<ObjectKey, T>,
    namespace: &str,
) -> impl Iterator<Item = ObjectKey> {
    let first = ObjectKey {
        namespace: namespace.to_owned(),
        resource: String::new(),
        name: String::new(),
    };
    let from_there = objects.range(first..).map(|(key, _)| key);
    from_there
        .take_while(move |key| key.namespace == namespace)
        .cloned()
}

/// Enrolled namespaces by name.
type ByName<'a> = BTreeMap<&'a str, &'a EnrolledNamespace>;

/// The rule for a plural. The annotation has no groups, so two rules that share a plural cannot be distinguished in it.
fn the_rule<'a>(rules: &'a RuleSet, resource: &str) -> Option<&'a Rule> {
    let mut found = rules.iter().filter(|rule| rule.resource == resource);
    let rule = found.next()?;
    found.next().is_none().then_some(rule)
}

fn results(
    inputs: &Inputs<'_>,
    namespaces: &ByName<'_>,
    objects: &BTreeMap<String, ObjectRoles>,
    refused: &BTreeMap<ObjectKey, (ManagedResourceReason, String)>,
) -> Vec<PolicyResult> {
    let found = |resource: &ManagedResource, key: ObjectKey| {
        let namespace = namespaces.get(key.namespace.as_str());
        let rule = the_rule(inputs.rules, &key.resource);
        let (standing, next) = namespace
            .zip(rule)
            .map(|(namespace, rule)| {
                let state = &namespace.state;
                let entry = objects
                    .get(&key.namespace)
                    .and_then(|objects| objects.get(&key.resource, &key.name));
                let standing = state.standing(rule, &key.name, ExemptLabel::Unseen);
                (standing, state.standing_as(rule, entry))
            })
            .unzip();
        ResourceResult {
            resource: resource.clone(),
            layer: rule.map(|rule| rule.layer),
            standing,
            state: match next {
                Some(ObjectStanding::Ruled(role)) => Some(role),
                Some(ObjectStanding::Free | ObjectStanding::Unknown) | None => None,
            },
            refused: refused.get(&key).cloned(),
            object: Some(key),
        }
    };
    let mut results: Vec<PolicyResult> = inputs
        .policies
        .iter()
        .map(|policy| {
            let resources = requests::resources(inputs, namespaces, policy).map(
                |(resource, named)| match named {
                    Ok(key) => found(resource, key),
                    Err(refusal) => ResourceResult {
                        resource: resource.clone(),
                        object: None,
                        layer: None,
                        standing: None,
                        state: None,
                        refused: Some(refusal),
                    },
                },
            );
            let (namespace, name) = requests::name_of(policy);
            PolicyResult {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                resources: resources.collect(),
            }
        })
        .collect();
    results.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    results
}
