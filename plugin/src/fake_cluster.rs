//! A cluster of a few lines for tests: an API server with a Site, namespaces and Deployments, and a controller that carries
//! out an order the next time it is looked at, unless it is told not to. Everything that was written is kept.

use std::sync::{Arc, Mutex, MutexGuard};

use failover_core::plan::role_of;
use failover_core::rewrite::rewrite_stored;
use failover_core::{Layer, NamespaceState, Role, RuleSet};
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

use crate::cluster::Cluster;
use crate::commands::Session;
use crate::connection::Connection;
use crate::output::Screen;
use crate::output::screen::tests::{Captured, PIPE, captured};

/// A write that was made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

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

type Decide = Box<dyn FnMut(&Method, &str, &mut World) -> Option<Fault> + Send>;

/// What is stored.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not states"
)]
pub(crate) struct World {
    pub(crate) site: Option<Value>,
    pub(crate) namespaces: Vec<Value>,
    pub(crate) deployments: Vec<Value>,
    pub(crate) policies: Vec<Value>,
    pub(crate) role_rules: Vec<Value>,
    pub(crate) webhook: bool,
    /// A controller leads, and carries out what is ordered.
    pub(crate) controller: bool,
    /// A controller leads, and does nothing by itself: a test says where it stands.
    pub(crate) controller_leads: bool,
    /// Objects that the controller overlooks.
    pub(crate) overlooked: Vec<String>,
    /// Somebody has said what single objects are.
    objects_written: bool,
    version: u64,
}

#[derive(Clone)]
pub(crate) struct FakeCluster(Arc<Mutex<State>>);

struct State {
    world: World,
    writes: Vec<Write>,
    fault: Option<Decide>,
}

