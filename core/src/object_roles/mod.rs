//! What is asked of single objects, or follows from what installed them, turned into what is in force: the annotation
//! [`OBJECTS_ANNOTATION`] of each enrolled Namespace.
//!
//! ```text
//!   exempt labels on objects ─┐                               ┌─► ObjectRoles per namespace ─► webhook, policies, sweeper
//!   FailoverPolicies ─────────┼─► compile(.., in force now) ──┼─► results per policy ────────► its status
//!   Namespaces as they are ───┘                               └─► what is held back ─────────► status, plan
//! ```
//!
//! Whoever may label an object, or commit to the repository that Flux applies, can *ask*. What is asked takes effect as
//! soon as it makes an object more passive, and only on a settled primary where it makes it more active: no commit opens a
//! standby. Two things open an object on a secondary all the same, and both are a person's: an exemption that an operator
//! has put in force by hand stays for as long as the object asks for it, and a policy's `desiredState: primary` is an order
//! (GitOps is kept from writing one by an admission policy).
//!
//! What a policy orders by `desiredState` is in force of an object once the policy's own transition has come to the object's layer
//! (`crate::transition::decide_policy`): its journal, in the policy's status, says which layers those are. Until then the object
//! stands as it stood.
//!
//! What nothing orders to be live any more closes at once, but for volumes: those wait until nothing uses them
//! (`crate::transition::unused_volumes`).
//!
//! Nothing is remembered but what the cluster says: what is in force is read from the Namespace, and which orders have been
//! refused from the policy's own status. So it does not matter in which order things arrive, or how often this runs.
//!
//! [`OBJECTS_ANNOTATION`]: crate::names::OBJECTS_ANNOTATION

mod decide;
mod limit;
mod requests;

#[cfg(test)]
mod orphans_tests;
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

/// Everything that is asked, and everything that decides about it.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub namespaces: &'a [EnrolledNamespace],
    /// Objects of ruled kinds that carry the label `failover.dev/enforce: disabled`.
    pub exempt: &'a BTreeSet<ObjectKey>,
    pub policies: &'a [&'a FailoverPolicy],
    pub rules: &'a RuleSet,
    /// Objects that were exempt and are not there now.
    pub absent: &'a BTreeSet<ObjectKey>,
    /// The site has settled in its role. While it moves nothing is loosened: what leaves enforcement now would miss what
    /// the move is about to do.
    pub settled: bool,
    /// Volumes that are known not to be used by anything: only these close without a transition.
    pub unused: &'a BTreeSet<ObjectKey>,
    /// What installed what.
    pub origins: &'a Origins,
}

/// What is to be in force, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// For each enrolled namespace.
    pub objects: BTreeMap<String, ObjectRoles>,
    /// Sorted by object.
    pub held: Vec<Deferred>,
    /// Objects that stay passive since what installed them is gone; sorted by object.
    pub orphaned: Vec<Deferred>,
    /// What is gone by which an object was found orphaned just now: see that it is gone before that comes into force.
    pub missing: BTreeSet<ObjectKey>,
    /// Sorted by namespace and name.
    pub policies: Vec<PolicyResult>,
    /// Volumes that nothing orders to be live any more, and that close once nothing uses them.
    pub closing: BTreeSet<ObjectKey>,
    /// Exemptions that were in force and of which no label was given: see that there is none before they end.
    pub unasked: BTreeSet<ObjectKey>,
    /// Exemptions of objects that were deleted: see now and then whether one has been created without the label.
    pub awaited: BTreeSet<ObjectKey>,
}

/// Something that was asked and is not in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deferred {
    pub object: ObjectKey,
    /// What was asked, why it is not so, and what would make it so.
    pub why: String,
}

/// What became of one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyResult {
    pub namespace: String,
    pub name: String,
    /// In the order of its spec.
    pub resources: Vec<ResourceResult>,
}

impl PolicyResult {
    /// Whether it is what became of this policy.
    pub fn is_of(&self, policy: &FailoverPolicy) -> bool {
        requests::name_of(policy) == (&self.namespace, &self.name)
    }
}

/// What became of one object that a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceResult {
    pub resource: ManagedResource,
    /// `None` where its namespace or kind is not known; then nothing is known of the rest either.
    pub object: Option<ObjectKey>,
    /// What it moves with.
    pub layer: Option<Layer>,
    /// How it stands now.
    pub stands: Option<ObjectStanding>,
    /// The role that it will have.
    pub state: Option<Role>,
    pub refused: Option<(ManagedResourceReason, String)>,
}

/// Decides what is to be in force.
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
                // Nothing reads such an entry; it stays for the day on which its rule is back.
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
            if let Some(why) = decided.held {
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

/// Everything in a namespace that is asked for or in force.
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

/// The objects of one namespace, of those that are known of all: they are next to one another.
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

/// The rule for a plural. The annotation knows no groups, so two rules that share a plural cannot be told apart in it.
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
        let (stands, will_stand) = namespace
            .zip(rule)
            .map(|(namespace, rule)| {
                let state = &namespace.state;
                let entry = objects
                    .get(&key.namespace)
                    .and_then(|objects| objects.get(&key.resource, &key.name));
                let stands = state.standing(rule, &key.name, ExemptLabel::Unseen);
                (stands, state.standing_as(rule, entry))
            })
            .unzip();
        ResourceResult {
            resource: resource.clone(),
            layer: rule.map(|rule| rule.layer),
            stands,
            state: match will_stand {
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
                        stands: None,
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
