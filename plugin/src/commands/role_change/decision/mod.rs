//! Decides how to bring a site to a role, from its observed state: pure.

use failover_core::api::{Mode, RoleRequest, Site, Transition};
use failover_core::guards::{self, GuardId, Hold, Overrides};
use failover_core::transition::pause;
use failover_core::{Epoch, Role};
use jiff::Timestamp;

use super::intent::Intent;
use crate::cli::batch::BatchConsent;
use crate::commands::site_view::{View, is_moving, standing};
use crate::error::Failure;
use crate::output::words::words;
use crate::plan::Plan;
use crate::transition_view::paused;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The site has the role: nothing to do.
    Settled,
    /// Requested already, and still being carried out.
    Join {
        id: String,
    },
    Order(Ordered),
}

/// A new request, without its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ordered {
    pub(super) epoch: Epoch,
    pub(super) mode: Mode,
    pub(super) batch: BatchConsent,
    /// All overrides, including those of the current request.
    pub(super) overrides: Vec<String>,
    /// The overrides kept from the current request.
    pub(super) inherited: Vec<String>,
    /// Jobs to run by name, without those of the current request: they may have run meanwhile.
    held_jobs: Vec<String>,
    /// A transition to the other role is running, and `--abort` is not given.
    reverses: Option<Hold>,
    /// The site is paused: the request waits until it is resumed.
    pub(super) when_resumed: bool,
}

/// Decides what to do. An error is a refusal: nothing was changed.
pub(super) fn decide(view: &View, intent: &Intent, now: Timestamp) -> Result<Decision, Failure> {
    let (spec, role) = (&view.site.spec, intent.role);
    let running = is_moving(&view.site);
    if intent.abort {
        can_be_aborted(&view.site, role)?;
    } else if spec.role == role && !running {
        return Ok(Decision::Settled);
    }
    let pause = pause(&view.site, now);
    // A transition that was paused because it goes wrong can be aborted before it continues.
    if let Some(pause) = pause.filter(|_| !intent.abort) {
        return Err(Failure::refused(format!(
            "{} of site {} is refused, and nothing was changed: the site is {}, so nothing would move",
            words(role).noun,
            spec.site_name,
            paused(pause, now),
        ))
        .next("resume it first: kubectl failover resume"));
    }
    let mut order = Ordered {
        epoch: epoch(&view.site, role),
        mode: intent.mode.unwrap_or_default(),
        batch: intent.batch.clone(),
        overrides: intent.typed.clone(),
        inherited: Vec::new(),
        held_jobs: intent.batch.held_jobs.names().cloned().collect(),
        reverses: None,
        when_resumed: pause.is_some(),
    };
    if spec.role == role {
        let current = CurrentRequest::of(&view.site);
        if !current.lacks(intent) {
            return Ok(Decision::Join { id: current.id });
        }
        current.merge_into(&mut order, intent);
    } else if running && !intent.abort {
        order.reverses = Some(running_opposite(&view.site));
    }
    Ok(Decision::Order(order))
}

/// Checks the guards. An error is a refusal: nothing was changed.
pub(super) fn check_guards(
    view: &View,
    intent: &Intent,
    order: &Ordered,
    plan: &Plan,
) -> Result<(), Failure> {
    let mut blocking = standing(view, plan);
    blocking.extend(order.reverses.clone());
    // An override of a guard that does not block suggests that the operator misjudges the site. Whether it is needed is
    // unknown if some objects could not be read.
    let known: Vec<&String> = intent
        .typed
        .iter()
        .filter(|typed| {
            let all_asked = plan.writes.unasked.is_empty();
            let may_be_refused = Overrides::parse_known(&[typed])
                .iter()
                .any(|(guard, _)| guard == GuardId::WriteRefused);
            if may_be_refused && !all_asked {
                return false;
            }
            plan.unseen.is_empty()
                || Overrides::parse_known(&[typed])
                    .iter()
                    .all(|(guard, _)| !guard.names_objects())
        })
        .collect();
    let unneeded = guards::unneeded(intent.role, &blocking, &Overrides::parse_known(&known));
    if let Some(unneeded) = unneeded {
        return Err(Failure::usage(format!("--override {unneeded}"))
            .next("nothing was changed; leave it out, or see kubectl failover status first"));
    }
    // Refused like an override that is not needed.
    if let Some(job) = plan.not_held(&order.held_jobs) {
        return Err(Failure::usage(format!(
            "--run-held-jobs={job}: no Job of this name is held since its creation"
        ))
        .next("nothing was changed; kubectl failover plan promote names those that are"));
    }
    let overrides = Overrides::parse_known(&order.overrides);
    let holds: Vec<Hold> = blocking
        .into_iter()
        .filter(|hold| match &hold.object {
            Some(object) => !overrides.allows_object(hold.guard, object),
            None => !overrides.allows(hold.guard),
        })
        .collect();
    if holds.is_empty() {
        return Ok(());
    }
    Err(Failure::held(
        format!("{} of site {}", words(intent.role).noun, view.name()),
        holds,
    ))
}

