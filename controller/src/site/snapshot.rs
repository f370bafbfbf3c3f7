//! All inputs of the loop's decisions at one moment.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use failover_core::api::{FailoverPolicy, Site, Unreadable};
use failover_core::guards::Facts;
use failover_core::namespace::may_enrol;
use failover_core::transition::EnrolledNamespace;
use failover_core::{NamespaceState, RuleSet};
use failover_runtime::kube::own_writes::OwnWrites;
use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::time::Instant;

use super::backstop::Backstop;
use super::exemptions::ExemptLabels;
use super::informers::Caches;
use super::namespaces::{self, NamespaceMeta};
use super::origins::OriginWatches;
use super::webhook_replicas::{Enforcers, LiveReplicas};

/// The cluster at one moment.
#[derive(Debug)]
pub struct Snapshot {
    pub site: Arc<Site>,
    /// Sorted by name.
    pub enrolled: Vec<EnrolledNamespace>,
    /// The Namespaces behind `enrolled`, by name: writes are based on these versions.
    pub namespaces: BTreeMap<String, Arc<NamespaceMeta>>,
    /// Names of all Namespaces that are not enrolled.
    pub outside: Vec<String>,
    /// Names of those of them that were unenrolled.
    pub unenrolled: Vec<String>,
    /// Names of enrolled Namespaces that are being deleted.
    pub terminating: Vec<String>,
    /// Namespaces that are not enrolled any more and still carry our state.
    pub left_behind: Vec<Arc<NamespaceMeta>>,
    pub policies: Vec<Arc<FailoverPolicy>>,
    /// The rules in force.
    pub rules: RuleSet,
    pub live: LiveReplicas,
    pub facts: Facts,
    /// Objects that exist but cannot be read, and so are in none of the above.
    pub unreadable: Vec<Unreadable>,
    pub at: Timestamp,
}

impl Snapshot {
    /// Namespaces to remove our state from. One that nobody unenrolled keeps it: it may come back, and until then the
    /// state shows that it was enrolled.
    pub fn released(&self) -> Vec<Arc<NamespaceMeta>> {
        let behind = self.left_behind.iter();
        let unenrolled = behind.filter(|n| self.unenrolled.contains(&n.name_any()));
        unenrolled.cloned().collect()
    }
}

/// The result of an observation.
#[derive(Debug)]
pub enum Observed {
    /// There is no Site, so nothing to enforce. Existing enforcement stays unchanged.
    NoSite,
    /// The Site exists and cannot be read. Nothing is done, and nothing known about it is forgotten.
    Unreadable,
    Snapshot(Box<Snapshot>),
}

/// Reads the caches, and our own writes since.
#[derive(Debug)]
pub struct Observer {
    caches: Caches,
    enforcers: Enforcers,
    backstop: Backstop,
    own_sites: OwnWrites<Site>,
    own_namespaces: OwnWrites<NamespaceMeta>,
    own_policies: OwnWrites<FailoverPolicy>,
    /// Problems that were logged and persist: each is logged once, not at every reconcile.
    logged: HashSet<String>,
}

impl Observer {
    pub fn new(caches: Caches, forget_after: Duration) -> Self {
        Self {
            caches,
            enforcers: Enforcers::new(forget_after),
            backstop: Backstop::default(),
            own_sites: OwnWrites::default(),
            own_namespaces: OwnWrites::default(),
            own_policies: OwnWrites::default(),
            logged: HashSet::new(),
        }
    }

    pub fn observe(&mut self, now: Instant, at: Timestamp) -> Observed {
        // Even without a Site, so that the expiry of Leases continues.
        let leases = self.caches.enforcer_leases.state();
        let live = self
            .enforcers
            .observe(leases.iter().map(AsRef::as_ref), now, at);
        let Some(site) = self.caches.shared.site() else {
            return match self.caches.shared.unreadable_site() {
                Some(_) => Observed::Unreadable,
                None => Observed::NoSite,
            };
        };
        let site = self.own_sites.newest(site);
        let role_rules = self.caches.shared.role_rules.state();
        let (rules, errors) = RuleSet::with_role_rules(role_rules.iter().map(AsRef::as_ref));
        let mut problems: Vec<String> = errors
            .into_iter()
            .map(|(name, error)| {
                format!("RoleRule {name} is not used: {error}: correct or delete it")
            })
            .collect();
        let policies = self.caches.failover_policies.state().into_iter();
        let mut seen = Snapshot {
            policies: policies.map(|p| self.own_policies.newest(p)).collect(),
            rules,
            unreadable: self.caches.shared.unreadable.all(),
            facts: Facts {
                webhook_configured: self.caches.shared.webhook_configured(),
                policy_configured: self
                    .backstop
                    .is_configured(&self.caches.shared.policies, &self.caches.shared.bindings),
            },
            site,
            enrolled: Vec::new(),
            namespaces: BTreeMap::new(),
            outside: Vec::new(),
            unenrolled: Vec::new(),
            terminating: Vec::new(),
            left_behind: Vec::new(),
            live,
            at,
        };
        for cached in self.caches.shared.namespaces.state() {
            let namespace = self.own_namespaces.newest(cached);
            let name = namespace.name_any();
            let metadata = &namespace.metadata;
            let (state, found) =
                NamespaceState::parse(metadata.labels.as_ref(), metadata.annotations.as_ref());
            problems.extend(
                found
                    .into_iter()
                    .map(|problem| format!("namespace {name}: {problem}")),
            );
            if state.enforcement.is_some() && !may_enrol(&name) {
                problems.push(format!("namespace {name} is never enrolled: its label failover.dev/enforce has no effect"));
            } else if state.enforcement.is_some() {
                if metadata.deletion_timestamp.is_some() {
                    seen.terminating.push(name.clone());
                }
                seen.enrolled.push(EnrolledNamespace {
                    name: name.clone(),
                    state,
                });
                seen.namespaces.insert(name, namespace);
            } else {
                if state.unenrolled.is_some() {
                    seen.unenrolled.push(name.clone());
                }
                seen.outside.push(name);
                if namespaces::is_left_behind(metadata) {
                    seen.left_behind.push(namespace);
                }
            }
        }
        seen.enrolled.sort_by(|a, b| a.name.cmp(&b.name));
        self.log_new(problems);
        Observed::Snapshot(Box::new(seen))
    }

    pub fn exempt_labels(&self) -> &ExemptLabels {
        &self.caches.exempt
    }

    pub fn origins(&self) -> &OriginWatches {
        &self.caches.origins
    }

    pub fn wrote_site(&mut self, replaced: &Site, answer: Site) {
        self.own_sites
            .wrote(&replaced.resource_version().unwrap_or_default(), answer);
    }

    pub fn wrote_namespace(&mut self, replaced: &NamespaceMeta, answer: NamespaceMeta) {
        self.own_namespaces
            .wrote(&replaced.resource_version().unwrap_or_default(), answer);
    }

    pub fn wrote_policy(&mut self, replaced: &FailoverPolicy, answer: FailoverPolicy) {
        self.own_policies
            .wrote(&replaced.resource_version().unwrap_or_default(), answer);
    }

    /// Waits until a cache has changed.
    pub async fn changed(&self) {
        self.caches.changed().await;
    }

    fn log_new(&mut self, problems: Vec<String>) {
        for problem in problems
            .iter()
            .filter(|problem| !self.logged.contains(*problem))
        {
            tracing::warn!("{problem}");
        }
        self.logged = problems.into_iter().collect();
    }
}
