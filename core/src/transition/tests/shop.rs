//! A site on which FailoverPolicies move single objects, in the small model of a cluster.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::json;

use super::World;
use crate::RuleSet;
use crate::api::{FailoverPolicy, FailoverPolicySpec, FailoverPolicyStatus, RoleRequest};
use crate::namespace::{ExemptLabel, ObjectStanding};
use crate::object::ObjectKey;
use crate::object_roles::{Compiled, Inputs, compile};
use crate::role::Role;
use crate::transition::{Act, CheckReport, Closing, PolicyAct, closing, decide_policy, promoting};

/// An application with one object in each layer.
pub(super) const WEB: [(&str, &str, &str); 4] = [
    ("VolumeReplication", "volumereplications", "data"),
    ("Deployment", "deployments", "web"),
    ("HelmRelease", "helmreleases", "web"),
    ("VirtualService", "virtualservices", "web"),
];
pub(super) const VOLUME: usize = 0;
pub(super) const WORKLOAD: usize = 1;
pub(super) const RELEASE: usize = 2;
pub(super) const ROUTE: usize = 3;

/// A site on which policies move single objects.
#[derive(Clone, Debug)]
pub(super) struct Shop {
    pub(super) world: World,
    pub(super) policies: Vec<FailoverPolicy>,
    /// The last check of each policy.
    pub(super) checks: Vec<Option<CheckReport>>,
    /// The last check of volumes that nothing orders to be active any more.
    pub(super) closing_check: Option<CheckReport>,
    /// The states of the objects, one entry for each change.
    pub(super) history: Vec<[ObjectStanding; 4]>,
}

impl Shop {
    /// Settled in this role.
    pub(super) fn new(role: Role) -> Self {
        let mut world = World::new(role, &["shop"]);
        world.settle();
        let mut shop = Self {
            world,
            policies: vec![],
            checks: vec![],
            closing_check: None,
            history: vec![],
        };
        shop.history = vec![shop.standings()];
        shop
    }

