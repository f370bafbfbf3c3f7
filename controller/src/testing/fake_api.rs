//! The fake API server, with the webhook's decision while it is alive, and a backstop where one is set.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use failover_core::admission::{Operation, Request as Review, admit};
use failover_core::{NamespaceState, RuleSet};
use failover_runtime::testing::{self, Admitted, Store};
pub(crate) use failover_runtime::testing::{Asked, Fault, ok, status};
use serde_json::Value;

#[derive(Clone)]
pub(crate) struct FakeApi {
    api: testing::FakeApi,
    admission: Arc<Mutex<Admission>>,
}

impl Deref for FakeApi {
    type Target = testing::FakeApi;

    fn deref(&self) -> &Self::Target {
        &self.api
    }
}

struct Admission {
    webhook_alive: bool,
    /// The stale labels that the webhook sees on every Namespace, and for how many more decisions.
    webhook_lags: Option<(u32, BTreeMap<String, String>)>,
    webhook_dies_after_lagging: bool,
    backstop: bool,
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        let fake = Self {
            api: testing::FakeApi::new(),
            admission: Arc::new(Mutex::new(Admission {
                webhook_alive: true,
                webhook_lags: None,
                webhook_dies_after_lagging: false,
                backstop: false,
            })),
        };
        let admission = Arc::clone(&fake.admission);
        fake.api.set_admission(move |asked, store, old, new| {
            // A dry run before anything moves: the write is rewritten already.
            if asked.query.contains("fieldManager=failover-preview") {
                return Admitted::Unchanged;
            }
            admission.lock().unwrap().admit(asked, store, old, new)
        });
        fake
    }

    pub(crate) fn set_webhook_alive(&self, alive: bool) {
        self.admission().webhook_alive = alive;
    }

    /// The webhook sees these labels on every Namespace in its next decisions.
    pub(crate) fn set_webhook_lagging(&self, decisions: u32, labels: BTreeMap<String, String>) {
        self.admission().webhook_lags = Some((decisions, labels));
    }

    /// After those decisions the webhook no longer answers.
    pub(crate) fn set_webhook_dying_after_lagging(&self) {
        self.admission().webhook_dies_after_lagging = true;
    }

    /// Refuses to raise replicas, whatever the webhook answers.
    pub(crate) fn set_backstop(&self) {
        self.admission().backstop = true;
    }

    fn admission(&self) -> MutexGuard<'_, Admission> {
        self.admission.lock().unwrap()
    }
}

impl Admission {
    fn admit(&mut self, asked: &Asked, store: &Store, old: &Value, new: &Value) -> Admitted {
        let rewrite = if self.webhook_alive {
            self.review(&asked.path, store, old, new)
        } else {
            None
        };
        let mut written = new.clone();
        if let Some(rewrite) = &rewrite {
            json_patch::patch(&mut written, rewrite).unwrap();
        }
        let count = |object: &Value| object["spec"]["replicas"].as_u64();
        if self.backstop && count(&written) > count(old) {
            return Admitted::Denied(
                "ValidatingAdmissionPolicy 'deployments.apps.failover.dev' with binding 'x' denied request".to_owned(),
            );
        }
        rewrite.map_or(Admitted::Unchanged, Admitted::Changed)
    }

    /// What the webhook answers: the same function as in production.
    fn review(
        &mut self,
        path: &str,
        store: &Store,
        old: &Value,
        new: &Value,
    ) -> Option<json_patch::Patch> {
        let parts: Vec<_> = path.trim_start_matches("/apis/").split('/').collect();
        let [group, _, "namespaces", namespace, resource, name] = parts[..] else {
            return None;
        };
        let metadata = &store.get(&format!("/api/v1/namespaces/{namespace}"))?["metadata"];
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
        let rules = RuleSet::built_in();
        let review = Review {
            rule: rules.find(group, resource)?,
            operation: Operation::Update,
            subresource: None,
            name,
            field_manager: Some("failover-controller"),
            object: &new,
            old_object: Some(&old),
        };
        Some(admit(&state, &review).unwrap().patch)
    }
}
