//! The desired roles of single objects, compiled from the caches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use failover_core::admission::namespace::Settled;
use failover_core::api::FailoverPolicy;
use failover_core::namespace::ObjectRoles;
use failover_core::object::ObjectKey;
use failover_core::object_roles::{Compiled, Inputs, compile};
use failover_core::origin::Origins;
use failover_core::transition::{EnrolledNamespace, is_paused};
use futures::StreamExt as _;
use kube::{Client, ResourceExt as _};
use tokio::time::Instant;

use super::exemptions::ExemptLabels;
use super::exemptions::LabelAnswer;
use super::origins::OriginWatches;
use super::snapshot::Snapshot;

/// Compiles the object roles. An exemption in force whose label seems to be gone ends only once the API server has
/// confirmed that in `answered`: an operator labels the object first and then writes the Namespace, and the watch of
/// the Namespace may be faster. Likewise, an installer counts as gone only once the API server has confirmed it.
/// `unasked`, `awaited` and `missing` of the result name what to confirm. `unused` are volumes that nothing uses.
pub fn compiled(
    seen: &Snapshot,
    labels: &ExemptLabels,
    origins: &OriginWatches,
    answered: &Answers,
    unused: &BTreeSet<ObjectKey>,
) -> Compiled {
    let mut exempt = labels.asked();
    let mut known = origins.known();
    let mut absent = BTreeSet::new();
    let mut compiled = once(seen, &exempt, &absent, unused, &known);
    if !(compiled.unasked.is_empty() && compiled.awaited.is_empty() && compiled.missing.is_empty())
    {
        let Compiled {
            unasked,
            awaited,
            missing,
            ..
        } = compiled;
        // Until the answer is known, nothing changes.
        for key in &unasked {
            match answered.of(seen, &Question::IsExempt(key.clone())) {
                None | Some(LabelAnswer::Yes | LabelAnswer::Unknown) => exempt.insert(key.clone()),
                Some(LabelAnswer::Absent) => absent.insert(key.clone()),
                Some(LabelAnswer::No) => false,
            };
        }
        for key in &awaited {
            match answered.of(seen, &Question::HasReturned(key.clone())) {
                Some(LabelAnswer::Yes) => exempt.insert(key.clone()),
                None | Some(LabelAnswer::Absent | LabelAnswer::Unknown) => {
                    absent.insert(key.clone())
                }
                Some(LabelAnswer::No) => false,
            };
        }
        let is_gone = |key: &&ObjectKey| {
            answered.of(seen, &Question::IsThere((*key).clone())) == Some(LabelAnswer::No)
        };
        let missing_still = missing.iter().filter(|key| !is_gone(key));
        known.existing.extend(missing_still.cloned());
        compiled = Compiled {
            unasked,
            awaited,
            missing,
            ..once(seen, &exempt, &absent, unused, &known)
        };
    }
    // An unreadable policy may order anything for these: they keep their roles.
    let unreadable = seen.unreadable.iter();
    for namespace in unreadable.flat_map(|unreadable| &unreadable.namespaces) {
        compiled.objects.remove(namespace);
    }
    compiled
}

/// How long an answer counts.
const ANSWERS_FOR: Duration = Duration::from_secs(5);

/// How long the answer counts that an object has not returned: it is not urgent.
const ABSENT_FOR: Duration = Duration::from_secs(30);

/// How many questions are asked at once.
const AT_ONCE: usize = 8;

/// A question that only the API server can answer: events of different watches are not ordered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Whether this object requests an exemption.
    IsExempt(ObjectKey),
    /// The same, for an object that was absent.
    HasReturned(ObjectKey),
    /// Whether this HelmRelease or Kustomization exists.
    IsThere(ObjectKey),
}

impl Question {
    fn namespace(&self) -> &str {
        match self {
            Self::IsExempt(key) | Self::HasReturned(key) | Self::IsThere(key) => &key.namespace,
        }
    }

    fn answered_for(&self) -> Duration {
        match self {
            Self::IsExempt(_) | Self::IsThere(_) => ANSWERS_FOR,
            Self::HasReturned(_) => ABSENT_FOR,
        }
    }
}

/// An answer, and the version of the Namespace that it was asked for. It misses labels that were set before a later
/// version was written.
#[derive(Debug)]
struct Answer {
    said: LabelAnswer,
    at: Instant,
    version: Option<String>,
}

/// The API server's answers about single objects.
#[derive(Debug, Default)]
pub struct Answers(BTreeMap<Question, Answer>);

/// Questions, each with the version of the Namespace that it is about, and the answer.
pub type Answered = Vec<(Question, Option<String>, LabelAnswer)>;

impl Answers {
    fn of(&self, seen: &Snapshot, question: &Question) -> Option<LabelAnswer> {
        let answer = self.0.get(question)?;
        let counts = answer.at.elapsed() < question.answered_for()
            && answer.version == version(seen, question);
        counts.then_some(answer.said)
    }

    pub fn take_in(&mut self, answers: Answered) {
        let at = Instant::now();
        self.0
            .retain(|question, answer| answer.at.elapsed() < question.answered_for());
        for (question, version, said) in answers {
            self.0.insert(question, Answer { said, at, version });
        }
    }

    /// The questions to answer before the result is final, each with the version of the Namespace that it is about.
    pub fn open_questions(
        &self,
        seen: &Snapshot,
        compiled: &Compiled,
    ) -> Vec<(Question, Option<String>)> {
        let unasked = compiled.unasked.iter().cloned().map(Question::IsExempt);
        let awaited = compiled.awaited.iter().cloned();
        let missing = compiled.missing.iter().cloned().map(Question::IsThere);
        unasked
            .chain(awaited.map(Question::HasReturned))
            .chain(missing)
            .filter(|question| self.of(seen, question).is_none())
            .map(|question| {
                let version = version(seen, &question);
                (question, version)
            })
            .collect()
    }
}

fn version(seen: &Snapshot, question: &Question) -> Option<String> {
    let namespace = seen.namespaces.get(question.namespace())?;
    namespace.resource_version()
}

/// Asks the API server.
pub async fn ask(
    client: Client,
    labels: ExemptLabels,
    origins: OriginWatches,
    questions: Vec<(Question, Option<String>)>,
) -> Answered {
    futures::stream::iter(questions)
        .map(|(question, version)| {
            let (client, labels, origins) = (&client, &labels, &origins);
            async move {
                let said = match &question {
                    Question::IsExempt(key) | Question::HasReturned(key) => {
                        labels.confirm(client, key).await
                    }
                    Question::IsThere(key) if origins.confirm(client, key).await => {
                        LabelAnswer::Yes
                    }
                    Question::IsThere(_) => LabelAnswer::No,
                };
                (question, version, said)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

fn once(
    seen: &Snapshot,
    exempt: &BTreeSet<ObjectKey>,
    absent: &BTreeSet<ObjectKey>,
    unused: &BTreeSet<ObjectKey>,
    origins: &Origins,
) -> Compiled {
    let policies: Vec<&FailoverPolicy> = seen.policies.iter().map(AsRef::as_ref).collect();
    compile(&Inputs {
        namespaces: &seen.enrolled,
        exempt,
        absent,
        policies: &policies,
        rules: &seen.rules,
        settled: Settled::of(&seen.site).is_some() && !is_paused(&seen.site, seen.at),
        unused,
        origins,
    })
}

/// The object roles in force now, in all namespaces.
pub fn in_force(namespaces: &[EnrolledNamespace]) -> BTreeMap<String, ObjectRoles> {
    namespaces
        .iter()
        .map(|namespace| (namespace.name.clone(), namespace.state.objects.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
