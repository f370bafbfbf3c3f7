//! The stored objects, and how requests read and change them.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use http::{Response, StatusCode};
use kube::client::Body;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{Admitted, Asked, respond, status};

/// Objects by path. A change in place keeps the version; [`Store::put`] sets a new one.
#[derive(Default)]
pub struct Store {
    objects: BTreeMap<String, Value>,
    version: u64,
    pub(super) watcher: Option<Watcher>,
}

/// Called with every object that is stored, and its path.
pub(super) type Watcher = Box<dyn Fn(&str, &Value) + Send>;
type Admit<'a> = &'a mut (dyn FnMut(&Asked, &Store, &Value, &Value) -> Admitted + Send + 'static);

impl Deref for Store {
    type Target = BTreeMap<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.objects
    }
}

impl DerefMut for Store {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.objects
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(&self.objects).finish()
    }
}

impl Store {
    /// Stores an object in a new version and notifies the watcher.
    pub fn put(&mut self, path: &str, mut object: Value) {
        self.version = self.version.max(100) + 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if let Some(watcher) = &self.watcher {
            watcher(path, &object);
        }
        self.objects.insert(path.to_owned(), object);
    }

    /// Changes an object, if it exists.
    pub fn change(&mut self, path: &str, change: impl FnOnce(&mut Value)) {
        if let Some(mut object) = self.objects.get(path).cloned() {
            change(&mut object);
            self.put(path, object);
        }
    }

    /// `None` if the request is unknown.
    pub(super) fn carry_out(
        &mut self,
        asked: &Asked,
        admit: Option<Admit<'_>>,
    ) -> Option<Response<Body>> {
        let path = asked.path.as_str();
        Some(match asked.method.as_str() {
            "GET" if self.objects.contains_key(path) => ok(&self.objects[path]),
            "GET" if is_object(path) => not_found(),
            "GET" => ok(&self.list(path, &asked.query)?),
            "PATCH" => self.patch(path.strip_suffix("/status").unwrap_or(path), asked, admit),
            "PUT" => self.replace(path, asked),
            "DELETE" => match self.objects.remove(path) {
                Some(object) => ok(&object),
                None => not_found(),
            },
            "POST" => self.create(path, asked),
            _ => return None,
        })
    }

