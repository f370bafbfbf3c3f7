//! What to do about a site that is to have a role: pure, from what was seen.

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

/// Where to go from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing to do.
    Settled,
    /// Ordered already, and still being carried out.
    Join {
        id: String,
    },
    Order(Ordered),
}

/// An order, but for who gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ordered {
    pub(super) epoch: Epoch,
    pub(super) mode: Mode,
    pub(super) batch: BatchConsent,
    /// All overrides, those of the order that it repeats among them.
    pub(super) overrides: Vec<String>,
    /// Those that come from the order that it repeats.
    pub(super) inherited: Vec<String>,
    /// Jobs that are named to be let run, which the order that it repeats does not let run already: those may have run meanwhile.
    held_jobs: Vec<String>,
    /// A change the other way is under way, which nobody has said is to be turned round.
    against: Option<Hold>,
    /// The site is paused: the order waits until it is resumed.
    pub(super) when_resumed: bool,
}

/// Decides. An error is a refusal: nothing has been changed.
pub(super) fn course(view: &View, wish: &Intent, now: Timestamp) -> Result<Decision, Failure> {
    let (spec, role) = (&view.site.spec, wish.role);
    let running = is_moving(&view.site);
    if wish.abort {
        can_be_aborted(&view.site, role)?;
    } else if spec.role == role && !running {
        return Ok(Decision::Settled);
    }
    let pause = pause(&view.site, now);
    // Who paused a transition because it goes wrong must be able to turn it round before it goes on.
    if let Some(pause) = pause.filter(|_| !wish.abort) {
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
        mode: wish.mode.unwrap_or_default(),
        batch: wish.batch.clone(),
        overrides: wish.typed.clone(),
        inherited: Vec::new(),
        held_jobs: wish.batch.held_jobs.names().cloned().collect(),
        against: None,
        when_resumed: pause.is_some(),
    };
    if spec.role == role {
        let standing_order = StandingOrder::of(&view.site);
        if !standing_order.lacks(wish) {
            return Ok(Decision::Join {
                id: standing_order.id,
            });
        }
        standing_order.go_into(&mut order, wish);
    } else if running && !wish.abort {
        order.against = Some(other_way(&view.site));
    }
    Ok(Decision::Order(order))
}

/// Asks the guards. An error is a refusal: nothing has been changed.
pub(super) fn guards(
    view: &View,
    wish: &Intent,
    order: &Ordered,
    plan: &Plan,
) -> Result<(), Failure> {
    let mut standing = standing(view, plan);
    standing.extend(order.against.clone());
    // An override of a guard that does not hold is a sign that the site is not what its operator believes. Of objects that
    // could not all be seen nobody can say so.
    let known: Vec<&String> = wish
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
    let unneeded = guards::unneeded(wish.role, &standing, &Overrides::parse_known(&known));
    if let Some(unneeded) = unneeded {
        return Err(Failure::usage(format!("--override {unneeded}"))
            .next("nothing was changed; leave it out, or see kubectl failover status first"));
    }
    // As with an override that is not needed.
    if let Some(job) = plan.not_held(&order.held_jobs) {
        return Err(Failure::usage(format!(
            "--run-held-jobs={job}: no Job of this name is held since its creation"
        ))
        .next("nothing was changed; kubectl failover plan promote names those that are"));
    }
    let overrides = Overrides::parse_known(&order.overrides);
    let holds: Vec<Hold> = standing
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
        format!("{} of site {}", words(wish.role).noun, view.name()),
        holds,
    ))
}

/// The order that stands, as far as another one in the same direction has to do with it.
struct StandingOrder {
    id: String,
    overrides: Vec<String>,
    mode: Option<Mode>,
    batch: BatchConsent,
}

impl StandingOrder {
    fn of(site: &Site) -> Self {
        let request = site.spec.request.clone().unwrap_or_default();
        let walk = running(site).filter(|walk| walk.to == site.spec.role);
        let id = if request.id.is_empty() {
            format!("birth-{}", site.spec.site_name)
        } else {
            request.id.clone()
        };
        // What was overridden for the site is not overridden for namespaces that came later.
        match walk {
            Some(walk) => Self {
                id,
                overrides: walk.overrides.clone(),
                mode: Some(walk.mode),
                batch: BatchConsent {
                    run_missed: walk.run_missed,
                    held_jobs: walk.held_jobs(),
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

    /// Whether the wish brings something that the order does not have.
    fn lacks(&self, wish: &Intent) -> bool {
        let known = Overrides::parse_known(&self.overrides);
        let overridden = wish.overrides.iter().any(|(guard, object)| match object {
            Some(object) => !known.allows_object(guard, object),
            None => !known.allows(guard),
        });
        overridden
            || wish.mode.is_some_and(|mode| self.mode != Some(mode))
            || (wish.batch.run_missed && !self.batch.run_missed)
            || !self.batch.held_jobs.covers(&wish.batch.held_jobs)
    }

    /// The new order takes its place whole, so what it says holds on. Nobody has to type at night what was consented to.
    fn go_into(self, order: &mut Ordered, wish: &Intent) {
        order.inherited = self.overrides;
        order.inherited.retain(|text| !wish.typed.contains(text));
        order.overrides.extend(order.inherited.iter().cloned());
        order.mode = wish.mode.or(self.mode).unwrap_or_default();
        order.batch.run_missed |= self.batch.run_missed;
        let known = &self.batch.held_jobs;
        let new = wish.batch.held_jobs.named_beyond(known);
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

/// Refuses to turn round what is not under way. `back_to` is where it would lead.
fn can_be_aborted(site: &Site, back_to: Role) -> Result<(), Failure> {
    let (name, noun) = (&site.spec.site_name, words(back_to.opposite()).noun);
    let whole = running(site).is_none_or(|walk| walk.namespaces.is_empty());
    if site.spec.role != back_to && is_moving(site) && whole {
        return Ok(());
    }
    let instead = if !is_moving(site) {
        format!("the site is settled as {}", site.spec.role)
    } else if whole {
        format!("a {} is", words(site.spec.role).noun)
    } else {
        "only namespaces that came later are being taken over".to_owned()
    };
    Err(Failure::refused(format!(
        "no {noun} of site {name} is under way, and nothing was changed: {instead}"
    ))
    .next("see kubectl failover status"))
}

/// An order to go the other way is still being carried out. To turn round is possible, but only on purpose.
fn other_way(site: &Site) -> Hold {
    let request = site.spec.request.clone().unwrap_or_default();
    let words = words(site.spec.role);
    Hold {
        guard: GuardId::TransitionRunning,
        object: None,
        message: format!(
            "the {} requested{}{} is not finished",
            words.noun,
            said(" by ", &request.requested_by),
            said(": ", &request.reason),
        ),
        hint: format!(
            "wait for it (kubectl failover status -w), or abort it: kubectl failover {} --abort --reason TEXT",
            words.command
        ),
    }
}

/// A claim to be primary takes an epoch above every one that is known; standing back takes none.
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

fn said(before: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{before}{text}")
    }
}

#[cfg(test)]
mod tests;
