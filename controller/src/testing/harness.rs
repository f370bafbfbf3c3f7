//! A fake cluster for tests of the loop: an API server, and caches that lag behind it as watches do.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use failover_core::api::{FailoverPolicy, Phase, RoleRule, Site, SiteStatus};
use failover_core::transition::Deadlines;
use failover_runtime::kube::readable::{Reader, UnreadableObjects};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::reflector::{self, store::Writer};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::fake_api::FakeApi;
use crate::events::Events;
use crate::informers::Informers;
use crate::metrics::Metrics;
use crate::role_lock::RoleLock;
use crate::site::checks::Checker;
use crate::site::exemptions::ExemptLabels;
use crate::site::informers::Caches;
use crate::site::namespaces::NamespaceMeta;
use crate::site::origins::OriginWatches;
use crate::site::reconcile::{Dependencies, Reconciler};
use crate::sweep::Sweeper;

pub(crate) const SITE: &str = "/apis/failover.dev/v1alpha1/sites/cluster";
pub(crate) const SHOP: &str = "/api/v1/namespaces/shop";
pub(crate) const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
pub(crate) const HOOK: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/failover.dev";

/// A wall clock that follows the test's own time.
pub(crate) fn wall() -> Timestamp {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = Instant::now().saturating_duration_since(*START.get_or_init(Instant::now));
    Timestamp::from_second(1_700_000_000).unwrap() + since
}

/// How far the caches lag behind.
pub(crate) const LAG: Duration = Duration::from_millis(30);

/// An API server, and caches that follow it.
pub(crate) struct Bed {
    pub(crate) api: FakeApi,
    pub(crate) caches: Caches,
    /// Notified by the shared caches, for the RoleRule keeper.
    pub(crate) rules_changed: Arc<Notify>,
    pub(crate) metrics: Metrics,
    /// The watch of FailoverPolicies hangs.
    pub(crate) policies_hang: Arc<AtomicBool>,
    /// Ends with the bed.
    #[expect(dead_code, reason = "kept for its drop")]
    pub(crate) feed: AbortOnDropHandle<()>,
}

impl Bed {
    /// A bed with nothing in its cluster.
    pub(crate) fn empty() -> Self {
        let api = FakeApi::new();
        let policies_hang = Arc::new(AtomicBool::new(false));
        let (caches, rules_changed, feed) = follow(&api, Arc::clone(&policies_hang));
        Self {
            api,
            caches,
            rules_changed,
            metrics: Metrics::new(),
            policies_hang,
            feed,
        }
    }

