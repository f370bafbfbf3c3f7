//! Properties of every request, in every order.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;

use super::*;
use crate::api::{FailoverPolicySpec, ManagedKind};
use crate::namespace::{Enforcement, NamespaceState};
use crate::role::Roles;

/// Two kinds: one that is ruled in every enrolled namespace, and one that only a policy reaches.
const NAMED: [(ManagedKind, &str, &str); 3] = [
    (ManagedKind::Deployment, "deployments", "web"),
    (ManagedKind::Deployment, "deployments", "api"),
    (ManagedKind::Kustomization, "kustomizations", "apps"),
];

#[derive(Clone, Debug)]
struct World {
    namespace: EnrolledNamespace,
    exempt: BTreeSet<ObjectKey>,
    policies: Vec<FailoverPolicy>,
    settled: bool,
}

impl World {
    fn compile(&self) -> Compiled {
        let policies: Vec<&FailoverPolicy> = self.policies.iter().collect();
        compile(&Inputs {
            namespaces: std::slice::from_ref(&self.namespace),
            exempt: &self.exempt,
            policies: &policies,
            rules: &RuleSet::built_in(),
            settled: self.settled,
            unused: &BTreeSet::new(),
            absent: &BTreeSet::new(),
            origins: &crate::origin::Origins::default(),
        })
    }

    /// Puts the compiled entries in force and updates the status of the policies, as the controller does.
    fn carry_out(&mut self) {
        let compiled = self.compile();
        self.namespace.state.objects = compiled.objects["shop"].clone();
        for policy in &mut self.policies {
            let mut results = compiled.policies.iter();
            let result = results.find(|result| result.is_of(policy)).unwrap();
            tests::report(policy, result);
        }
    }

    fn standings(&self) -> Vec<ObjectStanding> {
        let rules = RuleSet::built_in();
        NAMED
            .iter()
            .map(|(_, resource, name)| {
                let rule = the_rule(&rules, resource).unwrap();
                self.namespace
                    .state
                    .standing(rule, name, crate::namespace::ExemptLabel::Unseen)
            })
            .collect()
    }
}

/// 0: passive. 1: not known. 2: active as its layer orders. 3: not reached.
fn openness(standing: ObjectStanding) -> u8 {
    match standing {
        ObjectStanding::Ruled(Role::Secondary) => 0,
        ObjectStanding::Unknown => 1,
        ObjectStanding::Ruled(Role::Primary) => 2,
        ObjectStanding::Free => 3,
    }
}

fn key(i: usize) -> ObjectKey {
    ObjectKey {
        namespace: "shop".into(),
        resource: NAMED[i].1.into(),
        name: NAMED[i].2.into(),
    }
}

fn role() -> impl Strategy<Value = Option<Role>> {
    prop_oneof![
        Just(None),
        Just(Some(Role::Primary)),
        Just(Some(Role::Secondary))
    ]
}

fn entry() -> impl Strategy<Value = Option<ObjectRole>> {
    prop_oneof![
        Just(None),
        Just(Some(ObjectRole::Exempt)),
        Just(Some(ObjectRole::Site)),
        Just(Some(ObjectRole::Primary)),
        Just(Some(ObjectRole::Secondary)),
        Just(Some(ObjectRole::Orphaned))
    ]
}

/// A policy whose transition has reached these layers.
fn policy(
    name: usize,
    state: Option<Role>,
    objects: &[usize],
    reached: &[Layer],
) -> FailoverPolicy {
    let mut policy = FailoverPolicy {
        metadata: ObjectMeta {
            namespace: Some("shop".into()),
            name: Some(format!("policy-{name}")),
            generation: Some(1),
            ..ObjectMeta::default()
        },
        spec: FailoverPolicySpec {
            desired_state: state,
            mode: crate::api::Mode::Safe,
            request: None,
            managed_resources: objects
                .iter()
                .map(|i| ManagedResource {
                    kind: NAMED[*i].0,
                    name: NAMED[*i].2.into(),
                    namespace: None,
                    api_group: None,
                })
                .collect(),
        },
        status: None,
    };
    tests::transition_to(&mut policy, reached);
    policy
}

fn named() -> impl Strategy<Value = Vec<usize>> {
    proptest::sample::subsequence(vec![0, 1, 2], 0..=3)
}

fn layers() -> impl Strategy<Value = Vec<Layer>> {
    proptest::sample::subsequence(Layer::ALL.to_vec(), 0..=4)
}

