//! The walk, driven by a small model of a cluster that does what it is told.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;

use super::*;
use crate::api::{Outcome, Pause, RoleRequest, SiteSpec, StepName, StepState, condition};
use crate::guard::GuardId;
use crate::namespace::{Enforcement, ObjectRole};
use crate::role::Roles;

/// A cluster in which acts have their effect at once.
#[derive(Clone, Debug)]
struct World {
    site: Site,
    namespaces: Vec<EnrolledNamespace>,
    objects: BTreeMap<String, ObjectRoles>,
    outside: Vec<String>,
    enforcers: Vec<Enforcer>,
    facts: Facts,
    sweep: Option<SweepReport>,
    /// Objects that will not conform.
    stubborn: i64,
    now: Timestamp,
    acts: Vec<Act>,
}

const EVERY: SignedDuration = SignedDuration::from_secs(60);

impl World {
    fn new(role: Role, namespaces: &[&str]) -> Self {
        let spec = SiteSpec {
            site_name: "east".into(),
            role,
            epoch: crate::Epoch(1),
            mode: crate::api::Mode::Safe,
            request: None,
            paused: None,
            peer: None,
        };
        let site = Site {
            metadata: ObjectMeta {
                name: Some("cluster".into()),
                generation: Some(1),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
        };
        let mut world = Self {
            site,
            namespaces: vec![],
            objects: BTreeMap::new(),
            outside: vec![],
            enforcers: vec![],
            facts: Facts {
                webhook_configured: true,
                ..Facts::default()
            },
            sweep: None,
            stubborn: 0,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            acts: vec![],
        };
        for name in namespaces {
            world.enrol(name);
        }
        world
    }

    fn enrol(&mut self, name: &str) {
        let state = NamespaceState {
            enforcement: Some(Enforcement::Enabled),
            ..NamespaceState::default()
        };
        self.namespaces.push(EnrolledNamespace {
            name: name.into(),
            state,
        });
        self.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
    }

    fn order(&mut self, role: Role, id: &str, overrides: &[&str]) {
        self.site.spec.role = role;
        self.site.spec.epoch = self.site.spec.epoch.next();
        self.site.spec.request = Some(RoleRequest {
            id: id.into(),
            requested_by: "alice".into(),
            reason: "drill".into(),
            overrides: overrides.iter().map(|o| (*o).to_owned()).collect(),
            ..RoleRequest::default()
        });
        self.site.metadata.generation = self.site.metadata.generation.map(|g| g + 1);
    }

    /// From now on this is to be in force of a Deployment.
    fn compile(&mut self, namespace: &str, name: &str, role: Option<ObjectRole>) {
        let objects = self.objects.entry(namespace.to_owned()).or_default();
        match role {
            Some(role) => objects.set("deployments", name, role),
            None => {
                objects.remove("deployments", name);
            }
        }
    }

    fn in_force(&self, namespace: &str) -> String {
        let namespace = self.namespaces.iter().find(|n| n.name == namespace);
        namespace.unwrap().state.objects.to_string()
    }

    fn decide(&self) -> Act {
        decide(&Observation {
            site: &self.site,
            namespaces: &self.namespaces,
            objects: &self.objects,
            outside: &self.outside,
            enforcers: &self.enforcers,
            facts: self.facts,
            sweep: self.sweep.as_ref(),
            sweep_every: EVERY,
            now: self.now,
        })
    }

    /// One decision and its effect.
    fn step(&mut self) -> Act {
        let act = self.decide();
        match &act {
            Act::WriteStatus(status) => self.site.status = Some((**status).clone()),
            Act::Label(namespaces) => {
                for wanted in namespaces {
                    let namespace = self
                        .namespaces
                        .iter_mut()
                        .find(|n| n.name == wanted.name)
                        .unwrap();
                    *namespace = wanted.clone();
                }
            }
            Act::Sweep { step } => {
                let blocked = (0..self.stubborn.min(10))
                    .map(|i| Blocked {
                        guard: "not-conforming".into(),
                        object: Some(format!("shop/deployments/stubborn-{i}")),
                        message: "refused".into(),
                    })
                    .collect();
                self.sweep = Some(SweepReport {
                    step: *step,
                    total: 20,
                    changed: 20 - self.stubborn,
                    left: self.stubborn,
                    blocked,
                    finished_at: self.now,
                });
            }
            Act::Wait { .. } => {}
        }
        self.acts.push(act.clone());
        act
    }

    /// Until there is nothing to do now.
    fn settle(&mut self) -> Timestamp {
        for _ in 0..100 {
            if let Act::Wait { until } = self.step() {
                return until;
            }
        }
        panic!(
            "never comes to rest: {:#?}",
            &self.acts[self.acts.len() - 6..]
        );
    }

    fn status(&self) -> &SiteStatus {
        self.site.status.as_ref().unwrap()
    }

    fn condition(&self, kind: &str) -> (&str, &str) {
        let condition = self
            .status()
            .conditions
            .iter()
            .find(|c| c.type_ == kind)
            .unwrap();
        (&condition.status, &condition.reason)
    }

    fn roles(&self) -> Vec<Roles> {
        self.namespaces.iter().map(|n| n.state.roles).collect()
    }

    fn blocked_by(&self) -> Vec<String> {
        let transition = self.status().transition.as_ref().unwrap();
        transition
            .steps
            .iter()
            .flat_map(|s| &s.blocked)
            .map(|b| b.guard.clone())
            .collect()
    }
}

fn settled_primary() -> World {
    let mut world = World::new(Role::Primary, &["blog", "shop"]);
    world.settle();
    world
}

#[test]
fn a_new_primary_site_is_labelled_and_asks_no_peer() {
    let world = settled_primary();
    assert_eq!(world.status().phase, Some(Phase::Stable));
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
    assert_eq!(world.status().namespaces, ["blog", "shop"]);
    assert_eq!(world.status().history[0].id, "birth-east");
    assert_eq!(world.status().history[0].from, None);
    assert_eq!(world.condition(condition::READY), ("True", "Stable"));
}

#[test]
fn a_demotion_labels_sweeps_and_is_recorded_with_who_and_why() {
    let mut world = settled_primary();
    let step = world.status().step;
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary); 2]);
    assert_eq!(world.status().step, step + 1);
    assert!(world.status().transition.is_none());
    let last = &world.status().history[0];
    assert_eq!(
        (last.id.as_str(), last.from, last.to),
        ("r1", Some(Role::Primary), Role::Secondary)
    );
    assert_eq!(
        (
            last.requested_by.as_str(),
            last.reason.as_str(),
            last.outcome
        ),
        ("alice", "drill", Outcome::Succeeded)
    );
    assert_eq!(last.objects, 20);
    assert_eq!(world.status().observed_generation, Some(2));
}

