//! Whether the API server would accept the writes of the transition: checked object by object, before anything moves.
//!
//! An admission policy of the cluster may refuse a write (a minimum of replicas, say), or the object may have no room
//! for the restore record. Found later, that blocks a transition whose traffic is off already.
//!
//! The check is a dry run of the real write: the rewrite for the target role, under
//! [`PREVIEW_MANAGER`](failover_core::names::PREVIEW_MANAGER). The webhook leaves it unchanged and the backstop allows
//! it, since both still apply the current role; all other admission judges the object as it will be.

use std::collections::HashSet;

use failover_core::Rule;
use failover_core::admission::refusal::{self, Answer, Refuser};
use failover_core::admission::rewrite::Note;
use failover_core::api::Blocked;
use failover_core::guards::{of_hopeless, of_refused};
use failover_core::object::ObjectRef;
use failover_core::plan::plan_object;
use failover_core::transition::EnrolledNamespace;
use failover_runtime::kube::discovery;
use failover_runtime::kube::error::ObjectError;
use failover_runtime::kube::objects::{Objects, PAGE};
use failover_runtime::kube::paging::Paging;
use failover_runtime::kube::retry::patiently;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use super::{CheckError, CheckResult, CheckScope, Checker};

/// How many scopes (a kind in a namespace) are checked at once, and how many dry runs of each.
const SCOPES_AT_ONCE: usize = 4;
const ASKED_AT_ONCE: usize = 4;

/// How often an object that changes meanwhile is decided again.
const TRIES: u32 = 3;

/// How often a scope waits for a webhook that does not answer. It would not answer for the other objects either, and
/// each may take its full timeout.
const SILENCE: usize = 3;

impl Checker {
    /// Writes that would be refused.
    pub(super) async fn refused_writes(
        &self,
        about: &CheckScope,
    ) -> Result<CheckResult, CheckError> {
        let served = discovery::served(&self.client, &about.rules).await?;
        let scopes: Vec<_> = about
            .namespaces
            .iter()
            .flat_map(|namespace| served.iter().map(move |rule| (namespace, rule)))
            .map(|(namespace, rule)| self.refused_in(about, namespace, rule))
            .collect();
        let mut found: CheckResult = futures::stream::iter(scopes)
            .buffer_unordered(SCOPES_AT_ONCE)
            .try_fold(CheckResult::default(), async |mut all, one| {
                all.add(one);
                Ok(all)
            })
            .await?;
        found.blocking.sort_by(|a, b| a.object.cmp(&b.object));
        Ok(found)
    }

    async fn refused_in(
        &self,
        about: &CheckScope,
        namespace: &EnrolledNamespace,
        rule: &Rule,
    ) -> Result<CheckResult, CheckError> {
        let scope = Scope {
            about,
            namespace,
            rule,
            objects: Objects::new(&self.client, rule, &namespace.name),
        };
        let mut found = CheckResult::default();
        let mut silent = 0;
        let mut seen = HashSet::new();
        let mut paging = Paging::new(PAGE);
        while let Some(params) = paging.next().filter(|_| silent < SILENCE) {
            let page = match scope.objects.page(&params).await {
                Ok(page) => paging.turn(page),
                // The kind is not served any more.
                Err(ObjectError::NotFound) => break,
                Err(ObjectError::Expired) if paging.restart() => continue,
                Err(ObjectError::Refused { status, message }) => {
                    let every = format!("{}/{}/*", namespace.name, rule.resource);
                    let message = format!("they cannot be listed: {message} ({status})");
                    let finding = of_refused(&every, &Refuser::Rights, &message);
                    found.total += 1;
                    found.blocking.push(Blocked::from(finding));
                    break;
                }
                Err(source) => return Err(scope.error(source)),
            };
            let new = |object: &Value| seen.insert(name(object).to_owned());
            let moving: Vec<Value> = page
                .into_iter()
                .filter(|object| scope.moves(object))
                .filter(new)
                .collect();
            let mut answers = futures::stream::iter(moving)
                .map(|object| scope.ask(object))
                .buffer_unordered(ASKED_AT_ONCE);
            while let Some(answer) = answers.next().await {
                let Asked { object, answer } = answer.map_err(|source| scope.error(source))?;
                found.total += 1;
                let finding = match answer {
                    Taken::Yes => continue,
                    Taken::Never(why) => of_hopeless(&object, &why),
                    Taken::Refused(by, message) => {
                        silent += usize::from(matches!(by, Refuser::SilentWebhook(_)));
                        of_refused(&object, &by, &message)
                    }
                };
                found.blocking.push(Blocked::from(finding));
                if silent == SILENCE {
                    break;
                }
            }
        }
        Ok(found)
    }
}

