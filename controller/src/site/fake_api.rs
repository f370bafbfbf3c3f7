//! An API server of a few lines for tests: objects by path, versions, pages, patches, and the webhook's decision where it
//! is "alive". Everything that was asked is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use failover_core::request::{Operation, Request as Review, admit};
use failover_core::{NamespaceState, RuleSet};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

/// Answers a request in place of the server, where it wants to.
type Fault = Box<dyn FnMut(&Asked, &mut Objects) -> Option<Response<Body>> + Send>;
/// Whether a request is never answered.
type Hang = Box<dyn Fn(&Asked) -> bool + Send>;
/// Told of every object that is stored, with its path.
type Watcher = Box<dyn Fn(&str, &Value) + Send>;
type Objects = BTreeMap<String, Value>;

/// One request that was made.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
    /// What was answered; 0 while it is being decided.
    pub(crate) answer: u16,
}

/// Refuses what it does not know, and fails the test that asked for it.
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
    /// This is the test's own.
    first: bool,
}

impl Clone for FakeApi {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            first: false,
        }
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        if self.first && !std::thread::panicking() {
            let unknown = std::mem::take(&mut self.state().unknown);
            assert!(
                unknown.is_empty(),
                "asked for what is not known: {unknown:#?}"
            );
        }
    }
}

/// Kinds that are there and that discovery does not name, so that no sweep and no check lists them.
const OTHERS: [(&str, &[&str]); 9] = [
    (
        "/api/v1/",
        &[
            "namespaces",
            "pods",
            "nodes",
            "secrets",
            "persistentvolumeclaims",
        ],
    ),
    ("/apis/apps/v1/", &["daemonsets"]),
    ("/apis/batch/v1/", &["jobs"]),
    ("/apis/storage.k8s.io/v1/", &["volumeattachments"]),
    ("/apis/coordination.k8s.io/v1/", &["leases"]),
    ("/apis/events.k8s.io/v1/", &["events"]),
    (
        "/apis/failover.dev/v1alpha1/",
        &["sites", "failoverpolicies", "rolerules"],
    ),
    (
        "/apis/authorization.k8s.io/v1/",
        &["selfsubjectaccessreviews"],
    ),
    (
        "/apis/admissionregistration.k8s.io/v1/",
        &["mutatingwebhookconfigurations"],
    ),
];

