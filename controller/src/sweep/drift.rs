//! Listing every ruled object of every enrolled namespace, and finding those that do not conform.

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

/// What is to be said of one object under the role it has now.
#[derive(Debug)]
pub enum Verdict {
    /// No rule reaches it, or its layer's role is not known.
    Unruled,
    Conforms,
    Strays(Rewrite),
    /// It does not conform, and no rewrite can change that.
    Hopeless(String),
}

/// An object that does not conform.
#[derive(Clone, Debug)]
pub struct Stray {
    pub scope: Arc<Scope>,
    /// `*`: the kind could not even be listed.
    pub name: String,
    /// Why nothing can be done about it.
    pub hopeless: Option<String>,
}

/// All that was seen in one go.
#[derive(Debug, Default)]
pub struct Survey {
    /// Objects that a rule reaches.
    pub total: i64,
    /// Those of them that it holds passive.
    pub held: i64,
    pub strays: Vec<Stray>,
    /// Lists that were answered.
    answered: usize,
    /// Kinds that nobody serves now. Where not one list is answered, that says something of the API server, and not of them.
    unserved: Vec<Stray>,
}

/// The list of one kind in one namespace failed for a reason that concerns all of them.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {what}")]
pub struct SurveyError {
    pub what: String,
    pub source: ObjectError,
}

impl Scope {
    /// Every rule in every namespace in which it may reach something.
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
            return Verdict::Unruled;
        };
        match rewrite_stored(&self.rule, role, object) {
            Ok(rewrite) if rewrite.is_empty() => Verdict::Conforms,
            Ok(rewrite) => Verdict::Strays(rewrite),
            Err(error) => Verdict::Hopeless(error.to_string()),
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
                let stray = Stray {
                    name: "*".to_owned(),
                    hopeless: Some(format!(
                        "cannot be listed, its API is not served now: {message} (503); see kubectl get apiservices"
                    )),
                    scope: self,
                };
                Ok(Survey {
                    unserved: vec![stray],
                    ..Survey::default()
                })
            }
            // The kind went out of service since it was discovered.
            Err(ObjectError::NotFound) => Ok(Survey::default()),
            Err(ObjectError::Refused { status, message }) => {
                let hint = if status == 403 {
                    "; give the controller get, list and patch on it"
                } else {
                    ""
                };
                let stray = Stray {
                    name: "*".to_owned(),
                    hopeless: Some(format!("cannot be listed: {message} ({status}){hint}")),
                    scope: self,
                };
                Ok(Survey {
                    total: 1,
                    strays: vec![stray],
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
                survey.held += i64::from(role == Some(Role::Secondary));
                let hopeless = match self.judge(object) {
                    Verdict::Unruled => continue,
                    Verdict::Conforms => {
                        survey.total += 1;
                        continue;
                    }
                    Verdict::Strays(_) => None,
                    Verdict::Hopeless(why) => Some(why),
                };
                survey.total += 1;
                survey.strays.push(Stray {
                    scope: Arc::clone(self),
                    name: self.reference(object).name,
                    hopeless,
                });
            }
        }
        Ok(survey)
    }
}

impl Stray {
    /// `namespace/resource/name`
    pub fn reference(&self) -> String {
        format!(
            "{}/{}/{}",
            self.scope.namespace.name, self.scope.rule.resource, self.name
        )
    }
}

/// Looks at all scopes. Changes nothing.
pub async fn survey(scopes: &[Arc<Scope>]) -> Result<Survey, SurveyError> {
    let mut all: Survey = futures::stream::iter(scopes.iter().cloned())
        .map(Scope::survey)
        .buffer_unordered(LISTS_AT_ONCE)
        .try_fold(Survey::default(), async |mut all, one| {
            all.total += one.total;
            all.held += one.held;
            all.strays.extend(one.strays);
            all.answered += one.answered;
            all.unserved.extend(one.unserved);
            Ok(all)
        })
        .await?;
    if let Some(unserved) = all.unserved.first().filter(|_| all.answered == 0) {
        return Err(SurveyError {
            what: unserved.scope.what(),
            source: ObjectError::Unserved(unserved.hopeless.clone().unwrap_or_default()),
        });
    }
    all.total += i64::try_from(all.unserved.len()).unwrap_or(i64::MAX);
    all.strays.append(&mut all.unserved);
    all.strays.sort_by_cached_key(Stray::reference);
    Ok(all)
}
