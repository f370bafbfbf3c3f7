//! A cluster for tests: the fake API server with a Site, namespaces and Deployments in it, and a controller that carries out a
//! request the next time the Site is read. A test can stop the controller.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard};

use failover_core::admission::rewrite::rewrite_stored;
use failover_core::plan::role_of;
use failover_core::{Layer, NamespaceState, Role, RuleSet};
use failover_runtime::testing::{self, Asked, FakeApi, Store, status};
use http::Method;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::output::Screen;
use crate::output::screen::tests::{Captured, PIPE, captured};
use crate::session::Session;

const SITE: &str = "/apis/failover.dev/v1alpha1/sites/cluster";
const SHOP: &str = "/api/v1/namespaces/shop";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
const WEBHOOK: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/failover.dev";
const LEASE: &str =
    "/apis/coordination.k8s.io/v1/namespaces/failover-system/leases/failover-controller";

/// What happens to a request in place of the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never arrives.
    Refused,
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It is refused with this code.
    Status(u16),
}

impl From<Fault> for testing::Fault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused => Self::Refused,
            Fault::AnswerLost => Self::AnswerLost,
            Fault::Status(code) => Self::Answer(status(code, "no")),
        }
    }
}

/// What the controller does.
#[derive(Debug, Default)]
pub(crate) struct Behavior {
    /// One leads, and carries out what is ordered.
    pub(crate) controller: bool,
    /// One leads and does nothing by itself: a test sets its state.
    pub(crate) controller_leads: bool,
    /// Objects that it overlooks.
    pub(crate) overlooked: Vec<String>,
    /// Somebody has said what single objects are.
    objects_written: bool,
}

/// What is stored, and the controller.
pub(crate) struct World<'a> {
    store: &'a mut Store,
    controller: &'a mut Behavior,
}

impl Deref for World<'_> {
    type Target = Behavior;

    fn deref(&self) -> &Behavior {
        self.controller
    }
}

impl DerefMut for World<'_> {
    fn deref_mut(&mut self) -> &mut Behavior {
        self.controller
    }
}

#[derive(Clone)]
pub(crate) struct FakeCluster {
    api: FakeApi,
    controller: Arc<Mutex<Behavior>>,
}

fn lock(controller: &Mutex<Behavior>) -> MutexGuard<'_, Behavior> {
    controller.lock().unwrap()
}