struct State {
    objects: Objects,
    version: u64,
    webhook_alive: bool,
    /// What the webhook takes a Namespace's labels for, so many times more.
    webhook_lags: Option<(u32, BTreeMap<String, String>)>,
    webhook_dies_after_lagging: bool,
    backstop: bool,
    /// Kinds that discovery names: group, version, plural.
    served: Vec<(&'static str, &'static str, &'static str)>,
    asked: Vec<Asked>,
    fault: Option<Fault>,
    hangs: Option<Hang>,
    watcher: Option<Watcher>,
    /// What was asked for and is not known.
    unknown: Vec<String>,
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        let state = State {
            objects: Objects::new(),
            version: 100,
            webhook_alive: true,
            webhook_lags: None,
            webhook_dies_after_lagging: false,
            backstop: false,
            served: vec![
                ("", "v1", "replicationcontrollers"),
                ("apps", "v1", "deployments"),
                ("apps", "v1", "statefulsets"),
                ("apps", "v1", "replicasets"),
                ("batch", "v1", "cronjobs"),
            ],
            asked: Vec::new(),
            fault: None,
            hangs: None,
            watcher: None,
            unknown: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            first: true,
        }
    }

    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let asked = Asked {
                    method: parts.method,
                    path: parts.uri.path().to_owned(),
                    query: parts.uri.query().unwrap_or_default().to_owned(),
                    body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                    answer: 0,
                };
                if api.hangs(&asked) {
                    api.state().asked.push(asked);
                    return std::future::pending().await;
                }
                let mut state = api.state();
                let answer = state.answer(&asked);
                state.asked.push(Asked {
                    answer: answer.status().as_u16(),
                    ..asked
                });
                Ok::<_, BoxError>(answer)
            }
        });
        Client::new(service, "default")
    }

    /// Stores an object as if it had always been there: no webhook is asked.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state();
        object["metadata"]["name"] = json!(path.rsplit('/').next().unwrap());
        state.store(path, object);
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.state()
            .objects
            .get(path)
            .cloned()
            .unwrap_or_else(|| panic!("{path} is not there"))
    }

    pub(crate) fn set_webhook_alive(&self, alive: bool) {
        self.state().webhook_alive = alive;
    }

    /// The webhook sees these labels on every Namespace in its next decisions.
    pub(crate) fn set_webhook_lagging(&self, decisions: u32, labels: BTreeMap<String, String>) {
        self.state().webhook_lags = Some((decisions, labels));
    }

    /// And answers no more after those.
    pub(crate) fn set_webhook_dying_after_lagging(&self) {
        self.state().webhook_dies_after_lagging = true;
    }

    /// No count may be raised, whatever the webhook says.
    pub(crate) fn set_backstop(&self) {
        self.state().backstop = true;
    }

    /// Has discovery name a kind beside those that it always does.
    pub(crate) fn serve(&self, group: &'static str, version: &'static str, plural: &'static str) {
        self.state().served.push((group, version, plural));
    }

    pub(crate) fn set_fault(
        &self,
        fault: impl FnMut(&Asked, &mut Objects) -> Option<Response<Body>> + Send + 'static,
    ) {
        self.state().fault = Some(Box::new(fault));
    }

    /// Calls back with every object that is stored from now on: what a watch would deliver.
    pub(crate) fn on_change(&self, changed: impl Fn(&str, &Value) + Send + 'static) {
        self.state().watcher = Some(Box::new(changed));
    }

    /// Requests of which this is so are never answered.
    pub(crate) fn set_hanging(&self, hangs: impl Fn(&Asked) -> bool + Send + 'static) {
        self.state().hangs = Some(Box::new(hangs));
    }

    fn hangs(&self, asked: &Asked) -> bool {
        self.state()
            .hangs
            .as_ref()
            .is_some_and(|hangs| hangs(asked))
    }

    /// What has been asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// What was asked since the last call.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    /// The writes since the last call, as `PATCH path`.
    pub(crate) fn take_writes(&self) -> Vec<String> {
        let asked = self.take_asked().into_iter();
        asked
            .filter(|a| a.method != Method::GET && !a.query.contains("dryRun=All"))
            .map(|a| format!("{} {}", a.method, a.path))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

pub(crate) fn status(code: u16, message: &str) -> Response<Body> {
    let body = json!({ "kind": "Status", "code": code, "message": message, "reason": "", "status": "Failure" });
    respond(StatusCode::from_u16(code).unwrap(), &body)
}

pub(crate) fn ok(body: &Value) -> Response<Body> {
    respond(StatusCode::OK, body)
}

fn respond(code: StatusCode, body: &Value) -> Response<Body> {
    Response::builder()
        .status(code)
        .body(Body::from(body.to_string().into_bytes()))
        .unwrap()
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Response<Body> {
        if let Some(mut fault) = self.fault.take() {
            let answer = fault(asked, &mut self.objects);
            self.fault = Some(fault);
            if let Some(answer) = answer {
                return answer;
            }
        }
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/api" | "/apis") => {
                let of_core = |(group, ..): &&(&str, &str, &str)| group.is_empty();
                let (core, others): (Vec<_>, Vec<_>) = self.served.iter().partition(of_core);
                let kinds = if asked.path == "/api" { core } else { others };
                respond(StatusCode::OK, &discovery(&kinds))
            }
            (method, path) if !self.knows(path) => {
                self.unknown.push(format!("{method} {path}"));
                status(404, "the fake API does not know this kind; serve() it")
            }
            ("GET", path) if self.objects.contains_key(path) => {
                respond(StatusCode::OK, &self.objects[path])
            }
            ("GET", path) if is_object(path) => status(404, "not found"),
            ("GET", path) => respond(StatusCode::OK, &self.list(path, &asked.query)),
            ("PATCH", path) => self.patch(path.strip_suffix("/status").unwrap_or(path), asked),
            ("PUT", path) => self.put_status(path, &asked.body),
            ("DELETE", path) => match self.objects.remove(path) {
                Some(object) => respond(StatusCode::OK, &object),
                None => status(404, "not found"),
            },
            ("POST", _) => respond(StatusCode::CREATED, &asked.body),
            (method, path) => panic!("{method} {path} is not expected"),
        }
    }

    /// Whether a path is of a kind that there is.
    fn knows(&self, path: &str) -> bool {
        let segments: Vec<_> = path.trim_matches('/').split('/').collect();
        let after_version = if segments[0] == "api" { 2 } else { 3 };
        let (root, rest) = segments.split_at(after_version.min(segments.len()));
        let resource = match rest {
            ["namespaces", _, resource, ..] => *resource,
            [resource, ..] => *resource,
            [] => return false,
        };
        let root = format!("/{}/", root.join("/"));
        let at = |group: &str, version: &str| match group {
            "" => format!("/api/{version}/"),
            group => format!("/apis/{group}/{version}/"),
        };
        let mut served = self.served.iter();
        let mut others = OTHERS.iter();
        served.any(|(group, version, kind)| at(group, version) == root && *kind == resource)
            || others.any(|(known, kinds)| *known == root && kinds.contains(&resource))
    }

    fn list(&self, path: &str, query: &str) -> Value {
        let parameter = |name: &str| {
            query
                .split('&')
                .find_map(|p| p.strip_prefix(&format!("{name}=")))
        };
        let limit = parameter("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let from: usize = parameter("continue").map_or(0, |token| token.parse().unwrap());
        let all: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(p, _)| is_listed(p, path))
            .map(|(_, o)| o)
            .filter(|o| {
                let name =
                    parameter("fieldSelector").and_then(|f| f.strip_prefix("metadata.name%3D"));
                name.is_none_or(|name| o["metadata"]["name"] == name)
            })
            .filter(|o| {
                let label = &o["metadata"]["labels"]["failover.dev/enforce"];
                match parameter("labelSelector") {
                    None => true,
                    Some("failover.dev%2Fenforce%3Ddisabled") => label == "disabled",
                    Some("failover.dev%2Fenforce+in+%28enabled%2Cpolicy%29") => {
                        label == "enabled" || label == "policy"
                    }
                    Some(other) => panic!("the selector {other} is not known"),
                }
            })
            .collect();
        let items: Vec<_> = all.iter().skip(from).take(limit).collect();
        let next = from + items.len();
        let token = if next < all.len() {
            next.to_string()
        } else {
            String::new()
        };
        json!({ "metadata": { "continue": token, "resourceVersion": self.version.to_string() }, "items": items })
    }

    fn patch(&mut self, path: &str, asked: &Asked) -> Response<Body> {
        let Some(old) = self.objects.get(path).cloned() else {
            return status(404, "not found");
        };
        let mut new = old.clone();
        if asked.body.is_array() {
            let patch: json_patch::Patch = serde_json::from_value(asked.body.clone()).unwrap();
            if json_patch::patch(&mut new, &patch).is_err() {
                return status(422, "the patch does not apply");
            }
        } else {
            json_patch::merge(&mut new, &asked.body);
        }
        if new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
            return status(409, "the object has been modified");
        }
        if asked.query.contains("fieldManager=failover-preview") {
            return respond(StatusCode::OK, &new);
        }
        if let Some(rewrite) = self
            .webhook_alive
            .then(|| self.review(path, &old, &new))
            .flatten()
        {
            json_patch::patch(&mut new, &rewrite).unwrap();
        }
        let count = |object: &Value| object["spec"]["replicas"].as_u64();
        if self.backstop && count(&new) > count(&old) {
            return status(
                403,
                "ValidatingAdmissionPolicy 'deployments.apps.failover.dev' with binding 'x' denied request",
            );
        }
        if new != old {
            self.store(path, new);
        }
        respond(StatusCode::OK, &self.objects[path])
    }

    /// What the webhook answers: the same function as in production.
    fn review(&mut self, path: &str, old: &Value, new: &Value) -> Option<json_patch::Patch> {
        let parts: Vec<_> = path.trim_start_matches("/apis/").split('/').collect();
        let [group, _, "namespaces", namespace, resource, name] = parts[..] else {
            return None;
        };
        let metadata = &self
            .objects
            .get(&format!("/api/v1/namespaces/{namespace}"))?["metadata"];
        let map = |key: &str| {
            serde_json::from_value::<BTreeMap<String, String>>(metadata[key].clone()).ok()
        };
        let labels = match &mut self.webhook_lags {
            Some((decisions, labels)) if *decisions > 0 => {
                *decisions -= 1;
                Some(labels.clone())
            }
            Some(_) if self.webhook_dies_after_lagging => return None,
            _ => map("labels"),
        };
        let (state, _) = NamespaceState::parse(labels.as_ref(), map("annotations").as_ref());
        let (old, new) = (old.to_string(), new.to_string());
        let review = Review {
            operation: Operation::Update,
            group,
            resource,
            subresource: None,
            name,
            field_manager: Some("failover-controller"),
            object: &new,
            old_object: Some(&old),
        };
        Some(admit(&RuleSet::built_in(), &state, &review).unwrap().patch)
    }

    fn put_status(&mut self, path: &str, body: &Value) -> Response<Body> {
        let path = path
            .strip_suffix("/status")
            .expect("only status is replaced");
        let Some(mut object) = self.objects.get(path).cloned() else {
            return status(404, "not found");
        };
        if object["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
            return status(409, "the object has been modified");
        }
        object["status"] = body["status"].clone();
        self.store(path, object);
        respond(StatusCode::OK, &self.objects[path])
    }

    fn store(&mut self, path: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if let Some(watcher) = &self.watcher {
            watcher(path, &object);
        }
        self.objects.insert(path.to_owned(), object);
    }
}

