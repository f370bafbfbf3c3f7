//! The transition of a FailoverPolicy with a `desiredState`: its objects move on their own, through the same steps as a site.
//!
//! ```text
//!   decide_policy(observation, policy, what compile made of it)
//!        ├─► WriteStatus   the journal, before anything is done: which layers of its objects are ordered
//!        ├─► Check         what a step waits for, of its objects alone
//!        └─► Wait          until something changes, or a time
//! ```
//!
//! What the journal orders is brought into force by [`compile`](crate::object_roles), and from there on by the site's own [`decide`]:
//! it labels, waits for the enforcers and sweeps, for all policies together. While the site itself walks, policies stand still
//! where they are.
//!
//! A transition begins where an object does not stand as the policy orders, whatever the reason: a new order, an object that was
//! added to it, one that somebody has let go. What stands so already is not moved back meanwhile. So a transition that is turned round,
//! or that is about other objects than it was when it was journalled, simply begins again: guards first, and no layer ordered.
//!
//! [`decide`]: super::decide

mod layer_step;
mod status;

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::journal::{begin, go_on_waiting, record, requested};
use super::step::{StepOutcome, count, later};
use super::step_loop;
use super::steps::{Task, task};
use super::{Act, Check, CheckOwner, Observation, check_step, is_paused, walking};
use crate::api::{
    FailoverPolicy, FailoverPolicyStatus, Outcome, Phase, SiteStatus, Step, StepActivity, StepName,
    StepState, Transition,
};
use crate::guards::Overrides;
use crate::namespace::ObjectStanding;
use crate::object::ObjectKey;
use crate::object_roles::{PolicyResult, ResourceResult};
use crate::role::{Layer, Role, Roles};

/// The next thing to do for a policy. After each, observe and decide anew.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyAct {
    /// Write the status, with the resourceVersion it was decided on.
    WriteStatus(Box<FailoverPolicyStatus>),
    /// Check what a step waits for.
    Check(Check),
    /// Nothing, until something changes or until this time.
    Wait { until: Timestamp },
}

/// Decides what to do next for a policy. `observation.check` is the last check that was made for it.
pub fn decide_policy(
    observation: &Observation<'_>,
    policy: &FailoverPolicy,
    result: &PolicyResult,
) -> PolicyAct {
    let before = policy.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let subject = PolicySubject {
        observation,
        policy,
        result,
    };
    let act = if is_paused(observation.site, observation.now) {
        status.phase = status.phase.and(Some(Phase::Paused));
        None
    } else {
        let act = subject.next(&mut status);
        status::tell(&subject, &mut status);
        act
    };
    if status != before {
        return PolicyAct::WriteStatus(Box::new(status));
    }
    match act {
        Some(Act::Check(check)) => PolicyAct::Check(check),
        Some(Act::Wait { until }) => PolicyAct::Wait { until },
        // These are the site's: it sweeps when it is time to.
        Some(Act::WriteStatus(_) | Act::Label(_) | Act::Sweep { .. }) | None => PolicyAct::Wait {
            until: later(observation),
        },
    }
}

/// The volumes that policies are promoting now. Workloads of theirs that they have not come to yet follow the site, and must not
/// come over these before they are confirmed.
pub fn promoting<'a>(
    policies: impl IntoIterator<Item = (&'a FailoverPolicy, &'a PolicyResult)>,
) -> BTreeSet<ObjectKey> {
    let promotes = |policy: &FailoverPolicy| {
        let walk = policy.status.as_ref().and_then(|s| s.transition.as_ref());
        walk.is_some_and(|walk| walk.to == Role::Primary)
    };
    policies
        .into_iter()
        .filter(|(policy, _)| promotes(policy))
        .flat_map(|(_, result)| &result.resources)
        .filter(|found| is_of(found, &[Layer::Volumes]))
        .filter_map(|found| found.object.clone())
        .collect()
}

/// A policy, and everything that decides about it.
#[derive(Clone, Copy, Debug)]
struct PolicySubject<'a> {
    observation: &'a Observation<'a>,
    policy: &'a FailoverPolicy,
    result: &'a PolicyResult,
}

