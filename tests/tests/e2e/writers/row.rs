//! A writer with its own namespace and an object of every kind that it writes.

use failover_core::names::ALLOW_DELETION_ANNOTATION;
use failover_core::rules::rule::Reach;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use testbed::site::Site;
use testbed::{eventually, fixtures};

use super::kinds::{self, Cell};
use super::writer::{Answer, Writer};

pub(super) struct Row<'a> {
    pub(super) site: &'a Site,
    pub(super) writer: Writer,
    pub(super) cells: Vec<Cell>,
}

impl<'a> Row<'a> {
    /// Creates the namespace and its objects on a primary.
    pub(super) async fn create(site: &'a Site, writer: Writer) -> Self {
        let row = Self::existing(site, writer);
        row.create_namespace().await;
        for cell in &row.cells {
            let created = match writer {
                Writer::ClientSideApply => row.kubectl_apply(cell, &cell.manifest).await,
                _ => Answer::of(site.apply_as_flux(&cell.manifest).await),
            };
            assert_eq!(created, Answer::Accepted, "{writer:?} {}", cell.argument());
            if writer == Writer::RolloutUndo {
                row.until_observed(cell).await;
                let restarted = row.kubectl(&["rollout", "restart", &cell.argument()]).await;
                assert_eq!(restarted, Answer::Accepted);
                row.until_observed(cell).await;
            }
        }
        if writer == Writer::JobFromCronJob {
            let report = fixtures::cron_job(&writer.namespace(), "report");
            site.apply_as_flux(&report).await.unwrap();
        }
        row
    }

    /// A row whose objects exist already.
    pub(super) fn existing(site: &'a Site, writer: Writer) -> Self {
        let cells = kinds::all(&writer.namespace()).into_iter();
        Self {
            site,
            writer,
            cells: cells.filter(|cell| writer.writes(&cell.rule)).collect(),
        }
    }

    /// Creates the Namespace, and the policy for what the namespace's label alone does not enrol.
    pub(super) async fn create_namespace(&self) {
        let enforce = match self.writer {
            Writer::PolicyDeleted | Writer::PolicyShrunk => "policy",
            _ => "enabled",
        };
        let namespace = self.namespace(&json!({"failover.dev/enforce": enforce}));
        self.site.apply_as_flux(&namespace).await.unwrap();
        let named: Vec<&Cell> = self
            .cells
            .iter()
            .filter(|cell| enforce == "policy" || cell.rule.reach == Reach::Named)
            .collect();
        if named.is_empty() {
            return;
        }
        self.apply_policy(&named).await;
        eventually("the policy to be in force", || async {
            let objects = self.site.objects_in_force(&self.writer.namespace()).await;
            let is_missing = |cell: &&&Cell| !objects.contains(&format!("{}=site", cell.key()));
            match named.iter().find(is_missing) {
                None => Ok(()),
                Some(cell) => Err((cell.key(), self.site.controller.log_tail())),
            }
        })
        .await;
    }

