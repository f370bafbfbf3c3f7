//! Polls the Site, even while the API server is unavailable, and shows its running transition.
//!
//! The Site is polled and not watched: a dead watch cannot be distinguished from a transition without progress, and four
//! reads a second cost the API server nothing.

use std::time::Duration;

use failover_core::api::{HistoryEntry, Site, Transition};
use tokio::time::Instant;

use crate::cluster::{ApiError, Silence};
use crate::output::Tone;
use crate::session::Session;
use crate::transition_view::Show;

/// How often the Site is read.
pub const EVERY: Duration = Duration::from_millis(250);
/// How often the controller's Lease is read.
const LEASE_EVERY: Duration = Duration::from_secs(2);

pub const LOOK_AT_CONTROLLER: &str = "see why: kubectl -n failover-system get pods -l app.kubernetes.io/component=controller; if no controller can run, repeat the command with --break-glass";

/// The Site that is polled.
#[derive(Debug)]
pub struct Watch<'a> {
    session: &'a Session<'a>,
    show: Show<'a>,
    /// The error while the API server does not answer.
    unanswered: Option<String>,
    silence: Silence,
    lease_due: Instant,
    leaderless: bool,
}

/// The result of one read.
#[derive(Debug)]
pub enum Polled {
    Site(Box<Site>),
    /// The Site was deleted.
    Gone,
    /// The API server did not answer, or refused.
    NoAnswer,
}

impl<'a> Watch<'a> {
    pub fn new(session: &'a Session<'a>) -> Self {
        Self {
            session,
            show: Show::new(session.screen),
            unanswered: None,
            silence: Silence::default(),
            lease_due: Instant::now(),
            leaderless: false,
        }
    }

    /// Reads the Site once. Every error is retried: the request is stored, and an API server that starts refuses requests
    /// that it allows a moment later.
    pub async fn look(&mut self) -> Polled {
        match self.session.cluster.site().await {
            Ok(Some(site)) => {
                self.answers();
                self.check_leader().await;
                Polled::Site(Box::new(site))
            }
            Ok(None) => Polled::Gone,
            Err(error) => {
                self.does_not_answer(&error);
                Polled::NoAnswer
            }
        }
    }

    /// Shows the state of the transition.
    pub fn show(&mut self, site: &Site) {
        self.show.update(site, jiff::Timestamp::now());
    }

    /// Shows how it ended.
    pub fn ended(&mut self, site: &Site, entry: &HistoryEntry) {
        self.show.ended(site, entry);
    }

    /// Shows what the command does while there is no transition.
    pub fn now(&self, text: &str) {
        self.show.now(text);
    }

    /// The transition as last observed.
    pub fn last(&self) -> Option<&Transition> {
        self.show.last()
    }

    pub fn unanswered(&self) -> Option<&str> {
        self.unanswered.as_deref()
    }

    pub fn is_leaderless(&self) -> bool {
        self.leaderless
    }

    pub fn does_not_answer(&mut self, error: &ApiError) {
        if self.unanswered.is_none() {
            self.show.warn(&format!("{error}; trying again"));
            self.unanswered = Some(error.to_string());
        }
    }

    pub fn answers(&mut self) {
        if self.unanswered.take().is_some() {
            self.show
                .report(Tone::Plain, "the API server answers again");
        }
    }

    async fn check_leader(&mut self) {
        let now = Instant::now();
        if now < self.lease_due {
            return;
        }
        self.lease_due = now + LEASE_EVERY;
        // Whether a controller leads is unknown if the Lease cannot be read.
        let Ok(lease) = self.session.cluster.leadership().await else {
            return;
        };
        let leaderless = self.silence.observe(lease.as_ref(), Instant::now());
        if leaderless && !self.leaderless {
            self.show.warn(&format!(
                "no controller leads: the request is stored, and a controller carries it out as soon as it leads\n  {LOOK_AT_CONTROLLER}"
            ));
        } else if self.leaderless && !leaderless {
            self.show.report(Tone::Plain, "a controller leads again");
        }
        self.leaderless = leaderless;
    }
}