#[test]
fn the_journal_is_written_before_the_namespaces_are_labelled() {
    let mut world = settled_primary();
    world.order(Role::Secondary, "r1", &[]);
    while !matches!(world.decide(), Act::Label(_)) {
        world.step();
    }
    let transition = world.status().transition.as_ref().unwrap();
    let roles = transition
        .steps
        .iter()
        .find(|s| s.name == StepName::Roles)
        .unwrap();
    assert_eq!(roles.state, StepState::Running);
    assert_eq!(world.status().layers, Roles::all(Role::Secondary));
}

#[test]
fn a_promotion_without_peer_moves_nothing_until_the_guard_is_overridden_by_name() {
    let mut world = World::new(Role::Secondary, &["shop"]);
    world.settle();
    world.order(Role::Primary, "r1", &[]);
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stalled));
    assert_eq!(world.roles(), [Roles::all(Role::Secondary)]);
    assert_eq!(world.blocked_by(), [GuardId::PeerUnknown.as_str()]);
    assert_eq!(world.condition(condition::READY), ("False", "Stalled"));

    world.order(Role::Primary, "r2", &["peer-unknown"]);
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stable));
    assert_eq!(world.roles(), [Roles::all(Role::Primary)]);
    let ends: Vec<_> = world
        .status()
        .history
        .iter()
        .map(|h| (h.id.as_str(), h.outcome))
        .collect();
    assert_eq!(
        ends[..2],
        [("r2", Outcome::Succeeded), ("r1", Outcome::Superseded)]
    );
}

#[test]
fn a_site_that_lost_its_status_is_what_its_namespaces_say_and_keeps_its_guards() {
    let mut world = World::new(Role::Secondary, &["shop"]);
    world.settle();
    world.site.status = None;
    world.sweep = None;
    world.site.spec.role = Role::Primary; // deleted, and created anew as primary
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary)]);
    assert_eq!(world.blocked_by(), ["peer-unknown"]);
}

