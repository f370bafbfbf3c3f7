//! Looking at the Site again and again, whatever goes away meanwhile, and showing the transition that is under way.
//!
//! The Site is asked rather than watched: a watch that has died looks like a transition that makes no progress, and an answer
//! every quarter of a second costs the API server nothing.

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

/// The Site being checked.
#[derive(Debug)]
pub struct Watch<'a> {
    session: &'a Session<'a>,
    show: Show<'a>,
    /// How the API server's silence was put, while it lasts.
    unanswered: Option<String>,
    silence: Silence,
    lease_due: Instant,
    leaderless: bool,
}

/// What one look saw.
#[derive(Debug)]
pub enum Polled {
    Site(Box<Site>),
    /// There is none any more.
    Gone,
    /// Nothing can be said.
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

    /// Looks once. Whatever the error is, it passes: an order stands, and an API server that starts refuses what it allows a
    /// moment later.
    pub async fn look(&mut self) -> Polled {
        match self.session.cluster.site().await {
            Ok(Some(site)) => {
                self.answers();
                self.ask_for_the_leader().await;
                Polled::Site(Box::new(site))
            }
            Ok(None) => Polled::Gone,
            Err(error) => {
                self.does_not_answer(&error);
                Polled::NoAnswer
            }
        }
    }

    /// Shows where the transition stands.
    pub fn show(&mut self, site: &Site) {
        self.show.walk(site, jiff::Timestamp::now());
    }

    /// Shows how it ended.
    pub fn ended(&mut self, site: &Site, entry: &HistoryEntry) {
        self.show.ended(site, entry);
    }

    /// What goes on, where there is no transition to show.
    pub fn now(&self, text: &str) {
        self.show.now(text);
    }

    /// The transition as it was last seen.
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
            self.show.tell(Tone::Plain, "the API server answers again");
        }
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
            self.show.warn(&format!(
                "no controller leads: the request is stored, and a controller carries it out as soon as it leads\n  {LOOK_AT_CONTROLLER}"
            ));
        } else if self.leaderless && !leaderless {
            self.show.tell(Tone::Plain, "a controller leads again");
        }
        self.leaderless = leaderless;
    }
}
