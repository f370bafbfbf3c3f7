//! What a site reports about itself.

use failover_core::{api, names};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

use super::Site;
use crate::{admin, eventually};

impl Site {
    /// The Site as it is stored.
    pub async fn stored(&self) -> api::Site {
        let sites: Api<api::Site> = Api::all(self.client());
        sites.get(names::SITE).await.expect("the Site is there")
    }

    pub async fn status(&self) -> api::SiteStatus {
        self.stored().await.status.unwrap_or_default()
    }

    /// The object roles in force in a namespace, from its annotation.
    pub async fn objects_in_force(&self, namespace: &str) -> String {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let namespace = namespaces
            .get_metadata(namespace)
            .await
            .expect("the namespace is there");
        let annotations = namespace.metadata.annotations.unwrap_or_default();
        annotations
            .get(names::OBJECTS_ANNOTATION)
            .cloned()
            .unwrap_or_default()
    }

    /// Waits until exactly these object roles are in force in a namespace, and every object has been swept since.
    pub async fn until_in_force(&self, namespace: &str, objects: &str) {
        eventually(&format!("{objects:?} in force"), || async {
            let found = self.objects_in_force(namespace).await;
            if found == objects { Ok(()) } else { Err(found) }
        })
        .await;
        self.until_ready().await;
    }

    /// Waits until the first controller reports that it is not the leader.
    pub async fn until_not_leading(&self) {
        eventually("a controller that does not lead", || async {
            let answer = admin::get(self.controller_admin(), "/metrics").await;
            let metrics = answer.map_err(|error| error.to_string())?;
            if metrics.lines().any(|line| line == "failover_leader 0") {
                Ok(())
            } else {
                Err(self.controller.log_tail())
            }
        })
        .await;
    }

    /// Waits until the site's condition Ready is True.
    pub async fn until_ready(&self) {
        let sites: Api<api::Site> = Api::all(self.client());
        eventually("a ready site", || async {
            let site = sites
                .get(names::SITE)
                .await
                .map_err(|error| error.to_string())?;
            let status = site.status.unwrap_or_default();
            let ready = status
                .conditions
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True" && c.reason == "Stable");
            let enforcer = !status.enforcers.is_empty();
            if ready && enforcer {
                Ok(())
            } else {
                Err(format!(
                    "{status:?}\n{}\n{}",
                    self.controller.log_tail(),
                    self.webhook.log_tail()
                ))
            }
        })
        .await;
    }
}
