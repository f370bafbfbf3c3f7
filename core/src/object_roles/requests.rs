//! The requests for each object, collected from labels and policies.

use std::collections::{BTreeMap, BTreeSet};

use super::{ByName, Deferred, Inputs, in_namespace, the_rule};
use crate::api::{
    FailoverPolicy, FailoverPolicyStatus, ManagedResource, ManagedResourceReason,
    ManagedResourceStatus, Transition,
};
use crate::object::ObjectKey;
use crate::role::Role;

/// The requests for one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ask {
    /// It carries the exempt label.
    pub(super) exempt: bool,
    /// The policies that name it, by the state they ask for: `None` is "it follows the site".
    pub(super) policies: BTreeMap<Option<Role>, BTreeSet<String>>,
    /// A policy that orders `primary` has not been refused before.
    pub(super) fresh: bool,
    /// For each policy that orders a state, whether its transition has reached the object's layer.
    reached: Vec<bool>,
}

impl Ask {
    /// Whether the ordered state is due now. The object becomes secondary as soon as one policy's transition reaches
    /// it, and primary only once all do: its dependencies may move with any of them.
    pub(super) fn is_due(&self, ordered: Role) -> bool {
        match ordered {
            Role::Primary => self.reached.iter().all(|reached| *reached),
            Role::Secondary => self.reached.iter().any(|reached| *reached),
        }
    }
}

/// The requests for all objects.
#[derive(Debug, Default)]
pub(super) struct RequestedRoles {
    by_object: BTreeMap<ObjectKey, Ask>,
    /// Labels that cannot be followed at all.
    pub(super) unusable: Vec<Deferred>,
}

impl RequestedRoles {
    pub(super) fn read(inputs: &Inputs<'_>, namespaces: &ByName<'_>) -> Self {
        let mut asked = Self::default();
        let enrolled = |key: &&ObjectKey| namespaces.contains_key(key.namespace.as_str());
        for key in inputs.exempt.iter().filter(enrolled) {
            if the_rule(inputs.rules, &key.resource).is_some() && is_name(&key.name) {
                asked.by_object.entry(key.clone()).or_default().exempt = true;
            } else {
                asked.unusable.push(Deferred {
                    object: key.clone(),
                    why: "its exempt label has no effect: its kind has no rule, or more than one"
                        .to_owned(),
                });
            }
        }
        for policy in inputs.policies {
            let state = policy.spec.desired_state;
            let (namespace, name) = name_of(policy);
            for (resource, named) in resources(inputs, namespaces, policy) {
                let Ok(key) = named else { continue };
                let ask = asked.by_object.entry(key.clone()).or_default();
                ask.policies
                    .entry(state)
                    .or_default()
                    .insert(format!("{namespace}/{name}"));
                ask.fresh |= state == Some(Role::Primary) && !was_refused(policy, resource, &key);
                if let (Some(state), Some(rule)) = (state, the_rule(inputs.rules, &key.resource)) {
                    let transition = transition(policy, resource, &key)
                        .filter(|transition| transition.to == state);
                    let ordered =
                        transition.and_then(|transition| transition.layers.of(rule.layer));
                    ask.reached.push(ordered == Some(state));
                }
            }
        }
        asked
    }

    pub(super) fn of(&self, key: &ObjectKey) -> &Ask {
        static NOTHING: Ask = Ask {
            exempt: false,
            policies: BTreeMap::new(),
            fresh: false,
            reached: Vec::new(),
        };
        self.by_object.get(key).unwrap_or(&NOTHING)
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = ObjectKey> {
        in_namespace(&self.by_object, namespace)
    }
}

/// Namespace and name.
pub(super) fn name_of(policy: &FailoverPolicy) -> (&str, &str) {
    (
        policy.metadata.namespace.as_deref().unwrap_or_default(),
        policy.metadata.name.as_deref().unwrap_or_default(),
    )
}

type Named = Result<ObjectKey, (ManagedResourceReason, String)>;

/// The objects that a policy names, each with its key, or the reason why it has none.
pub(super) fn resources<'a>(
    inputs: &'a Inputs<'_>,
    namespaces: &'a ByName<'_>,
    policy: &'a FailoverPolicy,
) -> impl Iterator<Item = (&'a ManagedResource, Named)> {
    policy
        .spec
        .managed_resources
        .iter()
        .map(move |resource| (resource, object(inputs, namespaces, policy, resource)))
}

fn object(
    inputs: &Inputs<'_>,
    namespaces: &ByName<'_>,
    policy: &FailoverPolicy,
    named: &ManagedResource,
) -> Named {
    let kind = named.kind.as_str();
    let rule = inputs.rules.iter().find(|rule| {
        rule.kind == kind
            && named
                .api_group
                .as_deref()
                .is_none_or(|group| group == rule.group)
    });
    // A name with a space or an equal sign would be read as another entry of the annotation.
    let rule = rule
        .filter(|rule| is_name(&named.name) && the_rule(inputs.rules, &rule.resource).is_some())
        .ok_or_else(|| {
            (
                ManagedResourceReason::Invalid,
                "no rule covers this object: check kind, apiGroup and name".to_owned(),
            )
        })?;
    let own = name_of(policy).0;
    let namespace = named.namespace.as_deref().unwrap_or(own);
    if !namespaces.contains_key(namespace) {
        return Err((
            ManagedResourceReason::NotEnrolled,
            format!(
                "namespace {namespace} is not enrolled: kubectl failover enroll {namespace} --policy-only"
            ),
        ));
    }
    Ok(ObjectKey {
        namespace: namespace.to_owned(),
        resource: rule.resource.to_string(),
        name: named.name.clone(),
    })
}

/// The transition of the current generation of a policy, if it includes this object: an object that was not named, or
/// was refused, when the transition was recorded has not been waited for.
fn transition<'a>(
    policy: &'a FailoverPolicy,
    named: &ManagedResource,
    key: &ObjectKey,
) -> Option<&'a Transition> {
    let status = policy.status.as_ref()?;
    let journalled = status.observed_generation == policy.metadata.generation
        && reported(status, named, key).is_some_and(|reported| !reported.is_refused());
    status.transition.as_ref().filter(|_| journalled)
}

/// The last reported status of an object in a policy.
fn reported<'a>(
    status: &'a FailoverPolicyStatus,
    named: &ManagedResource,
    key: &ObjectKey,
) -> Option<&'a ManagedResourceStatus> {
    let mut resources = status.resources.iter();
    resources.find(|reported| {
        (reported.kind, &reported.name, &reported.namespace)
            == (named.kind, &named.name, &key.namespace)
    })
}

/// Whether the current generation of the policy has reported that the object does not move. That order does not come
/// into force once the reason is gone: deleting somebody else's policy must not activate an object on a standby.
fn was_refused(policy: &FailoverPolicy, named: &ManagedResource, key: &ObjectKey) -> bool {
    let Some(status) = &policy.status else {
        return false;
    };
    let reported = reported(status, named, key).and_then(|reported| reported.reason);
    status.observed_generation == policy.metadata.generation
        && matches!(
            reported,
            Some(ManagedResourceReason::Conflict | ManagedResourceReason::Waiting)
        )
}

/// A DNS subdomain, as object names are.
fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    (1..=253).contains(&name.len()) && name.chars().all(inner)
}
