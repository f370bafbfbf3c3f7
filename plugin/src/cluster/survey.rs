//! Every ruled object of every enrolled namespace, listed concurrently.

use std::collections::BTreeSet;
use std::sync::Arc;

use failover_core::api::{FailoverPolicy, RoleRule, Unreadable, adopted, read};
use failover_core::transition::EnrolledNamespace;
use failover_core::{Rule, RuleSet};
use futures::StreamExt as _;
use kube::Resource;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ApiError, Cluster};

/// Lists under way at once. The API server's fairness gives one user a small share of its seats; more would only queue.
const AT_ONCE: usize = 16;

/// One stored object of a ruled kind.
#[derive(Clone, Debug)]
pub struct StoredObject {
    pub namespace: Arc<EnrolledNamespace>,
    pub rule: Arc<Rule>,
    pub object: Value,
}

/// What is asked of single objects by policies, and the rules that say what that means.
#[derive(Clone, Debug)]
pub struct Requests {
    pub policies: Vec<FailoverPolicy>,
    pub rules: RuleSet,
    pub unseen: Vec<Unseen>,
}

/// Something that could not be checked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unseen {
    pub what: String,
    pub why: String,
}

impl From<&Unreadable> for Unseen {
    fn from(unreadable: &Unreadable) -> Self {
        Self {
            what: unreadable.object.clone(),
            why: format!("a later version may have written it: {}", unreadable.why),
        }
    }
}

/// The objects of one kind of ours, each read by itself: one of a later version must not hide the others.
#[derive(Clone, Debug)]
pub struct Listed<K> {
    pub items: Vec<K>,
    pub unreadable: Vec<Unreadable>,
    /// How many there are, read or not.
    pub total: usize,
}