#[test]
fn nothing_starts_without_anything_to_enforce_it() {
    let mut world = settled_primary();
    world.facts = Facts::default();
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
    assert_eq!(world.blocked_by(), ["no-enforcement"]);
    world.facts.webhook_configured = true;
    world.settle();
    assert_eq!(
        world.roles(),
        [Roles::all(Role::Secondary); 2],
        "goes on by itself once there is"
    );
}

#[test]
fn a_live_enforcer_that_has_not_seen_the_roles_is_waited_for_and_then_named() {
    let mut world = settled_primary();
    let seen = world.status().step;
    world.enforcers = vec![Enforcer {
        name: "webhook-a".into(),
        step: seen,
        namespaces: 2,
        last_seen: world.now,
    }];
    world.order(Role::Secondary, "r1", &[]);
    let until = world.settle();
    assert_eq!(until, world.now + ENFORCER_DEADLINE);
    assert_eq!(world.status().phase, Some(Phase::Demoting));
    world.now = until;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stalled));
    assert_eq!(world.blocked_by(), ["enforcer-silent"]);

    let mut caught_up = world.clone();
    caught_up.enforcers[0].step = caught_up.status().step;
    caught_up.settle();
    assert_eq!(caught_up.status().phase, Some(Phase::Stable));

    world.enforcers.clear(); // died: the sweeper enforces alone
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stable));
    assert_eq!(
        world.condition(condition::ENFORCED),
        ("True", "SweeperOnly")
    );
}

#[test]
fn objects_that_do_not_conform_hold_the_walk_and_are_named() {
    let mut world = settled_primary();
    world.stubborn = 2;
    world.order(Role::Secondary, "r1", &[]);
    let until = world.settle();
    assert_eq!(until, world.now + SWEEP_RETRY);
    assert_eq!(world.status().phase, Some(Phase::Stalled));
    assert_eq!(world.blocked_by(), ["not-conforming", "not-conforming"]);

    world.now = until;
    world.stubborn = 0;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stable));
}

#[rstest::rstest]
#[case(&["not-conforming"], true)]
#[case(&["not-conforming=shop/deployments/stubborn-0", "not-conforming=shop/deployments/stubborn-1"], true)]
#[case(&["not-conforming=shop/deployments/stubborn-0"], false)]
fn objects_can_be_left_behind_by_name(#[case] overrides: &[&str], #[case] goes_on: bool) {
    let mut world = settled_primary();
    world.stubborn = 2;
    world.order(Role::Secondary, "r1", overrides);
    world.settle();
    assert_eq!(world.status().phase == Some(Phase::Stable), goes_on);
    if goes_on {
        assert_eq!(
            world.condition(condition::ENFORCED),
            ("False", "NotConforming")
        );
        assert_eq!(world.condition(condition::READY).0, "False");
    }
}

#[test]
fn a_new_order_turns_round_from_where_things_stand() {
    let mut world = settled_primary();
    world.order(Role::Secondary, "r1", &[]);
    while !matches!(world.step(), Act::Sweep { .. }) {}
    world.order(Role::Primary, "r2", &["peer-unknown"]);
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
    let ends: Vec<_> = world
        .status()
        .history
        .iter()
        .map(|h| (h.id.as_str(), h.outcome))
        .collect();
    assert_eq!(
        ends[..2],
        [("r2", Outcome::Succeeded), ("r1", Outcome::Superseded)]
    );
}

#[test]
fn a_newly_enrolled_namespace_is_labelled_and_swept() {
    let mut world = World::new(Role::Secondary, &["shop"]);
    world.settle();
    world.enrol("blog");
    world.acts.clear();
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary); 2]);
    assert!(
        world
            .acts
            .iter()
            .any(|act| matches!(act, Act::Sweep { .. }))
    );
    assert_eq!(world.status().namespaces, ["blog", "shop"]);
    assert_eq!(world.condition(condition::READY), ("True", "Stable"));
}

#[test]
fn labels_that_were_tampered_with_are_put_right() {
    let mut world = World::new(Role::Secondary, &["shop"]);
    world.settle();
    world.namespaces[0].state.roles.workloads = Some(Role::Primary);
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary)]);
}

