//! The transition of a FailoverPolicy with a `desiredState`: its objects move separately, through the same steps as a
//! site.
//!
//! ```text
//!   decide_policy(observation, policy, its result of compile)
//!        ├─► WriteStatus   the journal, before any act: the ordered layers of its objects
//!        ├─► Check         the condition of a step, for its objects alone
//!        └─► Wait          until something changes, or a time
//! ```
//!
//! [`compile`](crate::object_roles) puts the orders of the journal in force, and the site's own [`decide`] does the
//! rest: it labels, waits for the enforcers and sweeps, for all policies together. During a transition of the site,
//! policies do not advance.
//!
//! A transition begins if an object does not have the ordered role, for any reason: a new order, an object that was
//! added, a released object. Objects that have the role already are not moved back meanwhile. So a transition that is
//! reversed, or whose objects differ from the recorded ones, simply begins again: guards first, and no layer ordered.
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
use super::{Act, Check, CheckOwner, Observation, check_step, is_paused, phase_of};
use crate::api::{
    FailoverPolicy, FailoverPolicyStatus, Outcome, Phase, SiteStatus, Step, StepActivity, StepName,
    StepState, Transition,
};
use crate::guards::Overrides;
use crate::namespace::ObjectStanding;
use crate::object::ObjectKey;
use crate::object_roles::{PolicyResult, ResourceResult};
use crate::role::{Layer, Role, Roles};

/// The next act for a policy. After each, observe and decide again.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyAct {
    /// Write the status, with the resourceVersion it was decided on.
    WriteStatus(Box<FailoverPolicyStatus>),
    /// Check what a step waits for.
    Check(Check),
    /// Nothing, until something changes or until this time.
    Wait { until: Timestamp },
}

/// Decides the next act for a policy. `observation.check` is the last check that was made for it.
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
        status::report_status(&subject, &mut status);
        act
    };
    if status != before {
        return PolicyAct::WriteStatus(Box::new(status));
    }
    match act {
        Some(Act::Check(check)) => PolicyAct::Check(check),
        Some(Act::Wait { until }) => PolicyAct::Wait { until },
        // These belong to the site: it sweeps when a sweep is due.
        Some(Act::WriteStatus(_) | Act::Label(_) | Act::Sweep { .. }) | None => PolicyAct::Wait {
            until: later(observation),
        },
    }
}

/// The volumes that policies are promoting now. Workloads of these policies that their transitions have not reached yet
/// follow the site, and must not start on these volumes before they are confirmed.
pub fn promoting<'a>(
    policies: impl IntoIterator<Item = (&'a FailoverPolicy, &'a PolicyResult)>,
) -> BTreeSet<ObjectKey> {
    let promotes = |policy: &FailoverPolicy| {
        let running = policy.status.as_ref().and_then(|s| s.transition.as_ref());
        running.is_some_and(|running| running.to == Role::Primary)
    };
    policies
        .into_iter()
        .filter(|(policy, _)| promotes(policy))
        .flat_map(|(_, result)| &result.resources)
        .filter(|found| is_of(found, &[Layer::Volumes]))
        .filter_map(|found| found.object.clone())
        .collect()
}

/// A policy, and the inputs of its decision.
#[derive(Clone, Copy, Debug)]
struct PolicySubject<'a> {
    observation: &'a Observation<'a>,
    policy: &'a FailoverPolicy,
    result: &'a PolicyResult,
}

impl PolicySubject<'_> {
    /// Updates `status` and returns the act to perform once it is written.
    fn next(&self, status: &mut FailoverPolicyStatus) -> Option<Act> {
        let site = self.observation.site.status.as_ref()?;
        let Some(desired) = self.policy.spec.desired_state else {
            self.end(status, Outcome::Superseded);
            status.phase = None;
            return None;
        };
        self.start_if_ordered(desired, status);
        status.phase = Some(phase_of(desired));
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

    /// Starts a transition if the policy orders another one than the journal has, or an object does not have the
    /// ordered role.
    fn start_if_ordered(&self, desired: Role, status: &mut FailoverPolicyStatus) {
        let (spec, generation) = (&self.policy.spec, self.policy.metadata.generation);
        let counted = |id: &String| {
            status.observed_request.as_ref() == Some(id)
                || status.history.iter().any(|entry| entry.id == *id)
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
                // Its current objects have not been checked or waited for.
                *running = begin(Transition {
                    mode: spec.mode,
                    layers: Roles::default(),
                    ..running.clone()
                });
            } else if is_blocked_by_guards(running) && self.conforms(desired) {
                // They have reached the role with their site.
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

    /// Whether the last reported objects are the ones that it names and that are not refused.
    fn is_about(&self, status: &FailoverPolicyStatus) -> bool {
        let reported = status
            .resources
            .iter()
            .filter(|reported| !reported.is_refused());
        let reported: BTreeSet<_> = reported
            .map(|reported| {
                (
                    reported.kind,
                    reported.namespace.as_str(),
                    reported.name.as_str(),
                )
            })
            .collect();
        let resources = self.result.resources.iter();
        let objects = resources.filter(|found| found.refused.is_none());
        let objects = objects.filter_map(|found| {
            let (named, object) = (&found.resource, found.object.as_ref()?);
            Some((named.kind, object.namespace.as_str(), named.name.as_str()))
        });
        objects.collect::<BTreeSet<_>>() == reported
    }

    /// Whether all objects that it names have this role.
    fn conforms(&self, role: Role) -> bool {
        let mut resources = self.result.resources.iter();
        resources.all(|found| found.standing == Some(ObjectStanding::Ruled(role)))
    }

    /// Advances the steps of its transition. `None`: the last one is done.
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

    /// The objects that do not have the ordered role and must get it.
    fn lagging(&self) -> impl Iterator<Item = &ResourceResult> {
        let desired = self.policy.spec.desired_state;
        let resources = self.result.resources.iter();
        resources.filter(move |found| {
            let elsewhere = match found.standing {
                Some(ObjectStanding::Ruled(role)) => Some(role) != desired,
                // An object that nothing reaches is active; the state of a volume is unknown.
                Some(ObjectStanding::Free) => {
                    desired == Some(Role::Secondary) || found.layer == Some(Layer::Volumes)
                }
                // Its namespace is just being taken over.
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

fn is_blocked_by_guards(running: &Transition) -> bool {
    let first = running.steps.first();
    first.is_some_and(|step| step.name == StepName::Guards && step.state == StepState::Blocked)
}

fn is_of(found: &ResourceResult, layers: &[Layer]) -> bool {
    found.layer.is_some_and(|layer| layers.contains(&layer))
}
