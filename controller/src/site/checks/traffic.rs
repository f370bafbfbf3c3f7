//! Hostnames that a standby would keep publishing.

use failover_core::checks::uncovered::external_dns::Source;
use failover_core::checks::uncovered::traffic::{self, Listeners, Parent, ParentKind};
use failover_core::guards::{GuardId, of_published};
use failover_runtime::kube::discovery;
use failover_runtime::off_task::off_task;
use kube::client::APIGroupDiscovery;
use serde_json::Value;

use super::lists::Kind;
use super::{CheckError, CheckResult, CheckScope, Checker, or_refused};

impl Checker {
    /// What external-dns would keep publishing after a demotion because no rule reaches it.
    pub(super) async fn published(
        &self,
        check_scope: &CheckScope,
    ) -> Result<CheckResult, CheckError> {
        let groups = discovery::groups(&self.client).await?;
        let mut found = CheckResult::default();
        // Kinds that are not served have no objects.
        for source in traffic::unruled(&check_scope.rules) {
            let version =
                discovery::version(&groups, source.group, source.resource, source.version);
            if let Some(version) = version {
                let published = self
                    .published_from(check_scope, source, version, &groups)
                    .await;
                found.add(or_refused(published, GuardId::UncoveredTraffic)?);
            }
        }
        Ok(found)
    }

    async fn published_from(
        &self,
        check_scope: &CheckScope,
        source: &'static Source,
        version: String,
        groups: &[APIGroupDiscovery],
    ) -> Result<CheckResult, CheckError> {
        let kind = Kind::served(source.group, version, source.resource, source.kind);
        let objects = self.of_namespaces(kind, check_scope.whole()).await?;
        let mut listeners = Listeners::default();
        for parent in traffic::parents(source, &objects) {
            listeners.add(&parent, &self.with_listeners(&parent, groups).await?);
        }
        let judged = off_task(move || {
            let published = traffic::published(source, &objects, &listeners);
            CheckResult {
                total: objects.len(),
                blocking: of_published(&published)
                    .into_iter()
                    .map(Into::into)
                    .collect(),
                ..CheckResult::default()
            }
        });
        Ok(judged.await)
    }

    /// The parent may be in a namespace that is not enrolled: Gateways are often shared.
    async fn with_listeners(
        &self,
        parent: &Parent,
        groups: &[APIGroupDiscovery],
    ) -> Result<Vec<Value>, CheckError> {
        let (group, resource) = (ParentKind::GROUP, parent.kind.resource());
        let version = discovery::version(groups, group, resource, ParentKind::VERSION);
        let Some(version) = version else {
            return Ok(Vec::new());
        };
        let kind = Kind::served(group, version, resource, parent.kind.as_str());
        self.of_namespaces(kind, [parent.namespace.as_str()]).await
    }
}
