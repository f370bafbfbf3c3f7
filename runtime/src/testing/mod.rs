//! A fake API server for the tests of all crates: objects by path, versions, pages, selectors and patches. It records
//! every request. An unknown request is refused and fails its test: without an answer, a test could pass that has seen
//! nothing.
//!
//! Behind the feature `testing`, which only development dependencies enable.

mod kinds;
mod store;

use std::sync::{Arc, Mutex, MutexGuard};

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

pub use kinds::Kind;
pub use store::Store;

/// A recorded request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub body: Value,
    /// Identifies the type of a patch.
    pub content_type: String,
    /// The status of the answer; 0 while it is being decided, and if there was none.
    pub answer: u16,
}

impl Asked {
    /// Whether nothing is to be stored.
    pub fn is_dry_run(&self) -> bool {
        self.query.contains("dryRun=All")
    }

    /// Whether this would change something: a posted review changes nothing.
    pub fn is_write(&self) -> bool {
        self.method != Method::GET && !self.path.ends_with("reviews") && !self.is_dry_run()
    }
}

/// Replaces the normal handling of a request.
#[derive(Debug)]
pub enum Fault {
    /// Answers with this response.
    Answer(Response<Body>),
    /// The request never arrives: there is no connection.
    Refused,
    /// The request is carried out, and the answer is lost.
    AnswerLost,
}

impl From<Response<Body>> for Fault {
    fn from(answer: Response<Body>) -> Self {
        Self::Answer(answer)
    }
}

/// The result of admitting a patch.
#[derive(Debug)]
pub enum Admitted {
    Unchanged,
    Changed(json_patch::Patch),
    /// Refused as Forbidden, with this message.
    Denied(String),
}

type Decide = Box<dyn FnMut(&Asked, &mut Store) -> Option<Fault> + Send>;
type Before = Box<dyn FnMut(&Asked, &mut Store) + Send>;
type Admit = Box<dyn FnMut(&Asked, &Store, &Value, &Value) -> Admitted + Send>;
type Hang = Box<dyn Fn(&Asked) -> bool + Send>;

pub struct FakeApi {
    state: Arc<Mutex<State>>,
    /// Whether this is the test's own handle: it fails the test on unknown requests.
    first: bool,
}

struct State {
    store: Store,
    kinds: Vec<Kind>,
    asked: Vec<Asked>,
    fault: Option<Decide>,
    before: Option<Before>,
    admit: Option<Admit>,
    hangs: Option<Hang>,
    /// Requests that it does not know.
    unknown: Vec<String>,
}

impl Clone for FakeApi {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            first: false,
        }
    }
}

impl std::fmt::Debug for FakeApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeApi").finish_non_exhaustive()
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

