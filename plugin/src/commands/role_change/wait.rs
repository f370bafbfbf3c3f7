//! Follows a request until it is carried out, even while the API server or the controller is unavailable.

use std::time::Duration;

use failover_core::Role;
use failover_core::api::{HistoryEntry, Pause, StepName, StepState};
use failover_core::guards::{GuardId, Overrides};
use failover_core::transition::pause;
use jiff::Timestamp;
use tokio::time::Instant;

use super::break_glass::STOPS;
use super::outcome::{OrderState, caveat, order_state};
use super::verify::{Verified, verify};
use super::{CONTINUES, Order};
use crate::cluster::ApiError;
use crate::commands::poll::{EVERY, LOOK_AT_CONTROLLER, Polled, Watch};
use crate::error::Failure;
use crate::output::age::took;
use crate::output::progress::Progress;
use crate::output::words::{Words, words};
use crate::session::Session;
use crate::transition_view::{current, override_command, paused, what};

/// How often all objects are listed again while some do not conform.
const VERIFY_EVERY: Duration = Duration::from_secs(2);

/// How long a write whose connection broke may still be stored: the timeout of the webhook, and a margin.
const IN_FLIGHT: Duration = Duration::from_secs(3);

/// Whether a request whose response was lost was stored, once the API server answers again.
pub(super) async fn was_written(
    session: &Session<'_>,
    order: &Order,
    timeout: Duration,
    lost: &ApiError,
) -> Result<bool, Failure> {
    let progress = Progress::new(session.screen);
    progress.warn(&format!("{lost}; checking whether the request was stored"));
    let deadline = order.started + timeout;
    let mut absent_since = None;
    loop {
        match session.cluster.site().await {
            Ok(Some(site)) => {
                let request = site.spec.request.unwrap_or_default();
                if request.id == order.request.id {
                    return Ok(true);
                }
                // A request that was cut off may still be on its way through the API server.
                if absent_since.get_or_insert_with(Instant::now).elapsed() >= IN_FLIGHT {
                    return Ok(false);
                }
            }
            Ok(None) => return Ok(false),
            Err(_) => absent_since = None,
        }
        if Instant::now() >= deadline {
            return Err(Failure::timed_out(format!(
                "{lost}: it is unknown whether the request was stored; if it was, it is carried out"
            ))
            .next("check with kubectl failover status as soon as the API server answers"));
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What happens to a request after this command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// The controller continues the transition.
    Continues,
    /// This command carried it out: the transition stops.
    Stops,
}

impl Afterwards {
    fn next_step(self) -> &'static str {
        match self {
            Self::Continues => CONTINUES,
            Self::Stops => STOPS,
        }
    }
}

/// A request that is being followed.
pub(super) struct Following<'a> {
    session: &'a Session<'a>,
    site: String,
    role: Role,
    words: Words,
    order: &'a Order,
    deadline: Instant,
    timeout: Duration,
    watch: Watch<'a>,
    afterwards: Afterwards,
    /// A transition is running: of this request, or an earlier one.
    running: bool,
    paused: Option<Pause>,
    caveat: Option<String>,
}

impl<'a> Following<'a> {
    pub(super) fn new(
        session: &'a Session<'a>,
        site: &str,
        role: Role,
        order: &'a Order,
        timeout: Duration,
        afterwards: Afterwards,
    ) -> Self {
        Self {
            session,
            site: site.to_owned(),
            role,
            words: words(role),
            order,
            deadline: order.started + timeout,
            timeout,
            watch: Watch::new(session),
            afterwards,
            running: false,
            paused: None,
            caveat: None,
        }
    }

    /// A warning to print although the request succeeded.
    pub(super) fn caveat(&mut self) -> Option<String> {
        self.caveat.take()
    }