impl FakeCluster {
    /// A site `east` in a role, settled, with one Deployment in the one enrolled namespace `shop`.
    pub(crate) fn settled(role: Role) -> Self {
        let (replicas, annotations) = match role {
            Role::Primary => (3, json!({})),
            Role::Secondary => (0, json!({"failover.dev/restore": "{\"/spec/replicas\":3}"})),
        };
        let mut world = World {
            site: Some(json!({
                "apiVersion": "failover.dev/v1alpha1", "kind": "Site",
                "metadata": {"name": "cluster", "resourceVersion": "1", "generation": 1},
                "spec": {"siteName": "east", "role": role, "epoch": 4},
                "status": {"phase": "Stable", "step": 1, "observedGeneration": 1, "layers": layers(role)},
            })),
            namespaces: vec![json!({
                "metadata": {"name": "shop", "resourceVersion": "1", "labels": {"failover.dev/enforce": "enabled"}}
            })],
            deployments: vec![json!({
                "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
                "spec": {"replicas": replicas}
            })],
            policies: vec![],
            role_rules: vec![],
            webhook: true,
            controller: true,
            controller_leads: false,
            overlooked: vec![],
            objects_written: false,
            version: 1,
        };
        world.label(role);
        Self(Arc::new(Mutex::new(State {
            world,
            writes: vec![],
            fault: None,
        })))
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.state().world);
    }

    /// Has every request decided about first.
    pub(crate) fn fail(
        &self,
        decide: impl FnMut(&Method, &str, &mut World) -> Option<Fault> + Send + 'static,
    ) {
        self.state().fault = Some(Box::new(decide));
    }

    pub(crate) fn writes(&self) -> Vec<Write> {
        self.state().writes.clone()
    }

    /// The Site's spec.
    pub(crate) fn spec(&self) -> Value {
        self.state().world.site.as_ref().unwrap()["spec"].clone()
    }

    pub(crate) fn deployment(&self) -> Value {
        self.state().world.deployments[0].clone()
    }

    pub(crate) fn cluster(&self) -> Cluster {
        let fake = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let write = Write {
                    method: parts.method,
                    path: parts.uri.path().to_owned(),
                    query: parts.uri.query().unwrap_or_default().to_owned(),
                    body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                };
                let answer = fake.state().answer(&write);
                match answer {
                    Err(error) if error.is::<NoConnection>() => Err(no_connection().await),
                    answer => answer,
                }
            }
        });
        Cluster::new(Connection {
            client: Client::new(service, "default"),
            config: Box::new(kube::Config::new(http::Uri::from_static("https://east"))),
            server: "https://east".to_owned(),
            context: None,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// What a command said, and how it ended.
pub(crate) struct Said<T> {
    pub(crate) result: T,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command against a fake cluster, with its streams captured.
pub(crate) async fn run<T>(
    fake: &FakeCluster,
    command: impl AsyncFnOnce(&Session<'_>) -> T,
) -> Said<T> {
    let (screen, out, err): (Screen, Captured, Captured) = captured(PIPE);
    let session = Session::new(fake.cluster(), &screen);
    let result = command(&session).await;
    Said {
        result,
        out: out.text(),
        err: err.text(),
    }
}

/// In place of the client's own error, which nobody else can make.
#[derive(Debug, thiserror::Error)]
#[error("no connection")]
struct NoConnection;

/// What the client says where nobody listens.
async fn no_connection() -> BoxError {
    let executor = hyper_util::rt::TokioExecutor::new();
    let client = hyper_util::client::legacy::Client::builder(executor).build_http::<Body>();
    let request = Request::get("http://127.0.0.1:1/").body(Body::empty());
    let answer = client.request(request.expect("a sound request")).await;
    answer.expect_err("a port that nobody has").into()
}

impl State {
    fn answer(&mut self, write: &Write) -> Result<Response<Body>, BoxError> {
        let fault = match &mut self.fault {
            Some(decide) => decide(&write.method, &write.path, &mut self.world),
            None => None,
        };
        match fault {
            Some(Fault::Refused) => return Err(NoConnection.into()),
            Some(Fault::Status(code)) => return Ok(failure(code, "no")),
            Some(Fault::AnswerLost) | None => {}
        }
        // A question changes nothing.
        let asks = write.path.ends_with("/selfsubjectaccessreviews");
        if write.method != Method::GET
            && !asks
            && !write.query.contains("fieldManager=failover-preview")
        {
            self.writes.push(write.clone());
        }
        let answer = self.world.answer(write);
        if fault == Some(Fault::AnswerLost) {
            return Err("connection reset".into());
        }
        Ok(answer)
    }
}

/// What an installation asks before it writes.
fn preflight(write: &Write, dry_run: bool) -> Response<Body> {
    match (write.method.as_str(), write.path.as_str()) {
        ("PATCH", path)
            if dry_run
                && (path.starts_with("/apis/admissionregistration.k8s.io/")
                    || path.starts_with("/apis/apiextensions.k8s.io/")) =>
        {
            ok(&write.body)
        }
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") => {
            let mut review = write.body.clone();
            review["status"] = json!({"allowed": true});
            ok(&review)
        }
        ("GET", "/version") => ok(&json!({
            "major": "1", "minor": "30", "gitVersion": "v1.30.4", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": ""
        })),
        (method, path) => failure(501, &format!("{method} {path}")),
    }
}

impl World {
    fn answer(&mut self, write: &Write) -> Response<Body> {
        let dry_run = write.query.contains("dryRun=All");
        match (write.method.as_str(), write.path.as_str()) {
            ("GET", "/apis/failover.dev/v1alpha1/sites/cluster") => {
                self.carry_out();
                self.site
                    .clone()
                    .map_or_else(|| failure(404, "not found"), |site| ok(&site))
            }
            (
                "PATCH",
                "/apis/failover.dev/v1alpha1/sites/cluster"
                | "/apis/failover.dev/v1alpha1/sites/cluster/status",
            ) => self.patch_site(&write.body, dry_run),
            ("GET", "/api/v1/namespaces") => {
                let items: Vec<_> = self.namespaces.iter().map(partial).collect();
                ok(&json!({
                    "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items
                }))
            }
            ("GET", path)
                if path.starts_with("/api/v1/namespaces/") && path.matches('/').count() == 4 =>
            {
                let name = path.rsplit('/').next().unwrap_or_default();
                match self
                    .namespaces
                    .iter()
                    .find(|ns| ns["metadata"]["name"] == name)
                {
                    Some(namespace) => ok(&partial(namespace)),
                    None => failure(404, "not found"),
                }
            }
            ("PATCH", path) if path.starts_with("/api/v1/namespaces/") => {
                self.patch_namespace(path, &write.body)
            }
            ("PATCH", "/apis/apps/v1/namespaces/shop/deployments/web") => {
                let mut object = self.deployments[0].clone();
                json_patch::merge(&mut object, &write.body);
                if !dry_run {
                    self.deployments[0] = object.clone();
                }
                ok(&object)
            }
            ("GET", "/apis/apps/v1/namespaces/shop/deployments") => {
                self.follow_objects();
                ok(&json!({"metadata": {}, "items": self.deployments}))
            }
            (
                "GET",
                "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/failover.dev",
            ) => {
                if !self.webhook {
                    return failure(404, "not found");
                }
                ok(&json!({
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                    "metadata": {"name": "failover.dev"},
                    "webhooks": [{"name": "mutate.failover.dev", "clientConfig": {"caBundle": "YQ=="},
                                  "sideEffects": "None", "admissionReviewVersions": ["v1"]}]
                }))
            }
            (
                "GET",
                "/apis/coordination.k8s.io/v1/namespaces/failover-system/leases/failover-controller",
            ) => {
                let leads = self.controller || self.controller_leads;
                let holder = leads.then_some("c-1");
                ok(&json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": "failover-controller", "resourceVersion": self.version.to_string()},
                    "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": format!("{:.6}", jiff::Timestamp::now())}
                }))
            }
            ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews") => ok(&json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {},
                "status": {"userInfo": {"username": "alice"}}
            })),
            ("GET", path)
                if path.starts_with(
                    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic",
                ) =>
            {
                ok(&json!({"metadata": {}, "items": []}))
            }
            ("GET", "/api") => groups(&json!([group("", "v1", "pods")])),
            ("GET", "/apis") => groups(&json!([group("apps", "v1", "deployments")])),
            ("GET", path) if is_empty_list(path) => ok(&json!({"metadata": {}, "items": []})),
            ("GET", "/apis/failover.dev/v1alpha1/rolerules") => ok(&json!({
                "apiVersion": "failover.dev/v1alpha1", "kind": "RoleRuleList", "metadata": {},
                "items": self.role_rules
            })),
            ("GET", "/apis/failover.dev/v1alpha1/failoverpolicies") => ok(&json!({
                "apiVersion": "failover.dev/v1alpha1", "kind": "FailoverPolicyList", "metadata": {},
                "items": self.policies
            })),
            _ => preflight(write, dry_run),
        }
    }

    /// What the controller does about single objects: it brings them to what their Namespace says.
    fn follow_objects(&mut self) {
        let Some(namespace) = self.namespaces.first().filter(|_| self.controller) else {
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
        for deployment in &mut self.deployments {
            if let Some(role) = role_of(rule, &state, deployment) {
                let rewrite = rewrite_stored(rule, role, deployment).unwrap();
                json_patch::patch(deployment, &rewrite.patch).unwrap();
            }
        }
    }

    fn patch_site(&mut self, body: &Value, dry_run: bool) -> Response<Body> {
        let patch: json_patch::Patch = serde_json::from_value(body.clone()).unwrap();
        let mut site = self.site.clone().unwrap();
        let version = site["metadata"]["resourceVersion"].clone();
        json_patch::patch(&mut site, &patch).unwrap();
        if site["metadata"]["resourceVersion"] != version {
            return failure(409, "the object has been modified");
        }
        if !dry_run {
            self.version += 1;
            site["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.site = Some(site.clone());
        }
        ok(&site)
    }

    fn patch_namespace(&mut self, path: &str, body: &Value) -> Response<Body> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let Some(namespace) = self
            .namespaces
            .iter_mut()
            .find(|ns| ns["metadata"]["name"] == name)
        else {
            return failure(404, "not found");
        };
        if body["metadata"]["resourceVersion"] != namespace["metadata"]["resourceVersion"] {
            return failure(409, "the object has been modified");
        }
        json_patch::merge(namespace, body);
        self.objects_written = true;
        self.version += 1;
        namespace["metadata"]["resourceVersion"] = json!(self.version.to_string());
        ok(&partial(namespace))
    }

    /// Somebody else writes the Site.
    pub(crate) fn touch_site(&mut self, change: impl FnOnce(&mut Value)) {
        self.version += 1;
        let version = self.version.to_string();
        let site = self.site.as_mut().unwrap();
        change(site);
        site["metadata"]["resourceVersion"] = json!(version);
    }

    /// What the controller does: labels, objects, history.
    fn carry_out(&mut self) {
        let Some(site) = self.site.clone().filter(|_| self.controller) else {
            return;
        };
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
        for deployment in &mut self.deployments {
            let name = deployment["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if !self.overlooked.contains(&name) {
                let rewrite = rewrite_stored(rule, role, deployment).unwrap();
                json_patch::patch(deployment, &rewrite.patch).unwrap();
            }
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
        for namespace in &mut self.namespaces {
            if namespace["metadata"]["labels"]["failover.dev/enforce"].is_null() {
                continue;
            }
            for layer in Layer::ALL {
                namespace["metadata"]["labels"][layer.label()] = json!(role);
            }
            namespace["metadata"]["annotations"] =
                json!({"failover.dev/site": "east", "failover.dev/step": "1"});
        }
    }
}

pub(crate) fn layers(role: Role) -> Value {
    json!({"volumes": role, "workloads": role, "gitops": role, "traffic": role})
}

fn partial(object: &Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
}

fn group(name: &str, version: &str, resource: &str) -> Value {
    json!({"metadata": {"name": name}, "versions": [
        {"version": version, "resources": [
            {"resource": resource, "scope": "Namespaced", "shortNames": [resource.get(..6).unwrap_or_default()]}
        ]}
    ]})
}

fn groups(items: &Value) -> Response<Body> {
    ok(&json!({
        "apiVersion": "apidiscovery.k8s.io/v2", "kind": "APIGroupDiscoveryList", "metadata": {}, "items": items
    }))
}

fn ok(value: &Value) -> Response<Body> {
    Response::new(Body::from(value.to_string().into_bytes()))
}

fn failure(code: u16, message: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code, "reason": ""});
    Response::builder()
        .status(StatusCode::from_u16(code).unwrap())
        .body(Body::from(status.to_string().into_bytes()))
        .unwrap()
}

/// Kinds of which there are none; any other is not known, and not answered as if it were.
fn is_empty_list(path: &str) -> bool {
    let kinds = [
        (
            "/api/v1/namespaces/",
            &["pods", "replicationcontrollers", "persistentvolumeclaims"][..],
        ),
        (
            "/apis/apps/v1/namespaces/",
            &["deployments", "statefulsets", "replicasets", "daemonsets"],
        ),
        ("/apis/batch/v1/namespaces/", &["jobs", "cronjobs"]),
    ];
    kinds.iter().any(|(root, kinds)| {
        let rest = path
            .strip_prefix(root)
            .and_then(|rest| rest.split_once('/'));
        rest.is_some_and(|(_, kind)| kinds.contains(&kind))
    })
}