impl<K> Listed<K> {
    /// All of them, for those who would undo what they have not read.
    pub fn complete(self, action: &str) -> Result<Vec<K>, ApiError> {
        match self.unreadable.first() {
            None => Ok(self.items),
            Some(unreadable) => Err(ApiError::Unreadable {
                action: action.to_owned(),
                message: unreadable.to_string(),
            }),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Sorted by namespace, then in the order of the rules, then by name.
    pub found: Vec<StoredObject>,
    pub unseen: Vec<Unseen>,
    /// Plurals of the kinds that were listed in every namespace.
    pub listed: BTreeSet<String>,
}

impl Cluster {
    /// The rules in force here: those that are served, built in or from RoleRules.
    pub async fn rules(&self, unseen: &mut Vec<Unseen>) -> Result<Vec<Rule>, ApiError> {
        let rules = self.rule_set(unseen).await?;
        self.served(&rules).await
    }

    /// All rules, built in or from RoleRules, whether or not their kinds are served.
    pub(super) async fn rule_set(&self, unseen: &mut Vec<Unseen>) -> Result<RuleSet, ApiError> {
        match self.role_rules().await {
            Ok(listed) => {
                unseen.extend(listed.unreadable.iter().map(Unseen::from));
                let (rules, errors) = RuleSet::with_role_rules(&listed.items);
                unseen.extend(errors.into_iter().map(|(name, error)| Unseen {
                    what: format!("RoleRule {name}"),
                    why: format!("it is not used: {error}"),
                }));
                Ok(rules)
            }
            Err(error) if error.is_not_found() => Ok(RuleSet::built_in()),
            Err(error) if error.is_forbidden() => {
                unseen.push(Unseen {
                    what: "RoleRules".to_owned(),
                    why: error.to_string(),
                });
                Ok(RuleSet::built_in())
            }
            Err(error) => Err(error),
        }
    }

    /// What is asked of single objects, but for their own labels. Rules that cannot be used are named by [`Self::survey`].
    pub async fn requests(&self) -> Result<Requests, ApiError> {
        let mut unseen = Vec::new();
        let policies = match self.failover_policies().await {
            Ok(listed) => {
                unseen.extend(listed.unreadable.iter().map(Unseen::from));
                listed.items
            }
            Err(error) if error.is_not_found() => Vec::new(),
            Err(error) if error.is_forbidden() => {
                unseen.push(Unseen {
                    what: "FailoverPolicies".to_owned(),
                    why: error.to_string(),
                });
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        Ok(Requests {
            policies,
            rules: self.rule_set(&mut Vec::new()).await?,
            unseen,
        })
    }

    /// Every FailoverPolicy; an error where their CRD is not there.
    pub async fn failover_policies(&self) -> Result<Listed<FailoverPolicy>, ApiError> {
        self.listed("list FailoverPolicies", |_| None).await
    }

    /// Every RoleRule; an error where their CRD is not there. Of one that cannot be read, what has been adopted.
    pub async fn role_rules(&self) -> Result<Listed<RoleRule>, ApiError> {
        self.listed("list RoleRules", adopted).await
    }

    async fn listed<K>(
        &self,
        action: &str,
        adopted: fn(&Value) -> Option<K>,
    ) -> Result<Listed<K>, ApiError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let api: Api<DynamicObject> = Api::all_with(self.client(), &ApiResource::erase::<K>(&()));
        let answer = self.read(action, || {
            let api = api.clone();
            async move { api.list(&ListParams::default()).await }
        });
        let mut listed = Listed {
            items: Vec::new(),
            unreadable: Vec::new(),
            total: 0,
        };
        for object in answer.await?.items {
            let raw = serde_json::to_value(object).unwrap_or_default();
            listed.total += 1;
            match read(&K::kind(&()), &raw) {
                Ok(object) => listed.items.push(object),
                Err(unreadable) => {
                    listed.unreadable.push(unreadable);
                    listed.items.extend(adopted(&raw));
                }
            }
        }
        Ok(listed)
    }

    /// Lists everything that rules may reach in these namespaces. What may not be listed is named, not an error: a person
    /// with fewer rights still sees the rest. An API server that does not answer is an error.
    pub async fn survey(&self, namespaces: &[EnrolledNamespace]) -> Result<Survey, ApiError> {
        let mut unseen = Vec::new();
        let rules = self.rules(&mut unseen).await?;
        let survey = self.survey_of(namespaces, rules).await?;
        unseen.extend(survey.unseen);
        Ok(Survey { unseen, ..survey })
    }

    /// The same for these rules, whose kinds are served.
    pub async fn survey_of(
        &self,
        namespaces: &[EnrolledNamespace],
        rules: Vec<Rule>,
    ) -> Result<Survey, ApiError> {
        let rules: Vec<_> = rules.into_iter().map(Arc::new).collect();
        let scopes: Vec<_> = namespaces
            .iter()
            .map(|namespace| Arc::new(namespace.clone()))
            .flat_map(|namespace| {
                rules
                    .iter()
                    .map(move |rule| (Arc::clone(&namespace), Arc::clone(rule)))
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut lists: Vec<_> = futures::stream::iter(scopes.into_iter().enumerate())
            .map(|(i, (namespace, rule))| async move {
                let answer = self.ruled_objects(&rule, &namespace.name).await;
                (i, namespace, rule, answer)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        lists.sort_by_key(|(i, ..)| *i);
        let mut survey = Survey {
            listed: rules.iter().map(|rule| rule.resource.to_string()).collect(),
            ..Survey::default()
        };
        // Where some lists are answered, what is not is that kind's matter: an aggregated API that is away.
        let answered = lists.iter().any(|(.., answer)| answer.is_ok());
        for (_, namespace, rule, answer) in lists {
            match answer {
                Ok(objects) => survey.found.extend(
                    objects
                        .into_iter()
                        .filter(|object| rule.reaches(object))
                        .map(|object| StoredObject {
                            namespace: Arc::clone(&namespace),
                            rule: Arc::clone(&rule),
                            object,
                        }),
                ),
                Err(error @ ApiError::Unreachable { .. }) => return Err(error),
                Err(error) if error.is_passing() && !answered => return Err(error),
                Err(error) => {
                    survey.listed.remove(&*rule.resource);
                    survey.unseen.push(Unseen {
                        what: format!("{} in namespace {}", rule.group_resource(), namespace.name),
                        why: error.to_string(),
                    });
                }
            }
        }
        Ok(survey)
    }
}
