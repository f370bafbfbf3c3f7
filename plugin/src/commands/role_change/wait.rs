//! Following an order until it is carried out, whatever goes away meanwhile.

use std::time::Duration;

use failover_core::Role;
use failover_core::api::{HistoryEntry, Pause, StepName, StepState};
use failover_core::guards::{GuardId, Overrides};
use failover_core::transition::pause;
use jiff::Timestamp;
use tokio::time::Instant;

use super::break_glass::STOPS;
use super::outcome::{OrderState, caveat, sight};
use super::verify::{Verified, verify};
use super::{GOES_ON, Order};
use crate::cluster::ApiError;
use crate::commands::poll::{EVERY, LOOK_AT_CONTROLLER, Polled, Watch};
use crate::error::Failure;
use crate::output::age::took;
use crate::output::progress::Progress;
use crate::output::words::{Words, words};
use crate::session::Session;
use crate::transition_view::{current, paused, way_on, what};

/// How often every object is listed anew while some do not agree.
const VERIFY_EVERY: Duration = Duration::from_secs(2);

/// How long a write whose connection broke may still come to be stored: a timeout of the webhook, and some.
const IN_FLIGHT: Duration = Duration::from_secs(3);

/// Whether an order whose answer was lost has been stored, once the API server answers again.
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

/// What becomes of an order once nobody follows it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// A controller carries it on.
    GoesOn,
    /// It was carried out by this very command.
    Stops,
}

impl Afterwards {
    fn then(self) -> &'static str {
        match self {
            Self::GoesOn => GOES_ON,
            Self::Stops => STOPS,
        }
    }
}

/// One order being followed.
pub(super) struct Following<'a> {
    session: &'a Session<'a>,
    site: String,
    role: Role,
    words: Words,
    order: &'a Order,
    deadline: Instant,
    timeout: Duration,
    watch: Watch<'a>,
    /// What becomes of the order once nobody follows it any more.
    afterwards: Afterwards,
    /// A transition is under way: this order's, or one that it waits for.
    walking: bool,
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
            walking: false,
            paused: None,
            caveat: None,
        }
    }

    /// What is to be said although it succeeded.
    pub(super) fn caveat(&mut self) -> Option<String> {
        self.caveat.take()
    }

    /// Waits until the controller says that the order is carried out.
    pub(super) async fn settled(&mut self) -> Result<HistoryEntry, Failure> {
        loop {
            match self.watch.look().await {
                Polled::Site(site) => {
                    self.caveat = caveat(&site);
                    let now = Timestamp::now();
                    self.paused = pause(&site, now).cloned();
                    let sight = sight(&site, &self.order.request.id, self.role);
                    if let OrderState::Superseded(by) = &sight {
                        return Err(self.superseded(by));
                    }
                    self.watch.show(&site);
                    self.walking = site.status.as_ref().is_some_and(|s| s.transition.is_some());
                    match sight {
                        OrderState::Done(entry) => {
                            self.watch.ended(&site, &entry);
                            return Ok(*entry);
                        }
                        OrderState::Waiting if !self.walking && !self.watch.is_leaderless() => {
                            self.watch.now(&format!(
                                "site {}: waiting for the controller to begin",
                                self.site
                            ));
                        }
                        OrderState::Waiting | OrderState::Walking | OrderState::Superseded(_) => {}
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
                return Err(self.out_of_time());
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Waits until an own list of every object agrees with the role.
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
                    // Nothing that waiting could change.
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
                    None => self.out_of_time(),
                });
            }
            if let Some(verified) = verified {
                self.watch
                    .now(&format!("site {}: {}", self.site, verified.left_over()));
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

    /// Not carried out within the time given. Which of the many ways it is, decides what to do about it.
    fn out_of_time(&self) -> Failure {
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
        if let Some(failure) = self.stopped_at(&after) {
            return failure;
        }
        Failure::timed_out(format!(
            "the {noun} of site {site} is not done {after}: the controller has not begun"
        ))
        .next(self.afterwards.then())
    }

    /// At which step it is, and what that waits for.
    fn stopped_at(&self, after: &str) -> Option<Failure> {
        let transition = self.watch.last().filter(|_| self.walking)?;
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
                    .next(self.afterwards.then()),
            );
        }
        // Before the first label is written nothing has changed. Objects that refuse to agree do not come round by waiting.
        let refused = |b: &failover_core::api::Blocked| b.guard == GuardId::NotConforming.as_str();
        let failure = if step.name == StepName::Guards {
            Failure::timed_out(format!(
                "the {noun} of site {site} is requested, but guards block it {after}; nothing has moved"
            ))
        } else if step.blocked.iter().any(refused) {
            Failure::partial(format!(
                "the {noun} of site {site} is not complete {after}: it is blocked at step {name}"
            ))
        } else {
            Failure::timed_out(format!(
                "the {noun} of site {site} is not done {after}: it is blocked at step {name}"
            ))
        };
        let go_on = way_on(self.role, step).map_or_else(String::new, |order| {
            format!("; to continue without: {order}")
        });
        Some(
            failure
                .details(step.blocked.iter().map(what))
                .next(match self.afterwards {
                    Afterwards::GoesOn => format!("it continues once the cause is removed{go_on}"),
                    Afterwards::Stops => {
                        format!("{STOPS}; remove the cause and run the command again{go_on}")
                    }
                }),
        )
    }

    fn unverified(&self, verified: &Verified) -> Failure {
        Failure::partial(format!(
            "site {}: the controller reports {}, but verification found objects that do not conform: {}",
            self.site,
            self.words.done,
            verified.left_over()
        ))
        .details(verified.details())
        .next("see kubectl failover status; the controller goes on trying")
    }
}
