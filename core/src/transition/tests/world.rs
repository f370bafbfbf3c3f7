//! A small model of a cluster that performs every act.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::{Blocked, RoleRequest, Site, SiteSpec, SiteStatus, StepName, Unreadable};
use crate::guards::Facts;
use crate::namespace::{Enforcement, NamespaceState, ObjectRole, ObjectRoles};
use crate::role::{Role, Roles};
use crate::transition::{
    Act, Check, CheckReport, Deadlines, Enforcer, EnrolledNamespace, Failing, NamespaceRefusal,
    Observation, SweepReport, decide,
};

/// A cluster in which acts take effect at once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct World {
    pub(super) site: Site,
    pub(super) namespaces: Vec<EnrolledNamespace>,
    pub(super) objects: BTreeMap<String, ObjectRoles>,
    pub(super) outside: Vec<String>,
    pub(super) unenrolled: Vec<String>,
    pub(super) terminating: Vec<String>,
    /// Namespaces that refuse new roles.
    pub(super) refused: BTreeMap<String, NamespaceRefusal>,
    pub(super) enforcers: Vec<Enforcer>,
    pub(super) facts: Facts,
    pub(super) sweep: Option<SweepReport>,
    pub(super) failing_sweep: Option<Failing<i64>>,
    pub(super) failing_check: Option<Failing<Check>>,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) check: Option<CheckReport>,
    /// Objects that will not conform.
    pub(super) stubborn: i64,
    /// The reason why they do not.
    pub(super) message: String,
    /// Names of the blockers of the steps that wait.
    pub(super) blockers: BTreeMap<StepName, Vec<&'static str>>,
    pub(super) now: Timestamp,
    pub(super) acts: Vec<Act>,
}

pub(super) const EVERY: SignedDuration = SignedDuration::from_secs(60);

impl World {
    pub(super) fn new(role: Role, namespaces: &[&str]) -> Self {
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
            unenrolled: vec![],
            terminating: vec![],
            refused: BTreeMap::new(),
            enforcers: vec![],
            facts: Facts {
                webhook_configured: true,
                ..Facts::default()
            },
            sweep: None,
            message: "refused".into(),
            failing_sweep: None,
            failing_check: None,
            unreadable: vec![],
            check: None,
            stubborn: 0,
            blockers: BTreeMap::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            acts: vec![],
        };
        for name in namespaces {
            world.enrol(name);
        }
        world
    }

    pub(super) fn enrol(&mut self, name: &str) {
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

    pub(super) fn order(&mut self, role: Role, id: &str, overrides: &[&str]) {
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

    /// From now on this namespace refuses new roles.
    pub(super) fn refuse(&mut self, namespace: &str) {
        let refusal = NamespaceRefusal {
            why: "denied".into(),
            at: self.now,
        };
        self.refused.insert(namespace.to_owned(), refusal);
    }

    /// From now on this is the desired role of a Deployment.
    pub(super) fn compile(&mut self, namespace: &str, name: &str, role: Option<ObjectRole>) {
        let objects = self.objects.entry(namespace.to_owned()).or_default();
        match role {
            Some(role) => objects.set("deployments", name, role),
            None => {
                objects.remove("deployments", name);
            }
        }
    }

    pub(super) fn in_force(&self, namespace: &str) -> String {
        let namespace = self.namespaces.iter().find(|n| n.name == namespace);
        namespace.unwrap().state.objects.to_string()
    }

    pub(super) fn decide(&self) -> Act {
        decide(&self.observation(self.check.as_ref()))
    }

    /// The inputs of a decision, with the last check that was made for its owner.
    pub(super) fn observation<'a>(&'a self, check: Option<&'a CheckReport>) -> Observation<'a> {
        Observation {
            site: &self.site,
            namespaces: &self.namespaces,
            objects: &self.objects,
            outside: &self.outside,
            unenrolled: &self.unenrolled,
            terminating: &self.terminating,
            refused: &self.refused,
            enforcers: &self.enforcers,
            facts: self.facts,
            sweep: self.sweep.as_ref(),
            sweep_progress: None,
            failing_sweep: self.failing_sweep.as_ref(),
            failing_check: self.failing_check.as_ref(),
            unreadable: &self.unreadable,
            check,
            deadlines: Deadlines::default(),
            sweep_every: EVERY,
            now: self.now,
        }
    }

    /// One decision and its effect.
    pub(super) fn step(&mut self) -> Act {
        let act = self.decide();
        match &act {
            Act::WriteStatus(status) => self.site.status = Some((**status).clone()),
            Act::Label(namespaces) => {
                for wanted in namespaces {
                    if let Some(refusal) = self.refused.get_mut(&wanted.name) {
                        refusal.at = self.now;
                        continue;
                    }
                    let namespace = self
                        .namespaces
                        .iter_mut()
                        .find(|n| n.name == wanted.name)
                        .unwrap();
                    *namespace = wanted.clone();
                }
            }
            Act::Sweep { revision, layers } => {
                let blocked = (0..self.stubborn.min(10))
                    .map(|i| Blocked {
                        guard: "not-conforming".into(),
                        object: Some(format!("shop/deployments/stubborn-{i}")),
                        message: self.message.clone(),
                    })
                    .collect();
                self.sweep = Some(SweepReport {
                    revision: *revision,
                    layers,
                    total: 20,
                    changed: 20 - self.stubborn,
                    left: self.stubborn,
                    blocked,
                    finished_at: self.now,
                });
            }
            Act::Check(check) => self.check = Some(self.checked(check)),
            Act::Wait { .. } => {}
        }
        self.acts.push(act.clone());
        act
    }

    pub(super) fn checked(&self, check: &Check) -> CheckReport {
        let found = self.blockers.get(&check.at).cloned().unwrap_or_default();
        let guard = match check.at {
            StepName::Guards => "uncovered-workloads",
            StepName::PodsGone => "pods-running",
            StepName::Replication => "replication-unconfirmed",
            StepName::Available => "workloads-unavailable",
            _ => "batch-unsettled",
        };
        let blocked = found.iter().map(|name| Blocked {
            guard: guard.into(),
            object: Some(format!("shop/things/{name}")),
            message: "blocks".into(),
        });
        CheckReport {
            check: check.clone(),
            total: 5,
            left: i64::try_from(found.len()).unwrap(),
            blocked: blocked.collect(),
            not_waited_for: vec![],
            finished_at: self.now,
        }
    }

    /// Steps until nothing is left to do now.
    pub(super) fn settle(&mut self) -> Timestamp {
        for _ in 0..100 {
            if let Act::Wait { until } = self.step() {
                return until;
            }
        }
        panic!(
            "never becomes stable: {:#?}",
            &self.acts[self.acts.len() - 6..]
        );
    }

    pub(super) fn status(&self) -> &SiteStatus {
        self.site.status.as_ref().unwrap()
    }

    pub(super) fn condition(&self, kind: &str) -> (&str, &str) {
        let condition = self
            .status()
            .conditions
            .iter()
            .find(|c| c.type_ == kind)
            .unwrap();
        (&condition.status, &condition.reason)
    }

    pub(super) fn roles(&self) -> Vec<Roles> {
        self.namespaces.iter().map(|n| n.state.roles).collect()
    }

    pub(super) fn blocked_by(&self) -> Vec<String> {
        let transition = self.status().transition.as_ref().unwrap();
        transition
            .steps
            .iter()
            .flat_map(|s| &s.blocked)
            .map(|b| b.guard.clone())
            .collect()
    }

    pub(super) fn status_or_default(&self) -> SiteStatus {
        self.site.status.clone().unwrap_or_default()
    }
}
