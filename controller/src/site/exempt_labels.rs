//! Which objects ask to be exempt: one watch for each ruled kind that is served, of the metadata of what carries the label.
//!
//! CRDs come and go, and RoleRules with them, so which kinds there are is asked now and then. What is known of a kind is
//! kept until its watch has started once: no exemption ends because we have not looked yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failover_core::api::RoleRule;
use failover_core::causes::causes;
use failover_core::compile::ObjectKey;
use failover_core::names::{ENFORCE_LABEL, EXEMPT};
use failover_core::{Rule, RuleSet};
use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::{Event, watcher};
use kube::{Client, ResourceExt as _};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::caches::{Trouble, backoff, config};
use super::discovery;

/// How often it is asked which kinds are served. An exemption may wait that long for a CRD that has just come.
const DISCOVER_EVERY: Duration = Duration::from_secs(30);

/// What is known of the objects that carry the label.
#[derive(Clone, Debug, Default)]
pub struct ExemptLabels(Arc<Mutex<BTreeMap<String, Kind>>>);

type Labelled = PartialObjectMeta<DynamicObject>;

#[derive(Debug)]
struct Kind {
    rule: Rule,
    /// `None`: not listed yet.
    labelled: Option<BTreeSet<(String, String)>>,
    /// Ends with the kind.
    #[expect(dead_code, reason = "held for its drop")]
    watch: Option<AbortOnDropHandle<()>>,
}

impl ExemptLabels {
    /// Starts the watches. They end when `tasks` is dropped.
    pub(super) fn start(
        client: &Client,
        role_rules: Store<RoleRule>,
        changed: &Arc<Notify>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let labels = Self::default();
        let (known, client, changed) = (labels.clone(), client.clone(), Arc::clone(changed));
        tasks.spawn(async move {
            loop {
                let role_rules = role_rules.state();
                let (rules, _) = RuleSet::with_role_rules(role_rules.iter().map(AsRef::as_ref));
                match discovery::served(&client, &rules).await {
                    Ok(served) => known.follow(&client, served, &changed),
                    Err(error) => tracing::warn!(
                        error = causes(&error),
                        "cannot tell which kinds are served; going by what was last known"
                    ),
                }
                tokio::time::sleep(DISCOVER_EVERY).await;
            }
        });
        labels
    }

    /// Watches just these kinds.
    fn follow(&self, client: &Client, served: Vec<Rule>, changed: &Arc<Notify>) {
        let mut kinds = self.kinds();
        let name = |rule: &Rule| format!("{} {}", rule.group_resource(), rule.version);
        let served: BTreeMap<String, Rule> =
            served.into_iter().map(|rule| (name(&rule), rule)).collect();
        kinds.retain(|kind, _| served.contains_key(kind));
        for (kind, rule) in served {
            kinds.entry(kind.clone()).or_insert_with(|| {
                let watch = watch(
                    self.clone(),
                    client.clone(),
                    kind,
                    resource(&rule),
                    Arc::clone(changed),
                );
                Kind {
                    rule,
                    labelled: None,
                    watch: Some(AbortOnDropHandle::new(tokio::spawn(watch))),
                }
            });
        }
    }

    /// The objects that carry the label, as far as is known.
    pub fn asked(&self) -> BTreeSet<ObjectKey> {
        let kinds = self.kinds();
        let of_kind = |kind: &Kind| -> Vec<ObjectKey> {
            let labelled = kind.labelled.iter().flatten();
            labelled
                .map(|(namespace, name)| ObjectKey {
                    namespace: namespace.clone(),
                    resource: kind.rule.resource.to_string(),
                    name: name.clone(),
                })
                .collect()
        };
        kinds.values().flat_map(of_kind).collect()
    }

    /// Whether this object carries the label, asked of the API server itself: a watch may be behind what somebody has just
    /// written. `true` where that cannot be told.
    pub async fn confirm(&self, client: &Client, key: &ObjectKey) -> bool {
        let rule = {
            let kinds = self.kinds();
            let kind = kinds
                .values()
                .find(|kind| kind.rule.resource == key.resource);
            match kind.filter(|kind| kind.labelled.is_some()) {
                Some(kind) => kind.rule.clone(),
                None => return true,
            }
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &key.namespace, &resource(&rule));
        let params = ListParams::default()
            .labels(&selector())
            .fields(&format!("metadata.name={}", key.name));
        match api.list_metadata(&params).await {
            Ok(list) => list
                .items
                .iter()
                .any(|object| object.name_any() == key.name),
            Err(error) => {
                tracing::warn!(object = %key, error = causes(&error), "cannot tell whether it still asks to be exempt; leaving it so");
                true
            }
        }
    }