/// Whether an object is among those of a list: of one namespace, or of all.
fn is_listed(object: &str, list: &str) -> bool {
    let (Some((version, kind)), Some((of, _))) = (list.rsplit_once('/'), object.rsplit_once('/'))
    else {
        return false;
    };
    let in_namespace = of
        .strip_prefix(version)
        .and_then(|rest| rest.strip_prefix("/namespaces/")?.split_once('/'));
    of == list || in_namespace.is_some_and(|(_, of_kind)| of_kind == kind)
}

/// Whether a path names one object, and not a collection.
fn is_object(path: &str) -> bool {
    let segments = path.trim_matches('/').split('/').collect::<Vec<_>>();
    let after_version = if segments[0] == "api" { 2 } else { 3 };
    segments.len() > after_version && (segments.len() - after_version).is_multiple_of(2)
}

fn discovery(kinds: &[(&str, &str, &str)]) -> Value {
    let mut groups: BTreeMap<&str, BTreeMap<&str, Vec<Value>>> = BTreeMap::new();
    for (group, version, plural) in kinds {
        let versions = groups.entry(group).or_default();
        let resource = json!({ "resource": plural, "scope": "Namespaced" });
        versions.entry(version).or_default().push(resource);
    }
    let items: Vec<_> = groups
        .into_iter()
        .map(|(group, versions)| {
            let versions: Vec<_> = versions
                .into_iter()
                .map(|(version, resources)| json!({ "version": version, "resources": resources }))
                .collect();
            json!({ "metadata": { "name": group }, "versions": versions })
        })
        .collect();
    json!({ "items": items })
}

mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "asked for what is not known")]
    async fn what_it_does_not_know_fails_the_test() {
        let api = FakeApi::new();
        let request = Request::get("/apis/example.com/v1/namespaces/shop/widgets").body(vec![]);
        let answer = api.client().request::<Value>(request.unwrap()).await;
        assert!(matches!(answer, Err(kube::Error::Api(status)) if status.code == 404));
    }
}
