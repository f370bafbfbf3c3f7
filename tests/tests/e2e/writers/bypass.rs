//! Attempts to leave enforcement: by a commit, or by a user who may only edit Namespaces.

use failover_core::api::FailoverPolicy;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::site::Site;
use testbed::{control_plane, eventually};

use super::row::Row;
use super::writer::{Answer, Writer};

/// `bob` may edit Namespaces, but does not have the verb `enforce`.
pub(super) async fn let_bob_edit_namespaces(site: &Site) {
    for arguments in [
        [
            "create",
            "clusterrole",
            "namespaces",
            "--verb=get,list,create,update,patch",
            "--resource=namespaces",
        ],
        [
            "create",
            "clusterrolebinding",
            "bob",
            "--clusterrole=namespaces",
            "--user=bob",
        ],
    ] {
        site.kubectl(&arguments).await.expect(0);
    }
}

impl Row<'_> {
    /// What the writer does on a secondary before it writes single objects.
    pub(super) async fn bypass_enforcement(&self) {
        match self.writer {
            Writer::OpenNamespace => self.open_namespace().await,
            Writer::RecreateNamespace => self.recreate_namespace().await,
            Writer::PolicyDeleted => {
                let policies: Api<FailoverPolicy> =
                    Api::namespaced(self.site.client(), &self.writer.namespace());
                let deleted = policies.delete("p", &DeleteParams::default()).await;
                deleted.unwrap();
            }
            Writer::PolicyShrunk => self.apply_policy(&[&self.cells[0]]).await,
            Writer::ServerSideApply
            | Writer::ClientSideApply
            | Writer::Replace
            | Writer::JsonPatch
            | Writer::MergePatch
            | Writer::ScaleCommand
            | Writer::ScaleSubresource
            | Writer::Autoscaler
            | Writer::RolloutRestart
            | Writer::RolloutUndo
            | Writer::JobFromCronJob
            | Writer::Recreate
            | Writer::RecordRemoved
            | Writer::ExemptLabel => {}
        }
    }

    /// Asserts that every attempt to end or loosen enforcement is refused, by bob and by Flux.
    async fn open_namespace(&self) {
        let namespace = self.writer.namespace();
        let bob = control_plane::client(&self.site.plane.user_kubeconfig("bob")).await;
        let by_bob: Api<Namespace> = Api::all(bob.unwrap());
        for labels in [
            json!({"failover.dev/enforce": null}),
            json!({"failover.dev/enforce": "policy"}),
            json!({"failover.dev/enforce": "enabled", "failover.dev/workloads": "primary"}),
            json!({"failover.dev/enforce": "enabled", "failover.dev/gitops": "primary"}),
        ] {
            let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
            let patched = by_bob
                .patch(&namespace, &PatchParams::default(), &patch)
                .await;
            assert_eq!(Answer::of(patched), Answer::Refused, "{labels} by bob");

            let in_git = match &labels["failover.dev/enforce"] {
                // A commit removes the label.
                Value::Null => json!({}),
                _ => labels.clone(),
            };
            let applied = self.site.apply_as_flux(&self.namespace(&in_git)).await;
            assert_eq!(Answer::of(applied), Answer::Refused, "{labels} by Flux");
        }
    }

    async fn recreate_namespace(&self) {
        let name = self.writer.namespace();
        let api: Api<Namespace> = Api::all(self.site.client());
        api.delete(&name, &DeleteParams::default()).await.unwrap();
        eventually("the namespace to be gone", || async {
            match api.get_opt(&name).await.unwrap() {
                None => Ok(()),
                Some(namespace) => Err(namespace.status),
            }
        })
        .await;
        let applied = self.site.apply_as_flux(&self.namespace(&json!({}))).await;
        match applied {
            // The webhook adds the missing label and the roles.
            Ok(created) => {
                let labels = created.metadata.labels.unwrap_or_default();
                assert_eq!(labels["failover.dev/enforce"], "enabled");
                for layer in ["volumes", "workloads", "gitops", "traffic"] {
                    assert_eq!(labels[&format!("failover.dev/{layer}")], "secondary");
                }
            }
            refused => assert_eq!(Answer::of(refused), Answer::Refused, "without its label"),
        }
        self.create_namespace().await;
    }
}