    fn kinds(&self) -> MutexGuard<'_, BTreeMap<String, Kind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As a watch of this kind would have found.
    #[cfg(test)]
    pub(super) fn found(&self, rule: &Rule, labelled: &[(&str, &str)]) {
        let labelled = labelled
            .iter()
            .map(|(namespace, name)| ((*namespace).to_owned(), (*name).to_owned()));
        let kind = Kind {
            rule: rule.clone(),
            labelled: Some(labelled.collect()),
            watch: None,
        };
        self.kinds().insert(rule.group_resource(), kind);
    }
}

fn selector() -> String {
    format!("{ENFORCE_LABEL}={EXEMPT}")
}

fn resource(rule: &Rule) -> ApiResource {
    ApiResource {
        group: rule.group.to_string(),
        version: rule.version.to_string(),
        api_version: rule.api_version(),
        kind: rule.kind.to_string(),
        plural: rule.resource.to_string(),
    }
}

/// Follows one kind until it is dropped.
async fn watch(
    labels: ExemptLabels,
    client: Client,
    kind: String,
    resource: ApiResource,
    changed: Arc<Notify>,
) {
    let api: Api<Labelled> = Api::all_with(client, &resource);
    let stream = watcher(api, config().labels(&selector())).backoff(backoff());
    let mut stream = std::pin::pin!(stream);
    let what = format!("exempt {kind}");
    let mut trouble = Trouble::new(&what);
    let mut listed = BTreeSet::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                trouble.over();
                if labels.take_in(&kind, event, &mut listed) {
                    changed.notify_one();
                }
            }
            Err(error) => trouble.tell(&error),
        }
    }
}

impl ExemptLabels {
    /// Whether there is news. A list counts once it is whole.
    fn take_in(
        &self,
        kind: &str,
        event: Event<Labelled>,
        listed: &mut BTreeSet<(String, String)>,
    ) -> bool {
        let key = |object: &Labelled| (object.namespace().unwrap_or_default(), object.name_any());
        let mut kinds = self.kinds();
        let Some(kind) = kinds.get_mut(kind) else {
            return false;
        };
        let news = !matches!(event, Event::Init | Event::InitApply(_));
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.insert(key(&object));
            }
            Event::InitDone => kind.labelled = Some(std::mem::take(listed)),
            Event::Apply(object) => {
                kind.labelled.get_or_insert_default().insert(key(&object));
            }
            Event::Delete(object) => {
                kind.labelled.get_or_insert_default().remove(&key(&object));
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::site::fake_api::FakeApi;

    fn deployments() -> Rule {
        let rules = RuleSet::built_in();
        rules.find("apps", "deployments").unwrap().clone()
    }

    fn labelled(name: &str) -> Labelled {
        serde_json::from_value(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": { "namespace": "shop", "name": name }
        }))
        .unwrap()
    }

    fn asked(labels: &ExemptLabels) -> Vec<String> {
        labels.asked().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_list_counts_once_it_is_whole_and_what_follows_at_once() {
        let labels = ExemptLabels::default();
        let rule = deployments();
        labels.found(&rule, &[("shop", "old")]);
        let mut listed = BTreeSet::new();
        let mut take_in = |event| labels.take_in(&rule.group_resource(), event, &mut listed);
        assert!(!take_in(Event::Init));
        assert!(!take_in(Event::InitApply(labelled("web"))));
        assert_eq!(asked(&labels), ["shop/deployments/old"]);
        assert!(take_in(Event::InitDone));
        assert_eq!(asked(&labels), ["shop/deployments/web"]);
        assert!(take_in(Event::Apply(labelled("api"))));
        assert!(take_in(Event::Delete(labelled("web"))));
        assert_eq!(asked(&labels), ["shop/deployments/api"]);
    }

    #[tokio::test]
    async fn kinds_are_followed_as_they_come_and_forgotten_as_they_go() {
        let labels = ExemptLabels::default();
        let (client, changed) = (FakeApi::new().client(), Arc::new(Notify::new()));
        let kinds = || labels.kinds().keys().cloned().collect::<Vec<_>>();
        labels.follow(&client, vec![deployments()], &changed);
        assert_eq!(kinds(), ["deployments.apps v1"]);
        labels.follow(&client, vec![], &changed);
        assert!(kinds().is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_told_still_asks() {
        let labels = ExemptLabels::default();
        let api = FakeApi::new();
        let key = ObjectKey {
            namespace: "shop".into(),
            resource: "deployments".into(),
            name: "web".into(),
        };
        let client = api.client();
        assert!(labels.confirm(&client, &key).await, "no such kind is known");
        labels.found(&deployments(), &[]);
        assert!(!labels.confirm(&client, &key).await, "nothing carries it");
        api.set_fault(|_, _| Some(crate::site::fake_api::status(503, "away")));
        assert!(labels.confirm(&client, &key).await, "nobody answers");
    }
}