    fn list(&self, path: &str, query: &str) -> Option<Value> {
        let parameter = |name: &str| {
            let mut parameters = query.split('&').filter_map(|p| p.split_once('='));
            let (_, value) = parameters.find(|(key, _)| *key == name)?;
            let value = value.replace('+', " ");
            Some(percent_decode_str(&value).decode_utf8_lossy().into_owned())
        };
        let limit = parameter("limit").map_or(Some(usize::MAX), |limit| limit.parse().ok())?;
        let from: usize = parameter("continue").map_or(Some(0), |token| token.parse().ok())?;
        let name = match parameter("fieldSelector") {
            Some(selector) => Some(selector.strip_prefix("metadata.name=")?.to_owned()),
            None => None,
        };
        let labels = match parameter("labelSelector") {
            Some(selector) => Labels::read_all(&selector)?,
            None => Vec::new(),
        };
        let all: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(object, _)| is_listed(object, path))
            .map(|(_, object)| object)
            .filter(|o| name.as_ref().is_none_or(|n| o["metadata"]["name"] == **n))
            .filter(|o| labels.iter().all(|label| label.matches(o)))
            .collect();
        let items: Vec<_> = all.iter().skip(from).take(limit).collect();
        let next = from + items.len();
        let token = if next < all.len() {
            next.to_string()
        } else {
            String::new()
        };
        Some(json!({
            "apiVersion": "v1", "kind": "List",
            "metadata": { "continue": token, "resourceVersion": self.version.to_string() }, "items": items
        }))
    }

    fn patch(&mut self, path: &str, asked: &Asked, admit: Option<Admit<'_>>) -> Response<Body> {
        let applies = asked.content_type.starts_with("application/apply-patch");
        let old = match self.objects.get(path) {
            Some(old) => old.clone(),
            None if applies => Value::Null,
            None => return not_found(),
        };
        let mut new = old.clone();
        if asked.body.is_array() {
            let patch = serde_json::from_value::<json_patch::Patch>(asked.body.clone());
            let patched = patch.is_ok_and(|patch| json_patch::patch(&mut new, &patch).is_ok());
            if !patched {
                return status(422, "the patch does not apply");
            }
        } else {
            json_patch::merge(&mut new, &asked.body);
        }
        if new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
            return status(409, "the object has been modified");
        }
        match admit.map_or(Admitted::Unchanged, |admit| admit(asked, self, &old, &new)) {
            Admitted::Unchanged => {}
            Admitted::Changed(patch) => {
                if json_patch::patch(&mut new, &patch).is_err() {
                    return status(500, "the patch of a webhook does not apply");
                }
            }
            Admitted::Denied(message) => return status(403, &message),
        }
        if asked.is_dry_run() {
            return ok(&new);
        }
        if new != old {
            self.put(path, new);
        }
        ok(&self.objects[path])
    }

    fn replace(&mut self, path: &str, asked: &Asked) -> Response<Body> {
        let of_status = path.strip_suffix("/status");
        let path = of_status.unwrap_or(path);
        let Some(mut object) = self.objects.get(path).cloned() else {
            return not_found();
        };
        if object["metadata"]["resourceVersion"] != asked.body["metadata"]["resourceVersion"] {
            return status(409, "the object has been modified");
        }
        if of_status.is_some() {
            object["status"] = asked.body["status"].clone();
        } else {
            object = asked.body.clone();
        }
        if asked.is_dry_run() {
            return ok(&object);
        }
        self.put(path, object);
        ok(&self.objects[path])
    }

    fn create(&mut self, path: &str, asked: &Asked) -> Response<Body> {
        let Some(name) = asked.body["metadata"]["name"].as_str() else {
            return status(422, "it has no name");
        };
        let path = format!("{path}/{name}");
        if self.objects.contains_key(&path) {
            return status(409, "it exists already");
        }
        if asked.is_dry_run() {
            return respond(StatusCode::CREATED, &asked.body);
        }
        self.put(&path, asked.body.clone());
        respond(StatusCode::CREATED, &self.objects[&path])
    }
}

/// A selector's requirement on one label.
struct Labels {
    key: String,
    /// Empty: any value.
    values: Vec<String>,
}

impl Labels {
    /// All requirements of a selector.
    fn read_all(selector: &str) -> Option<Vec<Self>> {
        let mut in_set = false;
        let requirements = selector.split(|c| {
            in_set = (in_set || c == '(') && c != ')';
            c == ',' && !in_set
        });
        requirements.map(Self::read).collect()
    }

    fn read(selector: &str) -> Option<Self> {
        let (key, values) = if let Some((key, set)) = selector.split_once(" in ") {
            (key, set.strip_prefix('(')?.strip_suffix(')')?)
        } else if let Some((key, value)) = selector.split_once('=') {
            (key, value)
        } else {
            (selector, "")
        };
        if key.contains([' ', '!']) {
            return None;
        }
        let values = values.split(',').filter(|value| !value.is_empty());
        Some(Self {
            key: key.to_owned(),
            values: values.map(str::to_owned).collect(),
        })
    }

    fn matches(&self, object: &Value) -> bool {
        let label = object["metadata"]["labels"][&self.key].as_str();
        label.is_some_and(|label| {
            self.values.is_empty() || self.values.iter().any(|value| value == label)
        })
    }
}

fn ok(body: &Value) -> Response<Body> {
    respond(StatusCode::OK, body)
}

fn not_found() -> Response<Body> {
    status(404, "not found")
}

/// Whether an object belongs to a list: of one namespace, or of all.
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