    /// Creates a policy that names these objects of the application.
    pub(super) fn policy(&mut self, name: &str, objects: &[usize]) -> usize {
        let policy = json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "FailoverPolicy",
            "metadata": { "namespace": "shop", "name": name, "generation": 1 },
            "spec": { "managedResources": resources(objects) },
        });
        self.policies.push(serde_json::from_value(policy).unwrap());
        self.checks.push(None);
        self.policies.len() - 1
    }

    pub(super) fn order(
        &mut self,
        policy: usize,
        role: impl Into<Option<Role>>,
        request: Option<(&str, &[&str])>,
    ) {
        let role = role.into();
        self.write(policy, |spec| {
            spec.desired_state = role;
            spec.request = request.map(|(id, overrides)| RoleRequest {
                id: id.into(),
                reason: "drill".into(),
                overrides: overrides.iter().map(|o| (*o).to_owned()).collect(),
                ..RoleRequest::default()
            });
        });
    }

    pub(super) fn name(&mut self, policy: usize, objects: &[usize]) {
        let named = serde_json::from_value(resources(objects)).unwrap();
        self.write(policy, |spec| spec.managed_resources = named);
    }

    pub(super) fn write(&mut self, policy: usize, change: impl FnOnce(&mut FailoverPolicySpec)) {
        let policy = &mut self.policies[policy];
        change(&mut policy.spec);
        policy.metadata.generation = policy.metadata.generation.map(|g| g + 1);
    }

    /// One reconcile of the controller; returns whether nothing was left to do.
    pub(super) fn reconcile(&mut self) -> bool {
        self.reconcile_with(|_| {})
    }

    /// The same, with a change of the world between the reconcile of the site and those of the policies.
    pub(super) fn reconcile_with(&mut self, between: impl FnOnce(&mut World)) -> bool {
        let mut compiled = self.compiled(&BTreeSet::new());
        let observation = self.world.observation(self.closing_check.as_ref());
        let mut closing_check = None;
        if !compiled.closing.is_empty() {
            match closing(&observation, &compiled.closing) {
                Closing::Unused(unused) => compiled = self.compiled(&unused),
                Closing::Check(check) => closing_check = Some(check),
                Closing::Wait { .. } => {}
            }
        }
        self.world.objects = compiled.objects;
        let mut idle = matches!(self.world.step(), Act::Wait { .. });
        between(&mut self.world);
        if let Some(check) = closing_check.filter(|_| idle) {
            self.closing_check = Some(self.world.checked(&check));
            idle = false;
        }
        for i in 0..self.policies.len() {
            let policy = &self.policies[i];
            let mut results = compiled.policies.iter();
            let result = results.find(|result| result.is_of(policy)).unwrap();
            let observation = self.world.observation(self.checks[i].as_ref());
            match decide_policy(&observation, policy, result) {
                PolicyAct::WriteStatus(status) => {
                    self.policies[i].status = Some(*status);
                    idle = false;
                }
                PolicyAct::Check(check) => {
                    self.checks[i] = Some(self.world.checked(&check));
                    idle = false;
                }
                PolicyAct::Wait { .. } => {}
            }
        }
        let standings = self.standings();
        if self.history.last() != Some(&standings) {
            self.history.push(standings);
        }
        idle
    }

    pub(super) fn compiled(&self, unused: &BTreeSet<ObjectKey>) -> Compiled {
        let policies: Vec<&FailoverPolicy> = self.policies.iter().collect();
        compile(&Inputs {
            namespaces: &self.world.namespaces,
            exempt: &BTreeSet::new(),
            policies: &policies,
            rules: &RuleSet::built_in(),
            settled: crate::admission::namespace::Settled::of(&self.world.site).is_some(),
            unused,
            absent: &BTreeSet::new(),
            origins: &crate::origin::Origins::default(),
        })
    }

    pub(super) fn delete_policies(&mut self) {
        self.policies.clear();
        self.checks.clear();
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..200 {
            if self.reconcile() {
                return;
            }
        }
        panic!("never becomes stable: {:#?}", self.policies);
    }

    /// Time passes, and the acts that are due then are performed.
    pub(super) fn later(&mut self, seconds: i64) {
        self.world.now += SignedDuration::from_secs(seconds);
        self.settle();
    }

    pub(super) fn standings(&self) -> [ObjectStanding; 4] {
        let rules = RuleSet::built_in();
        let namespace = self.world.namespaces.first();
        WEB.map(|(_, resource, name)| {
            let rule = rules.iter().find(|rule| rule.resource == resource);
            namespace.map_or(ObjectStanding::Free, |namespace| {
                namespace
                    .state
                    .standing(rule.unwrap(), name, ExemptLabel::Unseen)
            })
        })
    }

    /// The volumes that policies are promoting.
    pub(super) fn promoting(&self) -> BTreeSet<ObjectKey> {
        let compiled = self.compiled(&BTreeSet::new());
        let policies = self.policies.iter();
        promoting(policies.filter_map(|policy| {
            let mut results = compiled.policies.iter();
            Some((policy, results.find(|result| result.is_of(policy))?))
        }))
    }

    pub(super) fn status(&self, policy: usize) -> &FailoverPolicyStatus {
        self.policies[policy].status.as_ref().unwrap()
    }

    /// Status, reason and message of Ready.
    pub(super) fn ready(&self, policy: usize) -> (&str, &str, &str) {
        let ready = &self.status(policy).conditions[0];
        (&ready.status, &ready.reason, &ready.message)
    }

    /// The objects in the order in which they got this role.
    pub(super) fn order_of(&self, role: Role) -> Vec<usize> {
        let mut order = vec![];
        for standings in &self.history {
            for (object, standing) in standings.iter().enumerate() {
                if *standing == ObjectStanding::Ruled(role) && !order.contains(&object) {
                    order.push(object);
                }
            }
        }
        order
    }
}

pub(super) fn resources(objects: &[usize]) -> serde_json::Value {
    let named = objects.iter().map(|i| WEB[*i]);
    named
        .map(|(kind, _, name)| json!({ "kind": kind, "name": name }))
        .collect()
}

pub(super) const ALL: &[usize] = &[VOLUME, WORKLOAD, RELEASE, ROUTE];
/// The peer guard, which every promotion needs to override.
pub(super) const PEER: &[&str] = &["peer-unknown"];