prop_compose! {
    fn world()(
        enabled: bool,
        layer in role(),
        settled: bool,
        entries in [entry(), entry(), entry()],
        labels in named(),
        policies in proptest::collection::vec((role(), named(), layers()), 0..3),
    ) -> World {
        let mut state = NamespaceState {
            enforcement: Some(if enabled { Enforcement::Enabled } else { Enforcement::Policy }),
            roles: Roles { workloads: layer, gitops: layer, ..Roles::default() },
            ..NamespaceState::default()
        };
        for ((_, resource, name), entry) in NAMED.iter().zip(entries) {
            if let Some(entry) = entry {
                state.objects.set(resource, name, entry);
            }
        }
        World {
            namespace: EnrolledNamespace { name: "shop".into(), state },
            exempt: labels.into_iter().map(key).collect(),
            policies: policies.iter().enumerate().map(|(i, (state, objects, reached))| policy(i, *state, objects, reached)).collect(),
            settled,
        }
    }
}

/// The actions of somebody without the right to fail over.
#[derive(Clone, Debug)]
enum Ask {
    Label(usize, bool),
    /// Creates, changes or deletes a policy. Not to `primary`: that is an order, and needs the right to give it.
    Policy(usize, Option<(Option<Role>, Vec<usize>, Vec<Layer>)>),
    Settled(bool),
}

fn ask() -> impl Strategy<Value = Ask> {
    let state = prop_oneof![Just(None), Just(Some(Role::Secondary))];
    prop_oneof![
        (0..3usize, any::<bool>()).prop_map(|(i, on)| Ask::Label(i, on)),
        (0..3usize, proptest::option::of((state, named(), layers())))
            .prop_map(|(i, p)| Ask::Policy(i, p)),
        any::<bool>().prop_map(Ask::Settled),
    ]
}

impl World {
    fn apply(&mut self, ask: &Ask) {
        match ask {
            Ask::Label(i, true) => {
                self.exempt.insert(key(*i));
            }
            Ask::Label(i, false) => {
                self.exempt.remove(&key(*i));
            }
            Ask::Policy(i, wanted) => {
                let name = format!("policy-{i}");
                self.policies
                    .retain(|p| p.metadata.name.as_ref() != Some(&name));
                if let Some((state, objects, reached)) = wanted {
                    self.policies.push(policy(*i, *state, objects, reached));
                }
            }
            Ask::Settled(settled) => self.settled = *settled,
        }
    }
}

