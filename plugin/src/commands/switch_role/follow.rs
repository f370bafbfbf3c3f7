//! Following an order until it is carried out, whatever goes away meanwhile.
//!
//! The Site is asked again and again rather than watched: a watch that has died looks like a transition that makes no
//! progress, and an answer every quarter of a second costs the API server nothing.

use std::time::Duration;

use failover_core::Role;
use failover_core::api::{HistoryEntry, StepName};
use failover_core::guard::Overrides;
use tokio::time::Instant;

use super::sight::{Sight, caveat, line, sight};
use super::verify::{Verified, verify};
use super::{Order, Words, words};
use crate::cluster::{ApiError, Silence};
use crate::commands::Session;
use crate::failure::Failure;
use crate::output::Tone;
use crate::progress::Progress;

/// How often the Site is read.
const EVERY: Duration = Duration::from_millis(250);
/// How often the controller's Lease is read.
const LEASE_EVERY: Duration = Duration::from_secs(2);
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
    progress.warn(&format!("{lost}; finding out whether the order was stored"));
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
                "{lost}: whether the order was stored is not known; if it was, it is being carried out"
            ))
            .next("look with kubectl failover status as soon as the API server answers"));
        }
        tokio::time::sleep(EVERY).await;
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
    progress: Progress<'a>,
    /// Since when the API server has not answered, and how it put it.
    unanswered: Option<(Instant, String)>,
    silence: Silence,
    lease_due: Instant,
    leaderless: bool,
    sight: Sight,
    caveat: Option<String>,
}

impl<'a> Following<'a> {
    pub(super) fn new(
        session: &'a Session<'a>,
        site: &str,
        role: Role,
        order: &'a Order,
        timeout: Duration,
    ) -> Self {
        Self {
            session,
            site: site.to_owned(),
            role,
            words: words(role),
            order,
            deadline: order.started + timeout,
            timeout,
            progress: Progress::new(session.screen),
            unanswered: None,
            silence: Silence::default(),
            lease_due: order.started,
            leaderless: false,
            sight: Sight::Waiting,
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
            match self.session.cluster.site().await {
                Ok(Some(site)) => {
                    self.answers();
                    let sight = sight(&site, &self.order.request.id, self.role);
                    self.caveat = caveat(&site);
                    match sight {
                        Sight::Done(entry) => return Ok(*entry),
                        Sight::Superseded(by) => return Err(self.superseded(&by)),
                        Sight::Waiting | Sight::Moving(_) | Sight::Held(..) => self.show(sight),
                    }
                    self.ask_for_the_leader().await;
                }
                Ok(None) => {
                    return Err(Failure::error(format!(
                        "site {}: the Site was deleted while it was being {}",
                        self.site, self.words.done
                    ))
                    .next("what was reached shows kubectl failover status"));
                }
                // Whatever it is: the order stands, and an API server that starts refuses what it allows a moment later.
                Err(error) => self.does_not_answer(&error),
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
            self.progress.now(&format!(
                "site {}: listing every object to verify",
                self.site
            ));
            let verified = match verify(&self.session.cluster, self.role, &overrides).await {
                Ok(verified) => {
                    self.answers();
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
                    self.does_not_answer(&error);
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
                self.progress
                    .now(&format!("site {}: {}", self.site, verified.left_over()));
            }
            tokio::time::sleep(VERIFY_EVERY).await;
        }
    }

    fn show(&mut self, sight: Sight) {
        match &sight {
            Sight::Moving(what) => {
                self.progress.now(&format!("site {}: {what}", self.site));
            }
            Sight::Held(step, blocked) if self.sight != sight => {
                let mut text = format!("site {}: held at step {}", self.site, step.as_str());
                for line in blocked.iter().map(line) {
                    text.push_str("\n  ");
                    text.push_str(&line);
                }
                self.progress.warn(&text);
            }
            Sight::Waiting if !self.leaderless => {
                self.progress.now(&format!(
                    "site {}: waiting for the controller to begin",
                    self.site
                ));
            }
            _ => {}
        }
        self.sight = sight;
    }

    async fn ask_for_the_leader(&mut self) {
        let now = Instant::now();
        if now < self.lease_due {
            return;
        }
        self.lease_due = now + LEASE_EVERY;
        // Without the right to read it, or without an answer, nothing can be said.
        let Ok(lease) = self.session.cluster.leadership().await else {
            return;
        };
        let leaderless = self.silence.observe(lease.as_ref(), Instant::now());
        if leaderless && !self.leaderless {
            self.progress.warn(&format!(
                "no controller leads: the order stands, and is carried out as soon as one does\n  {LOOK_AT_CONTROLLER}"
            ));
        } else if self.leaderless && !leaderless {
            self.progress.tell(Tone::Plain, "a controller leads again");
        }
        self.leaderless = leaderless;
    }

    fn does_not_answer(&mut self, error: &ApiError) {
        if self.unanswered.is_none() {
            self.progress.warn(&format!("{error}; trying again"));
            self.unanswered = Some((Instant::now(), error.to_string()));
        }
    }

    fn answers(&mut self) {
        if self.unanswered.take().is_some() {
            self.progress
                .tell(Tone::Plain, "the API server answers again");
        }
    }

    fn superseded(&self, by: &str) -> Failure {
        Failure::error(format!(
            "site {} was not {}: {by} has taken the place of this order",
            self.site, self.words.done
        ))
        .next("see kubectl failover status, and talk to whoever gave it")
    }

    /// Not carried out within the time given. Which of the many ways it is, decides what to do about it.
    fn out_of_time(&self) -> Failure {
        let (site, noun) = (&self.site, self.words.noun);
        let after = format!(
            "after {}",
            crate::output::age::took(self.timeout.try_into().unwrap_or_default())
        );
        if let Some((_, error)) = &self.unanswered {
            return Failure::timed_out(format!(
                "{error}; {after} it is not known whether the {noun} of site {site} is carried out: the order is stored, and goes on where the cluster does"
            ))
            .next("look with kubectl failover status as soon as the API server answers");
        }
        if let Sight::Held(step, blocked) = &self.sight {
            let lines = blocked.iter().map(line);
            // Before the first label is written nothing has changed.
            return if *step == StepName::Guards {
                Failure::timed_out(format!("the {noun} of site {site} is ordered, but guards hold it {after}; nothing has moved"))
            } else {
                Failure::partial(format!("the {noun} of site {site} is not complete {after}: it is held at step {}", step.as_str()))
            }
            .details(lines)
            .next(format!(
                "put it right and it goes on by itself, or run kubectl failover {} again with --override ID --reason TEXT",
                self.words.command
            ));
        }
        if self.leaderless {
            return Failure::timed_out(format!(
                "the {noun} of site {site} is ordered, but no controller leads {after}: it is carried out as soon as one does"
            ))
            .next(LOOK_AT_CONTROLLER);
        }
        let at = match &self.sight {
            Sight::Moving(what) => format!("it has come to {what}"),
            _ => "the controller has not begun".to_owned(),
        };
        Failure::timed_out(format!(
            "the {noun} of site {site} is not done {after} and goes on: {at}"
        ))
        .next("follow it with kubectl failover status")
    }

    fn unverified(&self, verified: &Verified) -> Failure {
        Failure::partial(format!(
            "site {} is {} as far as the controller goes, but that does not hold for everything: {}",
            self.site,
            self.words.done,
            verified.left_over()
        ))
        .details(verified.details())
        .next("see kubectl failover status; the controller goes on trying")
    }
}

const LOOK_AT_CONTROLLER: &str =
    "see why: kubectl -n failover-system get pods -l app.kubernetes.io/component=controller";