impl PolicySubject<'_> {
    /// Brings `status` to what is so now, and returns what to do once that is written.
    fn next(&self, status: &mut FailoverPolicyStatus) -> Option<Act> {
        let site = self.observation.site.status.as_ref()?;
        let Some(desired) = self.policy.spec.desired_state else {
            self.end(status, Outcome::Superseded);
            status.phase = None;
            return None;
        };
        self.start_if_ordered(desired, status);
        status.phase = Some(walking(desired));
        let Some(mut transition) = status.transition.take() else {
            status.phase = Some(Phase::Stable);
            return None;
        };
        let act = if site.transition.is_none() && site.layers.uniform().is_some() {
            self.advance_steps(site, status, &mut transition)
        } else {
            let mut steps = transition.steps.iter_mut();
            if let Some(step) = steps.find(|step| step.state != StepState::Done) {
                step.activity = Some(StepActivity::WaitingForSite);
            }
            Some(Act::Wait {
                until: later(self.observation),
            })
        };
        status.transition = Some(transition);
        if act.is_none() {
            self.end(status, Outcome::Succeeded);
            status.phase = Some(Phase::Stable);
        }
        act
    }

    fn end(&self, status: &mut FailoverPolicyStatus, outcome: Outcome) -> Option<Transition> {
        let ended = status.transition.take()?;
        record(self.observation, &mut status.history, &ended, outcome);
        Some(ended)
    }

    /// Starts a transition where the policy orders another one than is journalled, or an object does not stand as it orders.
    fn start_if_ordered(&self, desired: Role, status: &mut FailoverPolicyStatus) {
        let (spec, generation) = (&self.policy.spec, self.policy.metadata.generation);
        let counted = |id: &String| {
            status.observed_request.as_ref() == Some(id)
                || status.history.iter().any(|walk| walk.id == *id)
        };
        let request = spec.request.clone();
        let request = request.filter(|request| !counted(&request.id));
        if let Some(request) = &request {
            status.observed_request = Some(request.id.clone());
        }
        let request = request.unwrap_or_default();
        let is_about = self.is_about(status);
        let goes_on = |running: &&mut Transition| running.to == desired && request.id.is_empty();
        if let Some(running) = status.transition.as_mut().filter(goes_on) {
            if status.observed_generation != generation || !is_about {
                // Nothing of what it is about now has been asked or waited for.
                *running = begin(Transition {
                    mode: spec.mode,
                    layers: Roles::default(),
                    ..running.clone()
                });
            } else if is_held_by_guards(running) && self.stands(desired) {
                // They have come there with their site.
                self.end(status, Outcome::Succeeded);
            }
            return;
        }
        let superseded = self.end(status, Outcome::Superseded);
        let repeated = superseded.filter(|superseded| superseded.to == desired);
        if repeated.is_none() && self.lagging().next().is_none() {
            return;
        }
        if desired == Role::Primary {
            status.epoch = status.epoch.next();
        }
        let id = if request.id.is_empty() {
            format!("generation-{}", generation.unwrap_or_default())
        } else {
            request.id.clone()
        };
        let mut transition = begin(Transition {
            id,
            from: Some(desired.opposite()),
            to: desired,
            epoch: status.epoch,
            mode: spec.mode,
            ..requested(self.observation, request)
        });
        if let Some(repeated) = repeated {
            go_on_waiting(&mut transition, &repeated.steps);
        }
        status.transition = Some(transition);
    }

    /// Whether what it has last been told of are the objects that it names and that are not refused it.
    fn is_about(&self, status: &FailoverPolicyStatus) -> bool {
        let told = status.resources.iter().filter(|told| !told.is_refused());
        let told: BTreeSet<_> = told
            .map(|told| (told.kind, told.namespace.as_str(), told.name.as_str()))
            .collect();
        let resources = self.result.resources.iter();
        let objects = resources.filter(|found| found.refused.is_none());
        let objects = objects.filter_map(|found| {
            let (named, object) = (&found.resource, found.object.as_ref()?);
            Some((named.kind, object.namespace.as_str(), named.name.as_str()))
        });
        objects.collect::<BTreeSet<_>>() == told
    }

    /// Whether all that it names stand so.
    fn stands(&self, role: Role) -> bool {
        let mut resources = self.result.resources.iter();
        resources.all(|found| found.stands == Some(ObjectStanding::Ruled(role)))
    }

    /// Goes through the steps of its transition. `None`: the last one is done.
    fn advance_steps(
        &self,
        site: &SiteStatus,
        status: &mut FailoverPolicyStatus,
        transition: &mut Transition,
    ) -> Option<Act> {
        let advanced = step_loop::advance(&mut PolicySteps {
            subject: self,
            site,
            overrides: Overrides::parse_known(&transition.overrides),
            transition,
        });
        let (act, stalled) = advanced.act(|| Act::Wait {
            until: later(self.observation),
        })?;
        if stalled {
            status.phase = Some(Phase::Stalled);
        }
        Some(act)
    }

    /// The objects that do not stand as the policy orders, and are to.
    fn lagging(&self) -> impl Iterator<Item = &ResourceResult> {
        let desired = self.policy.spec.desired_state;
        let resources = self.result.resources.iter();
        resources.filter(move |found| {
            let elsewhere = match found.stands {
                Some(ObjectStanding::Ruled(role)) => Some(role) != desired,
                // Where nothing reaches it, it is live; of a volume nobody knows.
                Some(ObjectStanding::Free) => {
                    desired == Some(Role::Secondary) || found.layer == Some(Layer::Volumes)
                }
                // Its namespace is only just being taken over.
                Some(ObjectStanding::Unknown) | None => false,
            };
            elsewhere && found.refused.is_none()
        })
    }

    fn name(&self) -> String {
        format!("{}/{}", self.result.namespace, self.result.name)
    }
}

