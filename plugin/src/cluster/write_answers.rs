//! Whether the API server would take what is planned: asked by dry runs, before anything is ordered.
//!
//! With the rights of the user, who may be given other answers than the controller, or none at all: where they may not write
//! a kind, nothing is known, and that is said. The controller asks again, with its own rights, before it moves anything.

use failover_core::Rule;
use failover_core::admission::refusal::{self, Answer, Refuser};
use failover_core::names::PREVIEW_MANAGER;
use failover_core::object::ObjectRef;
use failover_runtime::kube::field_manager;
use futures::{StreamExt as _, TryStreamExt as _};
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::{Patch as Body, PatchParams, PostParams};
use kube::core::Request;
use serde_json::{Value, json};

use super::objects::path;
use super::{ApiError, Cluster, Unseen};

/// Kinds in namespaces that are asked about at once, and changes of each.
const SCOPES_AT_ONCE: usize = 4;
const ASKED_AT_ONCE: usize = 4;

/// How often a webhook that does not answer is waited for in one scope: each time may take its full timeout.
const SILENCE: usize = 3;

/// One change that is planned: to which object of which kind, as it is stored, and how.
#[derive(Clone, Copy, Debug)]
pub struct PlannedWrite<'a> {
    pub rule: &'a Rule,
    pub object: &'a ObjectRef,
    pub before: &'a Value,
    pub patch: &'a Patch,
}

/// A change that would be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedWrite {
    pub object: ObjectRef,
    pub by: Refuser,
    pub message: String,
}

/// What is known of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteAnswers {
    pub refused: Vec<RefusedWrite>,
    /// What could not be asked, and why.
    pub unasked: Vec<Unseen>,
}

impl Cluster {
    /// Asks about changes, which are sorted so that those of one kind in one namespace stand together.
    pub async fn ask_writes(&self, writes: &[PlannedWrite<'_>]) -> Result<WriteAnswers, ApiError> {
        let mut sorted = writes.to_vec();
        sorted.sort_by(|a, b| a.object.cmp(b.object));
        let scopes = sorted.chunk_by(|a, b| scope(a) == scope(b));
        let scopes: Vec<_> = scopes.map(|scope| self.ask_scope(scope)).collect();
        futures::stream::iter(scopes)
            .buffered(SCOPES_AT_ONCE)
            .try_fold(WriteAnswers::default(), async |mut all, one| {
                all.refused.extend(one.refused);
                all.unasked.extend(one.unasked);
                Ok(all)
            })
            .await
    }

    async fn ask_scope(&self, writes: &[PlannedWrite<'_>]) -> Result<WriteAnswers, ApiError> {
        let mut answers = WriteAnswers::default();
        let Some(first) = writes.first() else {
            return Ok(answers);
        };
        let all_of_it = |why: &str| Unseen {
            what: format!(
                "changes of {} in namespace {}",
                first.rule.group_resource(),
                first.object.namespace
            ),
            why: why.to_owned(),
        };
        if !self.may_patch(first).await? {
            answers.unasked.push(all_of_it("you may not patch them"));
            return Ok(answers);
        }
        let mut asked = futures::stream::iter(writes)
            .map(|write| async move { (write, self.ask_write(write).await) })
            .buffered(ASKED_AT_ONCE);
        while let Some((write, answer)) = asked.next().await {
            answers.add(write, answer?);
            let is_silent =
                |refused: &&RefusedWrite| matches!(refused.by, Refuser::SilentWebhook(_));
            if answers.refused.iter().filter(is_silent).count() >= SILENCE {
                let rest = all_of_it("an admission webhook does not answer");
                answers.unasked.push(rest);
                break;
            }
        }
        Ok(answers)
    }

    /// Whether the user may write the kind there. Asked first, so that the audit log has no refusal of the user.
    async fn may_patch(&self, write: &PlannedWrite<'_>) -> Result<bool, ApiError> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(write.object.namespace.clone()),
                    verb: Some("patch".to_owned()),
                    group: Some(write.rule.group.to_string()),
                    resource: Some(write.rule.resource.to_string()),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client());
        let answer = self
            .read("ask about your rights", || {
                let (api, review) = (api.clone(), review.clone());
                async move { api.create(&PostParams::default(), &review).await }
            })
            .await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// `None`: it would be taken, or is about an object that is not the same any more.
    async fn ask_write(&self, write: &PlannedWrite<'_>) -> Result<Option<Answer>, ApiError> {
        const TRIES: u32 = 3;
        let action = format!("ask about the change of {}", write.object);
        let params = PatchParams {
            dry_run: true,
            ..field_manager::patch(PREVIEW_MANAGER)
        };
        let patch = Body::<()>::Json(locked(write));
        let kind = path(
            &write.rule.api_version(),
            &write.rule.resource,
            &write.object.namespace,
        );
        let mut tries = 0;
        loop {
            tries += 1;
            let request = Request::new(&kind)
                .patch(&write.object.name, &params, &patch)
                .map_err(|error| self.error(&action, &kube::Error::BuildRequest(error)))?;
            let answer = self
                .client()
                .request::<serde::de::IgnoredAny>(request)
                .await;
            return match answer {
                Ok(_) => Ok(None),
                Err(kube::Error::Api(status)) => match status.code {
                    404 | 409 => Ok(None),
                    429 | 503 if tries < TRIES => continue,
                    401 => Err(self.error(&action, &kube::Error::Api(status))),
                    code => Ok(Some(refusal::read(code, &status.message))),
                },
                Err(error) => Err(self.error(&action, &error)),
            };
        }
    }
}

impl WriteAnswers {
    fn add(&mut self, write: &PlannedWrite<'_>, answer: Option<Answer>) {
        match answer {
            None => {}
            Some(Answer::Refused { by, message }) => self.refused.push(RefusedWrite {
                object: write.object.clone(),
                by,
                message,
            }),
            Some(Answer::NotAsked(why)) => self.unasked.push(Unseen {
                what: format!("the change of {}", write.object),
                why,
            }),
        }
    }
}

fn scope<'a>(write: &PlannedWrite<'a>) -> (&'a str, &'a str, &'a str) {
    let object = write.object;
    (&object.namespace, &object.group, &object.resource)
}

/// The patch on the version that it was made for, and on no other.
fn locked(write: &PlannedWrite<'_>) -> Patch {
    let lock = PatchOperation::Add(AddOperation {
        path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
        value: json!(write.before["metadata"]["resourceVersion"]),
    });
    Patch(
        std::iter::once(lock)
            .chain(write.patch.0.iter().cloned())
            .collect(),
    )
}