impl FakeCluster {
    /// A site `east` in a role, settled, with one Deployment in the one enrolled namespace `shop`.
    pub(crate) fn settled(role: Role) -> Self {
        let (replicas, annotations) = match role {
            Role::Primary => (3, json!({})),
            Role::Secondary => (0, json!({"failover.dev/restore": "{\"/spec/replicas\":3}"})),
        };
        let api = FakeApi::new();
        api.discover(&["v1/pods", "apps/v1/deployments"]);
        api.put(
            SITE,
            json!({
                "apiVersion": "failover.dev/v1alpha1", "kind": "Site", "metadata": {"generation": 1},
                "spec": {"siteName": "east", "role": role, "epoch": 4},
                "status": {"phase": "Stable", "revision": 1, "observedGeneration": 1, "layers": layers(role)},
            }),
        );
        api.put(
            SHOP,
            json!({"metadata": {"labels": {"failover.dev/enforce": "enabled"}}}),
        );
        api.put(
            WEB,
            json!({
                "metadata": {"namespace": "shop", "annotations": annotations},
                "spec": {"replicas": replicas}
            }),
        );
        api.put(
            WEBHOOK,
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                "webhooks": [{"name": "mutate.failover.dev", "clientConfig": {"caBundle": "YQ=="},
                              "sideEffects": "None", "admissionReviewVersions": ["v1"]}]
            }),
        );
        let fake = Self {
            api,
            controller: Arc::new(Mutex::new(Behavior {
                controller: true,
                ..Behavior::default()
            })),
        };
        let controller = Arc::clone(&fake.controller);
        fake.api.set_before(move |asked, store| {
            let controller = &mut *lock(&controller);
            World { store, controller }.before(asked);
        });
        fake.change(|world| world.label(role));
        fake
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut World<'_>)) {
        self.api.with(|store| {
            let controller = &mut *lock(&self.controller);
            change(&mut World { store, controller });
        });
    }

    /// Has every request decided about first.
    pub(crate) fn fail(
        &self,
        mut decide: impl FnMut(&Method, &str, &mut World<'_>) -> Option<Fault> + Send + 'static,
    ) {
        let controller = Arc::clone(&self.controller);
        self.api.set_fault(move |asked, store| {
            let controller = &mut *lock(&controller);
            decide(&asked.method, &asked.path, &mut World { store, controller })
        });
    }

    /// The writes that were made or tried, but for questions.
    pub(crate) fn writes(&self) -> Vec<Asked> {
        let mut asked = self.api.asked();
        asked.retain(|asked| {
            asked.method != Method::GET
                && !asked.path.ends_with("reviews")
                && !asked.query.contains("fieldManager=failover-preview")
        });
        asked
    }

    /// The Site's spec.
    pub(crate) fn spec(&self) -> Value {
        self.api.get(SITE)["spec"].clone()
    }

    pub(crate) fn deployment(&self) -> Value {
        self.get(WEB)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.api.get(path)
    }

    pub(crate) fn cluster(&self) -> Cluster {
        Cluster::new(Connection {
            client: self.api.client(),
            config: Box::new(kube::Config::new(http::Uri::from_static("https://east"))),
            server: "https://east".to_owned(),
            context: None,
        })
    }
}

/// What a command said, and how it ended.
pub(crate) struct Ran<T> {
    pub(crate) result: T,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command against a fake cluster, with its streams captured.
pub(crate) async fn run<T>(
    fake: &FakeCluster,
    command: impl AsyncFnOnce(&Session<'_>) -> T,
) -> Ran<T> {
    let (screen, out, err): (Screen, Captured, Captured) = captured(PIPE);
    let session = Session::new(fake.cluster(), &screen);
    let result = command(&session).await;
    Ran {
        result,
        out: out.text(),
        err: err.text(),
    }
}

impl World<'_> {
    /// What is so by the time that a request arrives.
    fn before(&mut self, asked: &Asked) {
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", SITE) => self.carry_out(),
            ("GET", DEPLOYMENTS) => self.follow_objects(),
            ("GET", LEASE) => self.renew(),
            ("PATCH", path) if path.starts_with("/api/v1/namespaces/") => {
                self.objects_written = true;
            }
            _ => {}
        }
    }

