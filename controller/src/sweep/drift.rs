//! Lists every object under a rule in every enrolled namespace, and finds those that do not conform.

use std::sync::Arc;

use failover_core::admission::rewrite::{Rewrite, rewrite_stored};
use failover_core::object::ObjectRef;
use failover_core::plan::role_of;
use failover_core::transition::EnrolledNamespace;
use failover_core::{Role, Rule};
use failover_runtime::kube::error::ObjectError;
use failover_runtime::kube::objects::{Objects, PAGE};
use failover_runtime::kube::paging::Paging;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Client;
use serde_json::Value;

/// With [`PAGE`] it bounds what is in memory, whatever the cluster holds.
const LISTS_AT_ONCE: usize = 4;

/// One kind in one namespace.
#[derive(Clone, Debug)]
pub struct Scope {
    pub namespace: Arc<EnrolledNamespace>,
    pub rule: Arc<Rule>,
    pub objects: Objects,
}

/// The verdict on one object under its current role.
#[derive(Debug)]
pub enum Verdict {
    /// No rule reaches it, or its layer's role is not known.
    NoRule,
    Conforms,
    Drifted(Rewrite),
    /// It does not conform, and no rewrite can change that.
    Unfixable(String),
}

/// An object that does not conform.
#[derive(Clone, Debug)]
pub struct DriftedObject {
    pub scope: Arc<Scope>,
    /// `*`: the kind could not even be listed.
    pub name: String,
    /// Why it cannot be corrected.
    pub unfixable: Option<String>,
}

/// What one pass over all scopes found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Objects that a rule reaches.
    pub total: i64,
    /// Objects that are forced passive.
    pub forced: i64,
    pub drifted: Vec<DriftedObject>,
    /// Lists that were answered.
    answered: usize,
    /// Kinds that are not served now. If no list at all is answered, the problem is the API server and not these kinds.
    unserved: Vec<DriftedObject>,
}

/// The list of one kind in one namespace failed for a reason that concerns all of them.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {what}")]
pub struct SurveyError {
    pub what: String,
    pub source: ObjectError,
}

impl Scope {
    /// All rules in all namespaces.
    pub fn all(
        client: &Client,
        namespaces: &[EnrolledNamespace],
        rules: &[Rule],
    ) -> Vec<Arc<Self>> {
        let rules: Vec<_> = rules.iter().cloned().map(Arc::new).collect();
        namespaces
            .iter()
            .flat_map(|namespace| {
                let namespace = Arc::new(namespace.clone());
                rules
                    .iter()
                    .map(move |rule| (Arc::clone(&namespace), Arc::clone(rule)))
                    .collect::<Vec<_>>()
            })
            .map(|(namespace, rule)| {
                let objects = Objects::new(client, &rule, &namespace.name);
                Arc::new(Self {
                    namespace,
                    rule,
                    objects,
                })
            })
            .collect()
    }

    pub fn judge(&self, object: &Value) -> Verdict {
        let Some(role) = role_of(&self.rule, &self.namespace.state, object) else {
            return Verdict::NoRule;
        };
        match rewrite_stored(&self.rule, role, object) {
            Ok(rewrite) if rewrite.is_empty() => Verdict::Conforms,
            Ok(rewrite) => Verdict::Drifted(rewrite),
            Err(error) => Verdict::Unfixable(error.to_string()),
        }
    }

    pub fn reference(&self, object: &Value) -> ObjectRef {
        ObjectRef::of(&self.rule, &self.namespace.name, object)
    }

    fn what(&self) -> String {
        format!(
            "{} in namespace {}",
            self.rule.group_resource(),
            self.namespace.name
        )
    }

    async fn survey(self: Arc<Self>) -> Result<Survey, SurveyError> {
        match self.pages().await {
            Ok(survey) => Ok(Survey {
                answered: 1,
                ..survey
            }),
            Err(ObjectError::Unserved(message)) => {
                let drift = DriftedObject {
                    name: "*".to_owned(),
                    unfixable: Some(format!(
                        "cannot be listed, its API is not served now: {message} (503); see kubectl get apiservices"
                    )),
                    scope: self,
                };
                Ok(Survey {
                    unserved: vec![drift],
                    ..Survey::default()
                })
            }
            // The kind is no longer served.
            Err(ObjectError::NotFound) => Ok(Survey::default()),
            Err(ObjectError::Refused { status, message }) => {
                let hint = if status == 403 {
                    "; give the controller get, list and patch on it"
                } else {
                    ""
                };
                let drift = DriftedObject {
                    name: "*".to_owned(),
                    unfixable: Some(format!("cannot be listed: {message} ({status}){hint}")),
                    scope: self,
                };
                Ok(Survey {
                    total: 1,
                    drifted: vec![drift],
                    answered: 1,
                    ..Survey::default()
                })
            }
            Err(
                source @ (ObjectError::Conflict
                | ObjectError::Busy { .. }
                | ObjectError::Expired
                | ObjectError::Unavailable(_)),
            ) => Err(SurveyError {
                what: self.what(),
                source,
            }),
        }
    }

    async fn pages(self: &Arc<Self>) -> Result<Survey, ObjectError> {
        let mut survey = Survey::default();
        let mut paging = Paging::new(PAGE);
        while let Some(params) = paging.next() {
            let page = match self.objects.page::<Value>(&params).await {
                Err(ObjectError::Expired) if paging.restart() => {
                    tracing::debug!(kind = %self.rule.group_resource(), namespace = %self.namespace.name, "a list expired: reading it once more, in one piece");
                    survey = Survey::default();
                    continue;
                }
                page => paging.turn(page?),
            };
            for object in &page {
                let role = role_of(&self.rule, &self.namespace.state, object);
                survey.forced += i64::from(role == Some(Role::Secondary));
                let unfixable = match self.judge(object) {
                    Verdict::NoRule => continue,
                    Verdict::Conforms => {
                        survey.total += 1;
                        continue;
                    }
                    Verdict::Drifted(_) => None,
                    Verdict::Unfixable(why) => Some(why),
                };
                survey.total += 1;
                survey.drifted.push(DriftedObject {
                    scope: Arc::clone(self),
                    name: self.reference(object).name,
                    unfixable,
                });
            }
        }
        Ok(survey)
    }
}

impl DriftedObject {
    /// `namespace/resource/name`
    pub fn reference(&self) -> String {
        format!(
            "{}/{}/{}",
            self.scope.namespace.name, self.scope.rule.resource, self.name
        )
    }
}

/// Surveys all scopes. Changes nothing.
pub async fn survey(scopes: &[Arc<Scope>]) -> Result<Survey, SurveyError> {
    let mut all: Survey = futures::stream::iter(scopes.iter().cloned())
        .map(Scope::survey)
        .buffer_unordered(LISTS_AT_ONCE)
        .try_fold(Survey::default(), async |mut all, one| {
            all.total += one.total;
            all.forced += one.forced;
            all.drifted.extend(one.drifted);
            all.answered += one.answered;
            all.unserved.extend(one.unserved);
            Ok(all)
        })
        .await?;
    if let Some(unserved) = all.unserved.first().filter(|_| all.answered == 0) {
        return Err(SurveyError {
            what: unserved.scope.what(),
            source: ObjectError::Unserved(unserved.unfixable.clone().unwrap_or_default()),
        });
    }
    all.total += i64::try_from(all.unserved.len()).unwrap_or(i64::MAX);
    all.drifted.append(&mut all.unserved);
    all.drifted.sort_by_cached_key(DriftedObject::reference);
    Ok(all)
}