    /// The Namespace as in Git, with these labels.
    pub(super) fn namespace(&self, labels: &Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.writer.namespace(), "labels": labels},
        })
    }

    pub(super) async fn apply_policy(&self, cells: &[&Cell]) {
        let named: Vec<_> = cells
            .iter()
            .map(|cell| (&*cell.rule.kind, cell.name()))
            .collect();
        let policy = fixtures::failover_policy(&self.writer.namespace(), "p", None, &named);
        self.site.apply_as_flux(&policy).await.unwrap();
    }

    pub(super) async fn stored(&self, cell: &Cell) -> Option<Value> {
        let api = self.site.api_of(&cell.manifest).await.unwrap();
        let object = api.get_opt(cell.name()).await.unwrap();
        object.map(|object| serde_json::to_value(object).unwrap())
    }

    /// The writer asks for an active object, with so many replicas if the kind has replicas.
    pub(super) async fn ask(&self, cell: &Cell, replicas: i64) -> Answer {
        let api = self.site.api_of(&cell.manifest).await.unwrap();
        let (name, params) = (cell.name(), PatchParams::default());
        let activation = cell.activation(replicas);
        match self.writer {
            Writer::ServerSideApply
            | Writer::RecreateNamespace
            | Writer::OpenNamespace
            | Writer::PolicyDeleted
            | Writer::PolicyShrunk => {
                Answer::of(self.site.apply_as_flux(&cell.asking(replicas)).await)
            }
            Writer::ExemptLabel => {
                let mut manifest = cell.asking(replicas);
                manifest["metadata"]["labels"]["failover.dev/enforce"] = json!("disabled");
                Answer::of(self.site.apply_as_flux(&manifest).await)
            }
            Writer::ClientSideApply => self.kubectl_apply(cell, &cell.asking(replicas)).await,
            Writer::Replace => replace(&api, name, &activation).await,
            Writer::JsonPatch => {
                let stored = serde_json::to_value(api.get(name).await.unwrap()).unwrap();
                let mut changed = stored.clone();
                json_patch::merge(&mut changed, &activation);
                let patch = json_patch::diff(&stored, &changed);
                Answer::of(api.patch(name, &params, &Patch::<()>::Json(patch)).await)
            }
            Writer::MergePatch => {
                Answer::of(api.patch(name, &params, &Patch::Merge(activation)).await)
            }
            Writer::RecordRemoved => {
                let nothing = json!({"metadata": {"annotations": {"failover.dev/restore": null}}});
                Answer::of(api.patch(name, &params, &Patch::Merge(nothing)).await)
            }
            Writer::ScaleCommand => {
                let count = format!("--replicas={replicas}");
                self.kubectl(&["scale", &cell.argument(), &count]).await
            }
            Writer::ScaleSubresource => {
                let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
                Answer::of(api.patch_scale(name, &params, &scale).await)
            }
            Writer::Autoscaler => self.autoscale(cell, replicas).await,
            Writer::RolloutRestart => {
                let arguments = ["rollout", "restart", &cell.argument()];
                self.kubectl(&arguments).await
            }
            Writer::RolloutUndo => {
                self.until_observed(cell).await;
                self.kubectl(&["rollout", "undo", &cell.argument()]).await
            }
            Writer::JobFromCronJob => {
                delete(&api, name).await;
                let arguments = ["create", "job", name, "--from=cronjob/report"];
                self.kubectl(&arguments).await
            }
            Writer::Recreate => {
                delete(&api, name).await;
                let object = serde_json::from_value(cell.asking(replicas)).unwrap();
                Answer::of(api.create(&PostParams::default(), &object).await)
            }
        }
    }

    /// Without metrics the autoscaler only raises to `minReplicas`, through `/scale`.
    async fn autoscale(&self, cell: &Cell, replicas: i64) -> Answer {
        let target = json!({"apiVersion": cell.rule.api_version(), "kind": cell.rule.kind, "name": cell.name()});
        let name = cell.rule.resource.to_string();
        let autoscaler = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"namespace": cell.namespace(), "name": name},
            "spec": {"scaleTargetRef": target, "minReplicas": replicas, "maxReplicas": 9},
        });
        let api = self.site.api_of(&autoscaler).await.unwrap();
        // A new one, so that its status is current.
        delete(&api, &name).await;
        self.site.apply_as_flux(&autoscaler).await.unwrap();
        eventually("the autoscaler to have reconciled", || async {
            let status = api.get(&name).await.unwrap().data["status"].clone();
            if status["conditions"].is_array() {
                Ok(())
            } else {
                Err(status)
            }
        })
        .await;
        Answer::Accepted
    }

    /// Waits until the autoscaler has written, whatever was stored.
    pub(super) async fn until_scaled(&self, cell: &Cell) {
        let autoscaler = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"namespace": cell.namespace()},
        });
        let api = self.site.api_of(&autoscaler).await.unwrap();
        eventually("the autoscaler to have written", || async {
            let status = api.get(&cell.rule.resource).await.unwrap().data["status"].clone();
            if status["lastScaleTime"].is_string() {
                Ok(())
            } else {
                Err(status)
            }
        })
        .await;
    }

    /// Waits until the object's own controller has observed its last change.
    async fn until_observed(&self, cell: &Cell) {
        eventually("the object's controller to have observed it", || async {
            let object = self.stored(cell).await.unwrap();
            if object["status"]["observedGeneration"] == object["metadata"]["generation"] {
                Ok(())
            } else {
                Err(object["status"].clone())
            }
        })
        .await;
    }

    async fn kubectl_apply(&self, cell: &Cell, manifest: &Value) -> Answer {
        let folder = self.site.plane.folder();
        let file = folder.join(format!("{}-{}.json", cell.namespace(), cell.rule.kind));
        std::fs::write(&file, manifest.to_string()).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()]).await
    }

    async fn kubectl(&self, arguments: &[&str]) -> Answer {
        let namespace = self.writer.namespace();
        let arguments = [arguments, &["--namespace", &namespace]].concat();
        Answer::of_kubectl(&self.site.kubectl(&arguments).await)
    }
}

/// Replaces without any annotation, and so without the record.
async fn replace(api: &Api<DynamicObject>, name: &str, activation: &Value) -> Answer {
    eventually("a replacement without conflict", || async {
        let mut object = api.get(name).await.unwrap();
        object.annotations_mut().clear();
        let mut object = serde_json::to_value(object).unwrap();
        json_patch::merge(&mut object, activation);
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        match api.replace(name, &PostParams::default(), &object).await {
            // Kubernetes' own controllers write the status meanwhile.
            Err(kube::Error::Api(status)) if status.code == 409 => Err(status),
            result => Ok(Answer::of(result)),
        }
    })
    .await
}

/// With the annotation, without which a VolumeReplication cannot be deleted on a standby.
async fn delete(api: &Api<DynamicObject>, name: &str) {
    let meant = json!({"metadata": {"annotations": {ALLOW_DELETION_ANNOTATION: "true"}}});
    match api
        .patch(name, &PatchParams::default(), &Patch::Merge(meant))
        .await
    {
        Err(kube::Error::Api(status)) if status.code == 404 => return,
        result => drop(result.unwrap()),
    }
    match api.delete(name, &DeleteParams::background()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return,
        result => drop(result.unwrap()),
    }
    eventually("an object to be gone", || async {
        match api.get_opt(name).await.unwrap() {
            None => Ok(()),
            Some(object) => Err(object.metadata),
        }
    })
    .await;
}