    /// A site in this role with the enrolled namespace `shop` and a Deployment of three replicas in it; nothing
    /// reconciled yet.
    pub(crate) async fn new(role: &str) -> Self {
        let bed = Self::empty();
        let api = &bed.api;
        api.put(HOOK, json!({ "metadata": {}, "webhooks": [{
            "name": "mutate.failover.dev", "admissionReviewVersions": ["v1"], "clientConfig": {}, "sideEffects": "None"
        }] }));
        api.put(SITE, json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": { "generation": 1 },
            "spec": { "siteName": "east", "role": role, "epoch": 1 }
        }));
        api.put(
            SHOP,
            json!({ "metadata": { "labels": { "failover.dev/enforce": "enabled", "team": "a" } } }),
        );
        // Its status counts as available when it is scaled up, and as gone when it is scaled down.
        api.put(
            WEB,
            json!({ "metadata": {}, "spec": { "replicas": 3 }, "status": { "observedGeneration": 1, "availableReplicas": 3 } }),
        );
        // A controller starts once its caches have synced.
        tokio::time::sleep(LAG * 10).await;
        bed
    }

    /// Starts a controller. Dropping the handle kills it.
    pub(crate) fn controller(&self) -> AbortOnDropHandle<()> {
        let client = self.api.client();
        let parts = Dependencies {
            caches: self.caches.clone(),
            sweeper: Sweeper::new(client.clone(), 4),
            checker: Checker::new(client.clone(), 100, wall),
            deadlines: Deadlines::default(),
            events: Events::new(client.clone(), "controller-0"),
            metrics: self.metrics.clone(),
            role_lock: RoleLock::default(),
            lease_namespace: "failover-enforcers".into(),
            forget_after: Duration::from_secs(600),
            sweep_every: Duration::from_secs(60),
            now: wall,
        };
        let reconciler = Reconciler::new(client, parts);
        AbortOnDropHandle::new(tokio::spawn(async move { match reconciler.run().await {} }))
    }

    /// Requests a role, as the CLI does.
    pub(crate) fn order(&self, id: &str, role: &str, overrides: &[&str]) {
        let mut site = self.api.get(SITE);
        let epoch = site["spec"]["epoch"].as_i64().unwrap() + 1;
        site["metadata"]["generation"] = json!(epoch);
        site["spec"]["epoch"] = json!(epoch);
        site["spec"]["role"] = json!(role);
        site["spec"]["request"] = json!({ "id": id, "requestedBy": "jo", "overrides": overrides });
        self.api.put(SITE, site);
    }

    pub(crate) fn status(&self) -> SiteStatus {
        serde_json::from_value(self.api.get(SITE)["status"].clone()).unwrap_or_default()
    }

    /// Waits until the status matches; fails after ten minutes of the test's own time.
    pub(crate) async fn until(
        &self,
        what: &str,
        is_met: impl Fn(&SiteStatus) -> bool,
    ) -> SiteStatus {
        let deadline = Instant::now() + Duration::from_secs(600);
        loop {
            let status = self.status();
            if is_met(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "never {what}: {status:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn until_settled(&self, id: &str) -> SiteStatus {
        self.until(&format!("settled after {id}"), |status| {
            status.history.first().is_some_and(|entry| entry.id == id) && is_ready(status)
        })
        .await
    }

    pub(crate) fn shop_labels(&self) -> BTreeSet<String> {
        let shop = self.api.get(SHOP);
        shop["metadata"]["labels"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| format!("{k}={}", v.as_str().unwrap()))
            .collect()
    }

    pub(crate) fn replicas(&self) -> i64 {
        self.api.get(WEB)["spec"]["replicas"].as_i64().unwrap()
    }
}

pub(crate) fn is_ready(status: &SiteStatus) -> bool {
    status.phase == Some(Phase::Stable)
        && status
            .conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Caches that show every change a little later.
pub(crate) fn follow(
    api: &FakeApi,
    policies_hang: Arc<AtomicBool>,
) -> (Caches, Arc<Notify>, AbortOnDropHandle<()>) {
    fn empty<K>() -> (reflector::Store<K>, Writer<K>)
    where
        K: kube::Resource<DynamicType = ()> + Clone + 'static,
    {
        let (store, mut writer) = reflector::store();
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        (store, writer)
    }
    fn apply<K>(writer: &mut Writer<K>, object: Value)
    where
        K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + 'static,
    {
        writer.apply_watcher_event(&Event::Apply(serde_json::from_value(object).unwrap()));
    }
    let (sites, mut site_writer) = empty::<Site>();
    let unreadable = UnreadableObjects::default();
    let mut site_reader = Reader::new(sites.clone(), unreadable.clone(), vec![], |_| None);
    let (namespaces, mut namespace_writer) = empty::<NamespaceMeta>();
    let (role_rules, mut rule_writer) = empty::<RoleRule>();
    let (failover_policies, mut policy_writer) = empty::<FailoverPolicy>();
    let (leases, mut lease_writer) = empty::<Lease>();
    let (webhooks, mut webhook_writer) = empty::<MutatingWebhookConfiguration>();
    let (policies, _) = empty::<ValidatingAdmissionPolicy>();
    let (bindings, _) = empty::<ValidatingAdmissionPolicyBinding>();
    let (changed, rules_changed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (send, mut changes) = mpsc::unbounded_channel::<(String, Value)>();
    let send = Mutex::new(send);
    api.on_change(move |path, object| {
        let _ = send.lock().unwrap().send((path.to_owned(), object.clone()));
    });
    let caches = Caches {
        shared: Informers {
            sites,
            namespaces,
            role_rules,
            webhooks,
            policies,
            bindings,
            unreadable,
        },
        failover_policies,
        exempt: ExemptLabels::default(),
        origins: OriginWatches::default(),
        enforcer_leases: leases,
        changed: Arc::clone(&changed),
    };
    let wake = Arc::clone(&rules_changed);
    let feed = tokio::spawn(async move {
        while let Some((path, object)) = changes.recv().await {
            tokio::time::sleep(LAG).await;
            if path == SITE {
                let event = Event::Apply(serde_json::from_value(object).unwrap());
                if let Some(event) = site_reader.take(event) {
                    site_writer.apply_watcher_event(&event);
                }
            } else if path.starts_with("/api/v1/namespaces/") {
                apply(&mut namespace_writer, object);
            } else if path.contains("/leases/") {
                apply(&mut lease_writer, object);
            } else if path.contains("/failoverpolicies/") {
                if !policies_hang.load(Ordering::Relaxed) {
                    apply(&mut policy_writer, object);
                }
            } else if path.contains("/rolerules/") {
                apply(&mut rule_writer, object);
            } else if path == HOOK {
                apply(&mut webhook_writer, object);
            } else {
                continue;
            }
            changed.notify_one();
            wake.notify_one();
        }
    });
    (caches, rules_changed, AbortOnDropHandle::new(feed))
}

pub(crate) fn lease(api: &FakeApi, revision: i64) {
    api.put(
        "/apis/coordination.k8s.io/v1/namespaces/failover-enforcers/leases/hook-0",
        json!({
            "metadata": { "namespace": "failover-enforcers", "annotations": { "failover.dev/revision": revision.to_string(), "failover.dev/namespaces": "1" } },
            "spec": { "leaseDurationSeconds": 15 }
        }),
    );
}
