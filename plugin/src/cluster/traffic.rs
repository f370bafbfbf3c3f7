//! Names that external-dns publishes from objects that no rule reaches.

use failover_core::checks::uncovered::external_dns::Source;
use failover_core::checks::uncovered::traffic::{self, Listeners, Parent, ParentKind, Published};
use failover_core::transition::EnrolledNamespace;
use failover_runtime::kube::discovery::version;
use futures::StreamExt as _;
use kube::client::APIGroupDiscovery;
use serde_json::Value;

use super::workloads::{seen_of, whole};
use super::{ApiError, Cluster, Unseen};

const AT_ONCE: usize = 8;

impl Cluster {
    /// What a standby would go on publishing of these namespaces, and what could not be checked.
    pub async fn published(
        &self,
        namespaces: &[EnrolledNamespace],
    ) -> Result<(Vec<Published>, Vec<Unseen>), ApiError> {
        let mut unseen = Vec::new();
        // What is to be said of rules that cannot be used is said with the objects that they are about.
        let rules = self.rule_set(&mut Vec::new()).await?;
        let groups = self.complete_discovery().await?;
        let served: Vec<_> = traffic::unruled(&rules)
            .into_iter()
            .filter_map(|source| {
                let version = version(&groups, source.group, source.resource, source.version)?;
                Some((source, api_version(source.group, &version)))
            })
            .collect();
        let names = whole(namespaces);
        let scopes = names
            .iter()
            .flat_map(|name| served.iter().map(move |(source, at)| (*name, *source, at)));
        let lists: Vec<_> = futures::stream::iter(scopes)
            .map(|(name, source, at)| async move {
                (source, self.lean_list(at, source.resource, name).await)
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut found = Vec::new();
        for (source, answer) in lists {
            let objects = seen_of(answer, &mut unseen)?;
            let listeners = self
                .listeners(source, &objects, &groups, &mut unseen)
                .await?;
            found.extend(traffic::published(source, &objects, &listeners));
        }
        found.sort_by(|a, b| a.object.cmp(&b.object));
        Ok((found, unseen))
    }

    /// Those that routes among these objects take their names from; they may be in namespaces that are not enrolled.
    async fn listeners(
        &self,
        source: &Source,
        objects: &[Value],
        groups: &[APIGroupDiscovery],
        unseen: &mut Vec<Unseen>,
    ) -> Result<Listeners, ApiError> {
        let mut listeners = Listeners::default();
        for parent in traffic::parents(source, objects) {
            let Parent { namespace, kind } = &parent;
            let group = ParentKind::GROUP;
            let served = version(groups, group, kind.resource(), ParentKind::VERSION);
            if let Some(version) = served {
                let at = api_version(group, &version);
                let answer = self.lean_list(&at, kind.resource(), namespace).await;
                listeners.add(&parent, &seen_of(answer, unseen)?);
            }
        }
        Ok(listeners)
    }
}

fn api_version(group: &str, version: &str) -> String {
    match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    }
}