proptest! {
    /// From any state, whatever was refused before: nothing gets more active on a layer that is not primary, during a
    /// transition, or if the object itself is secondary, unless exactly one state is requested and that is a fresh
    /// order to primary.
    #[test]
    fn objects_become_active_only_on_a_primary_or_by_order(world in world()) {
        let before = world.standings();
        let mut after = world.clone();
        after.carry_out();
        for (i, (before, now)) in before.iter().zip(after.standings()).enumerate() {
            let layer = world.namespace.state.roles.workloads;
            let on_primary = world.settled && layer == Some(Role::Primary)
                && *before != ObjectStanding::Ruled(Role::Secondary);
            let says: BTreeSet<_> = world.policies.iter()
                .filter(|p| p.spec.managed_resources.iter().any(|r| r.name == NAMED[i].2))
                .map(|p| p.spec.desired_state)
                .collect();
            let ordered = says.into_iter().eq([Some(Role::Primary)]);
            prop_assert!(
                openness(now) <= openness(*before) || on_primary || ordered,
                "{}: {before:?} -> {now:?}", key(i)
            );
        }
    }

    /// On a secondary, an active object may become passive, and never the reverse, whatever labels and policies come
    /// and go. A policy that orders `primary` may exist from the start, with its transition over; it was refused then,
    /// or is in force.
    #[test]
    fn no_sequence_of_requests_activates_objects_on_a_secondary(
        mut world in world(),
        asks in proptest::collection::vec(ask(), 0..20),
    ) {
        world.namespace.state.roles = Roles::all(Role::Secondary);
        for policy in &mut world.policies {
            tests::transition_to(policy, &Layer::ALL);
        }
        world.carry_out();
        let mut before = world.standings();
        for ask in &asks {
            world.apply(ask);
            world.carry_out();
            let now = world.standings();
            for (i, (before, now)) in before.iter().zip(&now).enumerate() {
                prop_assert!(openness(*now) <= openness(*before), "{} by {ask:?}: {before:?} -> {now:?}", key(i));
            }
            before = now;
        }
    }

    /// An object that an operator or an order has activated on a secondary stays active only while the object, or a
    /// policy, asks for it, or until the transition that demotes it reaches its layer.
    #[test]
    fn an_active_object_on_a_secondary_is_requested(mut world in world()) {
        world.namespace.state.roles = Roles::all(Role::Secondary);
        world.carry_out();
        for (i, (_, resource, name)) in NAMED.iter().enumerate() {
            let ordered = |role| world.policies.iter().any(|p| {
                p.spec.desired_state == Some(role)
                    && p.spec.managed_resources.iter().any(|r| r.name == *name)
            });
            let asked = match world.namespace.state.objects.get(resource, name) {
                Some(ObjectRole::Exempt) => {
                    world.exempt.contains(&key(i)) || ordered(Role::Primary) || ordered(Role::Secondary)
                }
                Some(ObjectRole::Primary) => ordered(Role::Primary) || ordered(Role::Secondary),
                Some(
                    ObjectRole::Site
                    | ObjectRole::Secondary
                    | ObjectRole::Orphaned
                    | ObjectRole::ExemptIfLabelled,
                )
                | None => true,
            };
            prop_assert!(asked, "{}", key(i));
        }
    }

    #[test]
    fn a_second_run_changes_nothing(mut world in world()) {
        world.carry_out();
        let (first, policies) = (world.compile(), world.policies.clone());
        prop_assert_eq!(&first.objects["shop"], &world.namespace.state.objects);
        world.carry_out();
        prop_assert_eq!(first.held, world.compile().held);
        prop_assert_eq!(policies, world.policies);
    }

    #[test]
    fn the_order_in_which_policies_are_known_does_not_matter(world in world(), shift in 0usize..3) {
        let mut reordered = world.clone();
        if !reordered.policies.is_empty() {
            let shift = shift % reordered.policies.len();
            reordered.policies.rotate_left(shift);
            reordered.policies.reverse();
        }
        prop_assert_eq!(world.compile(), reordered.compile());
    }

    /// On a settled primary without objects that were demoted on their own, every request is in force.
    #[test]
    fn on_a_primary_every_request_is_in_force(mut world in world()) {
        world.namespace.state.roles = Roles::all(Role::Primary);
        world.settled = true;
        for policy in &mut world.policies {
            tests::transition_to(policy, &Layer::ALL);
        }
        for (_, resource, name) in NAMED {
            let entry = world.namespace.state.objects.get(resource, name);
            if matches!(entry, Some(ObjectRole::Secondary | ObjectRole::Orphaned)) {
                world.namespace.state.objects.remove(resource, name);
            }
        }
        let objects = world.compile().objects.remove("shop").unwrap();
        for (i, (_, resource, name)) in NAMED.iter().enumerate() {
            let says: BTreeSet<_> = world.policies.iter()
                .filter(|p| p.spec.managed_resources.iter().any(|r| r.name == *name))
                .map(|p| p.spec.desired_state)
                .collect();
            let exempt = world.exempt.contains(&key(i));
            let mut says = says.into_iter();
            let expected = match (says.next(), says.next()) {
                (Some(_), Some(_)) => continue, // refused, whatever was in force
                (Some(Some(Role::Primary)), None) => Some(ObjectRole::Primary),
                (Some(Some(Role::Secondary)), None) => Some(ObjectRole::Secondary),
                (Some(None), None) if exempt => Some(ObjectRole::Exempt),
                (Some(None), None) => Some(ObjectRole::Site),
                (None, _) if exempt && is_reached(&world.namespace.state, resource) => Some(ObjectRole::Exempt),
                (None, _) => None,
            };
            prop_assert_eq!(objects.get(resource, name), expected, "{}", key(i));
        }
    }

    /// Whatever names a policy gives, the annotation has no entries for objects that it does not name.
    #[test]
    fn names_cannot_forge_entries(name in "[-a-z0-9 =/.\n]{0,24}") {
        let mut forged = policy(0, None, &[0], &[]);
        forged.spec.managed_resources[0].name = name.clone();
        let world = World {
            namespace: EnrolledNamespace {
                name: "shop".into(),
                state: NamespaceState { enforcement: Some(Enforcement::Enabled), ..NamespaceState::default() },
            },
            exempt: BTreeSet::new(),
            policies: vec![forged],
            settled: true,
        };
        let objects = world.compile().objects.remove("shop").unwrap();
        let annotations = BTreeMap::from([(crate::names::OBJECTS_ANNOTATION.to_owned(), objects.to_string())]);
        let (read, problems) = NamespaceState::parse(None, Some(&annotations));
        prop_assert!(problems.is_empty());
        prop_assert!(read.objects.iter().all(|(_, found, role)| found == name && role == ObjectRole::Site));
    }
}

/// Whether enforcement reaches an object without an entry.
fn is_reached(state: &NamespaceState, resource: &str) -> bool {
    let rules = RuleSet::built_in();
    let rule = rules.iter().find(|rule| rule.resource == resource).unwrap();
    state.standing_as(rule, None) != crate::namespace::ObjectStanding::Free
}
