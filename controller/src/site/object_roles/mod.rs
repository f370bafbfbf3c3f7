//! What is to be in force of single objects, from what the caches hold.

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

/// Compiles. An exemption that is in force and seems not to be asked for any more ends only where the API server has `answered`
/// so: an operator labels the object first and then writes the Namespace, and the watch of the Namespace may be the faster one.
/// In the same way what installed an object counts as gone only where it has answered so.
/// `unasked`, `awaited` and `missing` name what is to be confirmed. `unused` are volumes that nothing uses.
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
        // Until it is known, all stays as it is.
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
    // A policy that cannot be read may order anything of these: they keep what they have.
    let unreadable = seen.unreadable.iter();
    for namespace in unreadable.flat_map(|unreadable| &unreadable.namespaces) {
        compiled.objects.remove(namespace);
    }
    compiled
}

/// How long an answer counts.
const ANSWERS_FOR: Duration = Duration::from_secs(5);

/// How long it counts that an object has not returned: nothing hangs on how soon that is known.
const ABSENT_FOR: Duration = Duration::from_secs(30);

/// How many questions are asked at once.
const AT_ONCE: usize = 8;

/// What only the API server itself can say: the watch of one kind says nothing of what that of another has shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Whether this object asks to be exempt.
    IsExempt(ObjectKey),
    /// The same of one that was absent.
    HasReturned(ObjectKey),
    /// Whether this HelmRelease or Kustomization is there.
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

/// An answer, and the version of the Namespace that it was asked about: what was labelled before a later version was written is
/// not in it.
#[derive(Debug)]
struct Answer {
    said: LabelAnswer,
    at: Instant,
    version: Option<String>,
}

/// What the API server has said of single objects.
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

    /// What is to be asked for this to be compiled for good, with the version of the Namespace that it is about.
    pub fn wanting(&self, seen: &Snapshot, compiled: &Compiled) -> Vec<(Question, Option<String>)> {
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

/// What is in force of single objects now, in all namespaces.
pub fn in_force(namespaces: &[EnrolledNamespace]) -> BTreeMap<String, ObjectRoles> {
    namespaces
        .iter()
        .map(|namespace| (namespace.name.clone(), namespace.state.objects.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