impl Default for FakeApi {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeApi {
    /// Serves the kinds that every cluster has.
    pub fn new() -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                store: Store::default(),
                kinds: Kind::of_every_cluster(),
                asked: Vec::new(),
                fault: None,
                before: None,
                admit: None,
                hangs: None,
                unknown: Vec::new(),
            })),
            first: true,
        }
    }

    pub fn client(&self) -> Client {
        let api = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let content_type = parts.headers.get(http::header::CONTENT_TYPE);
                let content_type = content_type.and_then(|value| value.to_str().ok());
                let asked = Asked {
                    method: parts.method,
                    path: parts.uri.path().to_owned(),
                    query: parts.uri.query().unwrap_or_default().to_owned(),
                    content_type: content_type.unwrap_or_default().to_owned(),
                    body: serde_json::from_slice(&body.collect_bytes().await?)
                        .unwrap_or(Value::Null),
                    answer: 0,
                };
                api.answer(asked).await
            }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, asked: Asked) -> Result<Response<Body>, BoxError> {
        if self
            .state()
            .hangs
            .as_ref()
            .is_some_and(|hangs| hangs(&asked))
        {
            self.state().asked.push(asked);
            return std::future::pending().await;
        }
        let answer = self.state().answer(&asked);
        let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        self.state().asked.push(Asked {
            answer: code,
            ..asked
        });
        match answer {
            Err(Lost::Refused) => Err(no_connection().await),
            Err(Lost::Answer) => Err("connection reset".into()),
            Ok(answer) => Ok(answer),
        }
    }

    /// Stores an object without admission, as if it had always existed.
    pub fn put(&self, path: &str, mut object: Value) {
        object["metadata"]["name"] = json!(path.rsplit('/').next());
        self.state().store.put(path, object);
    }

    /// A stored object.
    #[expect(clippy::missing_panics_doc, reason = "so that the test fails")]
    pub fn get(&self, path: &str) -> Value {
        let found = self.state().store.get(path).cloned();
        found.unwrap_or_else(|| panic!("{path} is not there"))
    }

    /// Gives access to everything that is stored.
    pub fn with<T>(&self, access: impl FnOnce(&mut Store) -> T) -> T {
        access(&mut self.state().store)
    }

    /// Serves one more kind, which discovery lists, too.
    pub fn serve(&self, group: &str, version: &str, plural: &str) {
        let kind = Kind::named(group, version, plural);
        self.state().kinds.push(kind);
    }

    /// Makes discovery list only these kinds, as `apps/v1/deployments`. The others are still served.
    pub fn discover(&self, named: &[&str]) {
        for kind in &mut self.state().kinds {
            kind.discovered = named.contains(&kind.to_string().as_str());
        }
    }

    /// Decides about every request before it is carried out.
    pub fn set_fault<F: Into<Fault>>(
        &self,
        mut fault: impl FnMut(&Asked, &mut Store) -> Option<F> + Send + 'static,
    ) {
        self.state().fault = Some(Box::new(move |asked, store| {
            fault(asked, store).map(Into::into)
        }));
    }

    pub fn clear_fault(&self) {
        self.state().fault = None;
    }

    /// Changes the store before each request, as another writer would.
    pub fn set_before(&self, before: impl FnMut(&Asked, &mut Store) + Send + 'static) {
        self.state().before = Some(Box::new(before));
    }

    /// Admits patches: by the request, what is stored, the old object and the new one.
    pub fn set_admission(
        &self,
        admit: impl FnMut(&Asked, &Store, &Value, &Value) -> Admitted + Send + 'static,
    ) {
        self.state().admit = Some(Box::new(admit));
    }

    /// Requests that match are never answered.
    pub fn set_hanging(&self, hangs: impl Fn(&Asked) -> bool + Send + 'static) {
        self.state().hangs = Some(Box::new(hangs));
    }

    /// Calls back with every object that is stored from now on, as a watch would deliver it.
    pub fn on_change(&self, changed: impl Fn(&str, &Value) + Send + 'static) {
        self.state().store.watcher = Some(Box::new(changed));
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// The requests since the last call.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    /// The writes since the last call, as `PATCH path`.
    pub fn take_writes(&self) -> Vec<String> {
        let asked = self.take_asked().into_iter();
        asked
            .filter(|a| a.method != Method::GET && !a.is_dry_run())
            .map(|a| format!("{} {}", a.method, a.path))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Why there is no answer.
enum Lost {
    Refused,
    Answer,
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Result<Response<Body>, Lost> {
        if let Some(before) = &mut self.before {
            before(asked, &mut self.store);
        }
        let fault = match &mut self.fault {
            Some(fault) => fault(asked, &mut self.store),
            None => None,
        };
        match fault {
            Some(Fault::Answer(answer)) => Ok(answer),
            Some(Fault::Refused) => Err(Lost::Refused),
            Some(Fault::AnswerLost) => {
                self.carry_out(asked);
                Err(Lost::Answer)
            }
            None => Ok(self.carry_out(asked)),
        }
    }

    fn carry_out(&mut self, asked: &Asked) -> Response<Body> {
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/version") => ok(&json!({
                "major": "1", "minor": "30", "gitVersion": "v1.30.4", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": ""
            })),
            ("GET", "/api") => ok(&kinds::discovery(&self.kinds, str::is_empty)),
            ("GET", "/apis") => ok(&kinds::discovery(&self.kinds, |group| !group.is_empty())),
            (method, path) if !self.kinds.iter().any(|kind| kind.is_of(path)) => {
                self.unknown.push(format!("{method} {path}"));
                status(404, "the fake API does not know this kind: serve() it")
            }
            ("POST", path) if path.ends_with("reviews") => {
                let mut review = asked.body.clone();
                review["status"] = json!({ "allowed": true, "userInfo": { "username": "alice" } });
                respond(StatusCode::CREATED, &review)
            }
            (method, path) => {
                let answer = self.store.carry_out(asked, self.admit.as_deref_mut());
                answer.unwrap_or_else(|| {
                    self.unknown.push(format!("{method} {path}"));
                    status(405, "the fake API does not know this request")
                })
            }
        }
    }
}