struct Scope<'a> {
    about: &'a CheckScope,
    namespace: &'a EnrolledNamespace,
    rule: &'a Rule,
    objects: Objects,
}

struct Asked {
    object: String,
    answer: Taken,
}

enum Taken {
    Yes,
    Refused(Refuser, String),
    /// No rewrite makes it conform to its role.
    Never(String),
}

/// The planned change, before the API server is asked.
enum Change {
    None,
    Impossible(String),
    Patch(json_patch::Patch),
}

impl Scope<'_> {
    fn moves(&self, object: &Value) -> bool {
        self.rule.reaches(object) && self.about.has(self.namespace, self.rule, object)
    }

    fn change(&self, object: &Value) -> Change {
        match plan_object(self.rule, self.about.to, &self.namespace.name, object) {
            Err(error) => Change::Impossible(error.to_string()),
            Ok(None) => Change::None,
            Ok(Some(item)) => {
                let notes = &item.rewrite.notes;
                if let Some(note) = notes.iter().find(|n| matches!(n, Note::NoRoom { .. })) {
                    Change::Impossible(note.to_string())
                } else if item.rewrite.is_empty() {
                    Change::None
                } else {
                    Change::Patch(item.rewrite.patch)
                }
            }
        }
    }

    async fn ask(&self, mut object: Value) -> Result<Asked, ObjectError> {
        let reference = ObjectRef::of(self.rule, &self.namespace.name, &object).to_string();
        let is = |answer| Asked {
            object: reference.clone(),
            answer,
        };
        for _ in 0..TRIES {
            let patch = match self.change(&object) {
                Change::None => break,
                Change::Impossible(why) => return Ok(is(Taken::Never(why))),
                Change::Patch(patch) => patch,
            };
            let asked = version(&object).to_owned();
            let answer = patiently(|| self.objects.preview(name(&object), &patch, &asked)).await;
            let refused = match answer {
                Ok(()) | Err(ObjectError::NotFound) => break,
                Err(ObjectError::Conflict) => None,
                Err(ObjectError::Refused { status, message }) => {
                    Some(refusal::read(status, &message))
                }
                Err(error) => return Err(error),
            };
            // An answer about a stale version does not count: the patch may not even have applied.
            let read = patiently(|| self.objects.read(name(&object))).await;
            match read {
                Ok(now) => object = now,
                Err(ObjectError::NotFound) => break,
                Err(ObjectError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
            if version(&object) != asked {
                continue;
            }
            match refused {
                Some(Answer::Refused { by, message }) => {
                    return Ok(is(Taken::Refused(by, message)));
                }
                Some(Answer::NotAsked(why)) => {
                    tracing::info!(object = %reference, why, "cannot check its change with a dry run");
                    break;
                }
                None => {}
            }
        }
        Ok(is(Taken::Yes))
    }

    fn error(&self, source: ObjectError) -> CheckError {
        CheckError::List {
            what: format!(
                "{} in namespace {}",
                self.rule.group_resource(),
                self.namespace.name
            ),
            source,
        }
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
}