/// The parts of the current request that a new one to the same role keeps.
struct CurrentRequest {
    id: String,
    overrides: Vec<String>,
    mode: Option<Mode>,
    batch: BatchConsent,
}

impl CurrentRequest {
    fn of(site: &Site) -> Self {
        let request = site.spec.request.clone().unwrap_or_default();
        let transition = running(site).filter(|transition| transition.to == site.spec.role);
        let id = if request.id.is_empty() {
            format!("birth-{}", site.spec.site_name)
        } else {
            request.id.clone()
        };
        // The overrides of a request for the whole site do not apply to namespaces that were enrolled later.
        match transition {
            Some(transition) => Self {
                id,
                overrides: transition.overrides.clone(),
                mode: Some(transition.mode),
                batch: BatchConsent {
                    run_missed: transition.run_missed,
                    held_jobs: transition.held_jobs(),
                },
            },
            None => Self {
                id,
                mode: Some(site.spec.mode),
                batch: consent(&request),
                overrides: request.overrides,
            },
        }
    }

    /// Whether the intent adds something to the current request.
    fn lacks(&self, intent: &Intent) -> bool {
        let known = Overrides::parse_known(&self.overrides);
        let overridden = intent.overrides.iter().any(|(guard, object)| match object {
            Some(object) => !known.allows_object(guard, object),
            None => !known.allows(guard),
        });
        overridden
            || intent.mode.is_some_and(|mode| self.mode != Some(mode))
            || (intent.batch.run_missed && !self.batch.run_missed)
            || !self.batch.held_jobs.covers(&intent.batch.held_jobs)
    }

    /// Carries over overrides, mode and consents of the current request, since the new one replaces it as a whole.
    fn merge_into(self, order: &mut Ordered, intent: &Intent) {
        order.inherited = self.overrides;
        order.inherited.retain(|text| !intent.typed.contains(text));
        order.overrides.extend(order.inherited.iter().cloned());
        order.mode = intent.mode.or(self.mode).unwrap_or_default();
        order.batch.run_missed |= self.batch.run_missed;
        let known = &self.batch.held_jobs;
        let new = intent.batch.held_jobs.named_beyond(known);
        order.held_jobs = new.into_iter().map(str::to_owned).collect();
        order.batch.held_jobs = order.batch.held_jobs.or(known);
    }
}

fn consent(request: &RoleRequest) -> BatchConsent {
    BatchConsent {
        run_missed: request.run_missed,
        held_jobs: request.held_jobs(),
    }
}

fn running(site: &Site) -> Option<&Transition> {
    site.status.as_ref()?.transition.as_ref()
}

/// Refuses to abort a transition that is not running. `back_to` is the role after the abort.
fn can_be_aborted(site: &Site, back_to: Role) -> Result<(), Failure> {
    let (name, noun) = (&site.spec.site_name, words(back_to.opposite()).noun);
    let is_whole_site = running(site).is_none_or(|transition| transition.namespaces.is_empty());
    if site.spec.role != back_to && is_moving(site) && is_whole_site {
        return Ok(());
    }
    let instead = if !is_moving(site) {
        format!("the site is settled as {}", site.spec.role)
    } else if is_whole_site {
        format!("a {} is", words(site.spec.role).noun)
    } else {
        "only namespaces that came later are being taken over".to_owned()
    };
    Err(Failure::refused(format!(
        "no {noun} of site {name} is under way, and nothing was changed: {instead}"
    ))
    .next("see kubectl failover status"))
}

/// Blocks a request while a transition to the other role is running. Only `--abort` or an override reverses it.
fn running_opposite(site: &Site) -> Hold {
    let request = site.spec.request.clone().unwrap_or_default();
    let words = words(site.spec.role);
    Hold {
        guard: GuardId::TransitionRunning,
        object: None,
        message: format!(
            "the {} requested{}{} is not finished",
            words.noun,
            prefixed(" by ", &request.requested_by),
            prefixed(": ", &request.reason),
        ),
        hint: format!(
            "wait for it (kubectl failover status -w), or abort it: kubectl failover {} --abort --reason TEXT",
            words.command
        ),
    }
}

/// A promotion takes an epoch above every known one; a demotion keeps the epoch.
fn epoch(site: &Site, role: Role) -> Epoch {
    let spec = &site.spec;
    if role == Role::Secondary || spec.role == Role::Primary {
        return spec.epoch;
    }
    let peer = site.status.as_ref().and_then(|status| status.peer.as_ref());
    peer.map_or(spec.epoch, |peer| {
        spec.epoch.max(peer.epoch).max(peer.highest_epoch_seen)
    })
    .next()
}

fn prefixed(before: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{before}{text}")
    }
}

#[cfg(test)]
mod tests;