/// The client's error when nobody listens; only the client itself can create it.
async fn no_connection() -> BoxError {
    let executor = hyper_util::rt::TokioExecutor::new();
    let client = hyper_util::client::legacy::Client::builder(executor).build_http::<Body>();
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = http::Uri::from_static("http://127.0.0.1:1/");
    match client.request(request).await {
        Err(error) => error.into(),
        Ok(_) => "somebody listens on port 1".into(),
    }
}

/// A failure, as the API server answers it.
#[expect(clippy::missing_panics_doc, reason = "tests know their codes")]
pub fn status(code: u16, message: &str) -> Response<Body> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "code": code, "message": message, "reason": "", "status": "Failure"
    });
    respond(StatusCode::from_u16(code).expect("a code of HTTP"), &body)
}

pub fn ok(body: &Value) -> Response<Body> {
    respond(StatusCode::OK, body)
}

pub(crate) fn respond(code: StatusCode, body: &Value) -> Response<Body> {
    let mut answer = Response::new(Body::from(body.to_string().into_bytes()));
    *answer.status_mut() = code;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(api: &FakeApi, path: &str) -> Result<Value, kube::Error> {
        let request = Request::get(path).body(vec![]).unwrap();
        api.client().request(request).await
    }

    #[tokio::test]
    #[should_panic(expected = "asked for what is not known")]
    async fn an_unknown_request_fails_the_test() {
        let api = FakeApi::new();
        let answer = get(&api, "/apis/example.com/v1/namespaces/shop/widgets").await;
        assert!(matches!(answer, Err(kube::Error::Api(status)) if status.code == 404));
    }

    #[tokio::test]
    async fn a_served_kind_is_listed_and_discovered() {
        let api = FakeApi::new();
        api.serve("example.com", "v1", "widgets");
        let path = "/apis/example.com/v1/namespaces/shop/widgets";
        api.put(
            &format!("{path}/a"),
            json!({ "metadata": { "labels": { "on": "yes" } } }),
        );
        api.put(&format!("{path}/b"), json!({}));
        for (query, found) in [
            ("", 2),
            ("?labelSelector=on%3Dyes", 1),
            ("?labelSelector=on+in+%28no%2Cyes%29", 1),
            ("?labelSelector=on+in+%28no%2Cyes%29%2Con%3Dno", 0),
            ("?fieldSelector=metadata.name%3Db", 1),
            ("?limit=1", 1),
        ] {
            let list = get(&api, &format!("{path}{query}")).await.unwrap();
            assert_eq!(list["items"].as_array().unwrap().len(), found, "{query}");
        }
        let groups = get(&api, "/apis").await.unwrap();
        assert!(groups.to_string().contains("widgets"));
    }

    #[tokio::test]
    async fn no_connection_is_the_clients_own_error() {
        let api = FakeApi::new();
        api.set_fault(|_, _| Some(Fault::Refused));
        let error = get(&api, "/version").await.unwrap_err();
        let mut error: Option<&dyn std::error::Error> = Some(&error);
        let mut connecting = false;
        while let Some(cause) = error {
            let client = cause.downcast_ref::<hyper_util::client::legacy::Error>();
            connecting |= client.is_some_and(hyper_util::client::legacy::Error::is_connect);
            error = cause.source();
        }
        assert!(connecting);
    }
}