#[test]
fn a_settled_site_is_left_alone_but_for_the_periodic_sweep() {
    let mut world = settled_primary();
    world.acts.clear();
    let until = world.settle();
    assert_eq!(
        world.acts,
        [Act::Wait {
            until: world.now + EVERY
        }]
    );
    world.now = until;
    world.acts.clear();
    world.settle();
    assert!(
        matches!(world.acts[..], [Act::Sweep { .. }, Act::Wait { .. }]),
        "{:?}",
        world.acts
    );
}

#[test]
fn what_is_deleted_on_a_secondary_stays_registered_until_promotion_or_release() {
    let mut world = World::new(Role::Secondary, &["blog", "shop"]);
    world.settle();
    let registered = |world: &World| world.site.status.clone().unwrap().namespaces;
    world.namespaces.clear();
    world.settle();
    assert_eq!(registered(&world), ["blog", "shop"]);

    // One comes back and is swept; the other, too, and an operator releases it.
    let step = world.site.status.clone().unwrap().step;
    world.enrol("shop");
    world.outside = vec!["blog".into()];
    world.settle();
    assert_eq!(registered(&world), ["shop"]);
    assert!(world.sweep.as_ref().unwrap().step > step);

    world.namespaces.clear();
    world.order(Role::Primary, "r1", &["peer-unknown"]);
    world.settle();
    assert_eq!(registered(&world), [""; 0]);
}

#[test]
fn a_paused_site_does_not_move_until_the_pause_ends() {
    let mut world = settled_primary();
    let until = world.now + SignedDuration::from_mins(10);
    world.site.spec.paused = Some(Pause {
        until: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(until)),
        ..Pause::default()
    });
    world.order(Role::Secondary, "r1", &[]);
    assert_eq!(world.settle(), until);
    assert_eq!(world.status().phase, Some(Phase::Paused));
    assert_eq!(world.roles(), [Roles::all(Role::Primary); 2]);
    world.now = until;
    world.settle();
    assert_eq!(world.roles(), [Roles::all(Role::Secondary); 2]);
}

#[test]
fn history_keeps_the_last_twenty() {
    let mut world = settled_primary();
    for i in 0..25 {
        let role = if i % 2 == 0 {
            Role::Secondary
        } else {
            Role::Primary
        };
        world.order(role, &format!("r{i}"), &["peer-unknown"]);
        world.settle();
    }
    assert_eq!(world.status().history.len(), HISTORY_LIMIT);
    assert_eq!(world.status().history[0].id, "r24");
}

#[test]
fn a_change_of_single_objects_gets_a_number_is_seen_by_enforcers_and_swept() {
    let mut world = settled_primary();
    let before = world.status().step;
    world.enforcers = vec![Enforcer {
        name: "webhook-a".into(),
        step: before,
        namespaces: 2,
        last_seen: world.now,
    }];
    world.settle();
    world.compile("shop", "web", Some(ObjectRole::Exempt));
    world.acts.clear();
    let until = world.settle();
    assert_eq!(world.in_force("shop"), "deployments/web=exempt");
    assert_eq!(world.status().step, before + 1, "once, not at every look");
    assert!(
        world
            .namespaces
            .iter()
            .all(|n| n.state.step == Some(before + 1))
    );
    assert!(
        !world
            .acts
            .iter()
            .any(|act| matches!(act, Act::Sweep { .. }))
    );
    assert_eq!(until, world.now + ENFORCER_DEADLINE);

    world.enforcers[0].step = before + 1;
    world.acts.clear();
    world.settle();
    assert!(world.acts.contains(&Act::Sweep { step: before + 1 }));
    assert_eq!(world.condition(condition::READY), ("True", "Stable"));
}

#[test]
fn an_enforcer_that_never_sees_it_does_not_keep_the_sweep_up() {
    let mut world = settled_primary();
    let step = world.status().step;
    world.enforcers = vec![Enforcer {
        name: "webhook-a".into(),
        step,
        namespaces: 2,
        last_seen: world.now,
    }];
    world.compile("shop", "web", Some(ObjectRole::Secondary));
    world.now = world.settle();
    world.acts.clear();
    world.settle();
    assert!(world.acts.contains(&Act::Sweep { step: step + 1 }));
}