    /// Waits until the controller reports that the request is carried out.
    pub(super) async fn settled(&mut self) -> Result<HistoryEntry, Failure> {
        loop {
            match self.watch.look().await {
                Polled::Site(site) => {
                    self.caveat = caveat(&site);
                    let now = Timestamp::now();
                    self.paused = pause(&site, now).cloned();
                    let state = order_state(&site, &self.order.request.id, self.role);
                    if let OrderState::Superseded(by) = &state {
                        return Err(self.superseded(by));
                    }
                    self.watch.show(&site);
                    self.running = site.status.as_ref().is_some_and(|s| s.transition.is_some());
                    match state {
                        OrderState::Done(entry) => {
                            self.watch.ended(&site, &entry);
                            return Ok(*entry);
                        }
                        OrderState::Waiting if !self.running && !self.watch.is_leaderless() => {
                            self.watch.now(&format!(
                                "site {}: waiting for the controller to begin",
                                self.site
                            ));
                        }
                        OrderState::Waiting | OrderState::Running | OrderState::Superseded(_) => {}
                    }
                }
                Polled::Gone => {
                    return Err(Failure::error(format!(
                        "site {}: the Site was deleted while it was being {}",
                        self.site, self.words.done
                    ))
                    .next("kubectl failover status shows the current state"));
                }
                Polled::NoAnswer => {}
            }
            if Instant::now() >= self.deadline {
                return Err(self.timed_out_failure());
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Waits until a list of all objects matches the role.
    pub(super) async fn verified(&mut self) -> Result<Verified, Failure> {
        let overrides = Overrides::parse_known(&self.order.request.overrides);
        loop {
            self.watch.now(&format!(
                "site {}: listing every object to verify",
                self.site
            ));
            let verified = match verify(&self.session.cluster, self.role, &overrides).await {
                Ok(verified) => {
                    self.watch.answers();
                    if verified.is_complete() {
                        return Ok(verified);
                    }
                    // Waiting does not make a list readable.
                    if !verified.unseen.is_empty() {
                        return Err(self.unverified(&verified));
                    }
                    Some(verified)
                }
                Err(error) => {
                    self.watch.does_not_answer(&error);
                    None
                }
            };
            if Instant::now() >= self.deadline {
                return Err(match verified {
                    Some(verified) => self.unverified(&verified),
                    None => self.timed_out_failure(),
                });
            }
            if let Some(verified) = verified {
                self.watch
                    .now(&format!("site {}: {}", self.site, verified.summary()));
            }
            tokio::time::sleep(VERIFY_EVERY).await;
        }
    }

    fn superseded(&self, by: &str) -> Failure {
        Failure::error(format!(
            "site {} was not {}: {by} superseded this request",
            self.site, self.words.done
        ))
        .next("see kubectl failover status, and talk to whoever gave it")
    }

    /// The failure of a request that was not carried out in time: the cause decides the next step.
    fn timed_out_failure(&self) -> Failure {
        let (site, noun) = (&self.site, self.words.noun);
        let after = format!(
            "after {}",
            took(self.timeout.try_into().unwrap_or_default())
        );
        if let Some(error) = self.watch.unanswered() {
            return Failure::timed_out(format!(
                "{error}; {after} it is unknown whether the {noun} of site {site} is carried out: the request is stored, and the controller continues if the cluster works"
            ))
            .next("check with kubectl failover status as soon as the API server answers");
        }
        if let Some(pause) = &self.paused {
            return Failure::timed_out(format!(
                "the {noun} of site {site} is not done {after}: the site is {}",
                paused(pause, Timestamp::now())
            ))
            .next("nothing moves until it is resumed: kubectl failover resume");
        }
        if self.watch.is_leaderless() {
            return Failure::timed_out(format!(
                "the {noun} of site {site} is requested, but no controller leads {after}: it is carried out as soon as one does"
            ))
            .next(LOOK_AT_CONTROLLER);
        }
        if let Some(failure) = self.timed_out_at_step(&after) {
            return failure;
        }
        Failure::timed_out(format!(
            "the {noun} of site {site} is not done {after}: the controller has not begun"
        ))
        .next(self.afterwards.next_step())
    }

    /// Names the current step and what it waits for.
    fn timed_out_at_step(&self, after: &str) -> Option<Failure> {
        let transition = self.watch.last().filter(|_| self.running)?;
        let (_, step) = current(transition)?;
        let (site, noun, name) = (&self.site, self.words.noun, step.name.as_str());
        if step.state != StepState::Blocked {
            let at = match step.total {
                0 => format!("step {name}"),
                total => format!("step {name}, {} of {total}", step.done),
            };
            let failure = Failure::timed_out(format!(
                "the {noun} of site {site} is not done {after}: it has come to {at}"
            ));
            return Some(
                failure
                    .details(step.blocked.iter().map(what))
                    .next(self.afterwards.next_step()),
            );
        }
        // While guards block, no label is written yet. Objects that cannot conform do not change by waiting.
        let is_not_conforming =
            |b: &failover_core::api::Blocked| b.guard == GuardId::NotConforming.as_str();
        let failure = if step.name == StepName::Guards {
            Failure::timed_out(format!(
                "the {noun} of site {site} is requested, but guards block it {after}; nothing has moved"
            ))
        } else if step.blocked.iter().any(is_not_conforming) {
            Failure::partial(format!(
                "the {noun} of site {site} is not complete {after}: it is blocked at step {name}"
            ))
        } else {
            Failure::timed_out(format!(
                "the {noun} of site {site} is not done {after}: it is blocked at step {name}"
            ))
        };
        let override_hint = override_command(self.role, step).map_or_else(String::new, |command| {
            format!("; to continue without: {command}")
        });
        Some(
            failure
                .details(step.blocked.iter().map(what))
                .next(match self.afterwards {
                    Afterwards::Continues => {
                        format!("it continues once the cause is removed{override_hint}")
                    }
                    Afterwards::Stops => {
                        format!(
                            "{STOPS}; remove the cause and run the command again{override_hint}"
                        )
                    }
                }),
        )
    }

    fn unverified(&self, verified: &Verified) -> Failure {
        Failure::partial(format!(
            "site {}: the controller reports {}, but verification found objects that do not conform: {}",
            self.site,
            self.words.done,
            verified.summary()
        ))
        .details(verified.details())
        .next("see kubectl failover status; the controller goes on trying")
    }
}
