//! Which objects request an exemption: those under a rule that carry the label.

use std::collections::BTreeSet;
use std::sync::Arc;

use failover_core::api::RoleRule;
use failover_core::names::ENFORCE_LABEL;
use failover_core::namespace::ExemptLabel;
use failover_core::object::ObjectKey;
use kube::runtime::reflector::Store;
use kube::{Client, ResourceExt as _};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::kind_watches::{Kind, KindWatches, Query};

/// `failover.dev/enforce=disabled`
const SELECTOR: &str = "failover.dev/enforce=disabled";

/// What is known about the objects that carry the label.
#[derive(Clone, Debug)]
pub struct ExemptLabels(KindWatches<()>);

impl Default for ExemptLabels {
    fn default() -> Self {
        Self(KindWatches::new(Query {
            what: "exempt",
            selector: SELECTOR,
            wants: |_| true,
            value: |_| (),
        }))
    }
}

impl ExemptLabels {
    /// Starts the watches. They end when `tasks` is dropped.
    pub(super) fn start(
        client: &Client,
        role_rules: Store<RoleRule>,
        changed: &Arc<Notify>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        Self(Self::default().0.start(client, role_rules, changed, tasks))
    }

    /// The objects that carry the label, as far as is known.
    pub fn asked(&self) -> BTreeSet<ObjectKey> {
        let kinds = self.0.kinds();
        let of_kind = |kind: &Kind<()>| {
            let labelled = kind.objects.iter().flat_map(|objects| objects.keys());
            let resource = kind.rule.resource.to_string();
            labelled
                .map(|(namespace, name)| ObjectKey {
                    namespace: namespace.clone(),
                    resource: resource.clone(),
                    name: name.clone(),
                })
                .collect::<Vec<_>>()
        };
        kinds.values().flat_map(of_kind).collect()
    }

    /// Asks the API server itself whether this object still requests an exemption: a watch may lag behind a recent
    /// write.
    pub async fn confirm(&self, client: &Client, key: &ObjectKey) -> LabelAnswer {
        let Some(found) = self.0.find(client, key, "").await else {
            return LabelAnswer::Unknown;
        };
        let Some(object) = found else {
            return LabelAnswer::Absent;
        };
        match ExemptLabel::of_value(object.labels().get(ENFORCE_LABEL).map(String::as_str)) {
            ExemptLabel::Present | ExemptLabel::Unseen => LabelAnswer::Yes,
            ExemptLabel::Absent | ExemptLabel::Lost => LabelAnswer::No,
        }
    }

    /// Stores what a watch of this kind would have found.
    #[cfg(test)]
    pub(super) fn found(&self, rule: &failover_core::Rule, labelled: &[(&str, &str)]) {
        let labelled = labelled
            .iter()
            .map(|(namespace, name)| (((*namespace).to_owned(), (*name).to_owned()), ()));
        self.0.found(rule, labelled.collect());
    }
}

/// The API server's answer about one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelAnswer {
    Yes,
    No,
    /// No, because the object does not exist.
    Absent,
    /// No answer.
    Unknown,
}

#[cfg(test)]
mod tests {
    use failover_core::names::EXEMPT;
    use failover_core::{Rule, RuleSet};
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::site::kind_watches::{Metadata, Names};
    use crate::testing::fake_api::FakeApi;

    fn deployments() -> Rule {
        let rules = RuleSet::built_in();
        rules.find("apps", "deployments").unwrap().clone()
    }

    fn labelled(name: &str) -> Metadata {
        serde_json::from_value(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": { "namespace": "shop", "name": name }
        }))
        .unwrap()
    }

    #[test]
    fn the_selector_is_the_label() {
        assert_eq!(SELECTOR, format!("{ENFORCE_LABEL}={EXEMPT}"));
    }

    fn asked(labels: &ExemptLabels) -> Vec<String> {
        labels.asked().iter().map(ToString::to_string).collect()
    }

    #[test]
    #[expect(
        clippy::zero_sized_map_values,
        reason = "of these objects nothing but the name is watched"
    )]
    fn a_list_counts_once_complete_and_later_events_count_at_once() {
        let labels = ExemptLabels::default();
        let rule = deployments();
        labels.found(&rule, &[("shop", "old")]);
        let mut listed = Names::new();
        let mut take_in = |event| labels.0.take_in("deployments.apps v1", event, &mut listed);
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
    async fn kinds_are_watched_while_served_and_forgotten_afterwards() {
        let labels = ExemptLabels::default();
        let (client, changed) = (FakeApi::new().client(), Arc::new(Notify::new()));
        let kinds = || labels.0.kinds().keys().cloned().collect::<Vec<_>>();
        labels.0.follow(&client, vec![deployments()], &changed);
        assert_eq!(kinds(), ["deployments.apps v1"]);
        labels.0.follow(&client, vec![], &changed);
        assert!(kinds().is_empty());
    }

    #[tokio::test]
    async fn only_an_existing_object_without_the_label_ends_its_exemption() {
        let labels = ExemptLabels::default();
        let api = FakeApi::new();
        let key = ObjectKey {
            namespace: "shop".into(),
            resource: "deployments".into(),
            name: "web".into(),
        };
        let client = api.client();
        let confirm = || labels.confirm(&client, &key);
        assert_eq!(
            confirm().await,
            LabelAnswer::Unknown,
            "no such kind is known"
        );
        labels.found(&deployments(), &[]);
        assert_eq!(confirm().await, LabelAnswer::Absent);

        let path = "/apis/apps/v1/namespaces/shop/deployments/web";
        let metadata = json!({"namespace": "shop", "labels": {ENFORCE_LABEL: EXEMPT}});
        api.put(path, json!({"metadata": metadata}));
        assert_eq!(confirm().await, LabelAnswer::Yes);

        api.put(path, json!({"metadata": {"namespace": "shop"}}));
        assert_eq!(confirm().await, LabelAnswer::No);
        api.set_fault(|_, _| Some(crate::testing::fake_api::status(503, "away")));
        assert_eq!(confirm().await, LabelAnswer::Unknown, "nobody answers");
    }
}