#[test]
fn a_change_of_single_objects_does_not_wait_for_a_guard() {
    let mut world = World::new(Role::Secondary, &["shop"]);
    world.settle();
    world.order(Role::Primary, "r1", &[]);
    world.settle();
    let step = world.status().step;
    world.compile("shop", "web", Some(ObjectRole::Primary));
    world.acts.clear();
    world.settle();
    assert_eq!(world.in_force("shop"), "deployments/web=primary");
    assert_eq!(world.roles(), [Roles::all(Role::Secondary)]);
    assert!(world.acts.contains(&Act::Sweep { step: step + 1 }));
    assert_eq!(world.blocked_by(), ["peer-unknown"]);
}

#[test]
fn a_walk_verifies_anew_what_changed_under_it() {
    let mut world = settled_primary();
    world.stubborn = 1;
    world.order(Role::Secondary, "r1", &[]);
    world.settle();
    let step = world.status().step;
    world.compile("blog", "web", Some(ObjectRole::Secondary));
    world.stubborn = 0;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Stable));
    assert_eq!(world.in_force("blog"), "deployments/web=secondary");
    assert_eq!(world.sweep.as_ref().unwrap().step, step + 1);
}

/// Things that happen to a controller and its cluster.
#[derive(Clone, Debug)]
enum Event {
    Step,
    /// Killed and started again: what it held in memory is gone.
    Crash,
    Order(Role),
    Enrol(u8),
    Tamper(u8),
    /// A single object is to stand otherwise, or as its namespace again.
    Compile(u8, bool),
    Time(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let role = prop_oneof![Just(Role::Primary), Just(Role::Secondary)];
    prop_oneof![
        8 => Just(Event::Step),
        1 => Just(Event::Crash),
        1 => role.prop_map(Event::Order),
        1 => (0u8..4).prop_map(Event::Enrol),
        1 => (0u8..4).prop_map(Event::Tamper),
        1 => (0u8..4, any::<bool>()).prop_map(|(i, apart)| Event::Compile(i, apart)),
        1 => (0i64..100).prop_map(Event::Time),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_it_ends_where_the_last_order_says(events in proptest::collection::vec(event(), 0..60)) {
        let mut world = World::new(Role::Primary, &["n0"]);
        let mut orders = 0;
        for event in events {
            match event {
                Event::Step => {
                    let before = world.status_or_default();
                    let had: Vec<_> = world.namespaces.iter().map(|n| (n.name.clone(), n.state.roles)).collect();
                    let act = world.step();
                    // Nothing is labelled that the journal does not already order. While guards are asked roles stay.
                    if let Act::Label(namespaces) = act {
                        let stays = |n: &EnrolledNamespace| had.contains(&(n.name.clone(), n.state.roles));
                        prop_assert!(namespaces.iter().all(|n| n.state.roles == before.layers || stays(n)));
                        prop_assert!(namespaces.iter().all(|n| n.state.step == Some(before.step)));
                    }
                }
                Event::Crash => world.sweep = None,
                Event::Order(role) if role != world.site.spec.role => {
                    orders += 1;
                    world.order(role, &format!("r{orders}"), &["peer-unknown"]);
                }
                Event::Order(_) => {}
                Event::Enrol(i) => {
                    let name = format!("n{i}");
                    if world.namespaces.iter().all(|n| n.name != name) {
                        world.enrol(&name);
                    }
                }
                Event::Tamper(i) => {
                    if let Some(namespace) = world.namespaces.get_mut(usize::from(i)) {
                        namespace.state.roles = Roles::default();
                    }
                }
                Event::Compile(i, apart) => {
                    world.compile(&format!("n{i}"), "web", apart.then_some(ObjectRole::Secondary));
                }
                Event::Time(seconds) => world.now += SignedDuration::from_secs(seconds),
            }
        }
        world.settle();
        prop_assert_eq!(world.status().phase, Some(Phase::Stable));
        prop_assert!(world.roles().iter().all(|r| *r == Roles::all(world.site.spec.role)));
        prop_assert!(world.namespaces.iter().all(|n| world.objects.get(&n.name).is_none_or(|o| *o == n.state.objects)));
        prop_assert!(world.status().namespaces.iter().eq(world.namespaces.iter().map(|n| &n.name)));
    }
}

impl World {
    fn status_or_default(&self) -> SiteStatus {
        self.site.status.clone().unwrap_or_default()
    }
}