    fn renew(&mut self) {
        let leads = self.controller.controller || self.controller_leads;
        let holder = leads.then_some("c-1");
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "failover-controller"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": format!("{:.6}", jiff::Timestamp::now())}
        });
        self.store.put(LEASE, lease);
    }

    /// What the controller does about single objects: it brings them to what their Namespace says.
    fn follow_objects(&mut self) {
        let Some(namespace) = self.store.get(SHOP).filter(|_| self.controller.controller) else {
            return;
        };
        let metadata = &namespace["metadata"];
        if metadata["annotations"]["failover.dev/objects"].is_null() && !self.objects_written {
            return;
        }
        let map = |key: &str| serde_json::from_value(metadata[key].clone()).ok();
        let (state, _) = NamespaceState::parse(map("labels").as_ref(), map("annotations").as_ref());
        let rules = RuleSet::built_in();
        let rule = rules.find("apps", "deployments").unwrap();
        let deployment = self.deployment();
        if let Some(role) = role_of(rule, &state, deployment) {
            let rewrite = rewrite_stored(rule, role, deployment).unwrap();
            json_patch::patch(deployment, &rewrite.patch).unwrap();
        }
    }

    pub(crate) fn site(&self) -> &Value {
        self.store.get(SITE).expect("nobody deletes it")
    }

    pub(crate) fn namespace(&mut self) -> &mut Value {
        self.store.get_mut(SHOP).expect("nobody deletes it")
    }

    pub(crate) fn deployment(&mut self) -> &mut Value {
        self.store.get_mut(WEB).expect("nobody deletes it")
    }

    /// Stores a Namespace, a FailoverPolicy or a RoleRule.
    pub(crate) fn put(&mut self, object: Value) {
        let metadata = &object["metadata"];
        let (namespace, name) = (metadata["namespace"].as_str(), &metadata["name"]);
        let name = name.as_str().expect("it has a name");
        let path = match (object["kind"].as_str(), namespace) {
            (Some("FailoverPolicy"), Some(namespace)) => {
                format!(
                    "/apis/failover.dev/v1alpha1/namespaces/{namespace}/failoverpolicies/{name}"
                )
            }
            (Some("RoleRule"), None) => format!("/apis/failover.dev/v1alpha1/rolerules/{name}"),
            (None | Some("Namespace"), None) => format!("/api/v1/namespaces/{name}"),
            (kind, _) => panic!("{kind:?} is not known"),
        };
        self.store.put(&path, object);
    }

    pub(crate) fn remove_site(&mut self) {
        self.store.remove(SITE);
    }

    pub(crate) fn remove_webhook(&mut self) {
        self.store.remove(WEBHOOK);
    }

    /// Somebody else writes the Site.
    pub(crate) fn touch_site(&mut self, change: impl FnOnce(&mut Value)) {
        self.store.change(SITE, change);
    }

    /// What the controller does: labels, objects, history.
    fn carry_out(&mut self) {
        let Some(site) = self.store.get(SITE).cloned() else {
            return;
        };
        if !self.controller.controller {
            return;
        }
        if !site["spec"]["paused"].is_null() {
            if site["status"]["phase"] != "Paused" {
                self.touch_site(|site| site["status"]["phase"] = json!("Paused"));
            }
            return;
        }
        if site["status"]["phase"] == "Paused" {
            self.touch_site(|site| site["status"]["phase"] = json!("Stable"));
        }
        let role: Role = serde_json::from_value(site["spec"]["role"].clone()).unwrap();
        if site["status"]["layers"] == layers(role) {
            return;
        }
        self.label(role);
        let rules = RuleSet::built_in();
        let rule = rules.find("apps", "deployments").unwrap();
        if !self.overlooked.iter().any(|name| name == "web") {
            let deployment = self.deployment();
            let rewrite = rewrite_stored(rule, role, deployment).unwrap();
            json_patch::patch(deployment, &rewrite.patch).unwrap();
        }
        self.touch_site(|site| {
            let id = site["spec"]["request"]["id"].clone();
            site["status"]["layers"] = layers(role);
            site["status"]["history"] = json!([{
                "id": id, "to": role, "epoch": 5, "objects": 1, "outcome": "Succeeded",
                "startedAt": "2026-03-01T12:00:00Z", "finishedAt": "2026-03-01T12:00:01Z"
            }]);
        });
    }

    /// What the controller writes on enrolled namespaces.
    pub(crate) fn label(&mut self, role: Role) {
        for (path, namespace) in self.store.iter_mut() {
            let is_enrolled = !namespace["metadata"]["labels"]["failover.dev/enforce"].is_null();
            if !path.starts_with("/api/v1/namespaces/") || !is_enrolled {
                continue;
            }
            for layer in Layer::ALL {
                namespace["metadata"]["labels"][layer.label()] = json!(role);
            }
            namespace["metadata"]["annotations"] =
                json!({"failover.dev/site": "east", "failover.dev/revision": "1"});
        }
    }
}

pub(crate) fn layers(role: Role) -> Value {
    json!({"volumes": role, "workloads": role, "gitops": role, "traffic": role})
}