/// The steps of a policy's transition.
struct PolicySteps<'a> {
    subject: &'a PolicySubject<'a>,
    site: &'a SiteStatus,
    transition: &'a mut Transition,
    overrides: Overrides,
}

impl step_loop::Subject for PolicySteps<'_> {
    type Task = Task;
    type Act = Act;

    fn now(&self) -> Timestamp {
        self.subject.observation.now
    }

    fn steps(&mut self) -> &mut [Step] {
        &mut self.transition.steps
    }

    fn task(&self, step: &Step) -> Option<Task> {
        task(step.name, self.transition.to)
    }

    fn begin(&mut self, index: usize, task: Task) {
        if let Task::Move(layers) = task {
            let lagging = self.subject.lagging();
            let moving: Vec<_> = lagging.filter(|found| is_of(found, layers)).collect();
            self.transition.steps[index].changed = count(&moving);
            for layer in layers {
                self.transition.layers.set(*layer, Some(self.transition.to));
            }
        }
    }

    fn work(&mut self, index: usize, task: Task) -> StepOutcome {
        let (observation, site) = (self.subject.observation, self.site);
        let step = &self.transition.steps[index];
        let check = Check {
            at: step.name,
            revision: site.revision,
            transition: self.transition.id.clone(),
            owner: CheckOwner::Policy(self.subject.name()),
        };
        let overrides = &self.overrides;
        match task {
            Task::Ask => {
                check_step::ask(observation, site, self.transition, check, step, overrides)
            }
            Task::Move(layers) => self.subject.go_on(layers, site, step, overrides),
            Task::Wait(guard) => {
                check_step::go_on(observation, site, check, step, guard, overrides)
            }
        }
    }
}

fn is_held_by_guards(walk: &Transition) -> bool {
    let first = walk.steps.first();
    first.is_some_and(|step| step.name == StepName::Guards && step.state == StepState::Blocked)
}

fn is_of(found: &ResourceResult, layers: &[Layer]) -> bool {
    found.layer.is_some_and(|layer| layers.contains(&layer))
}
