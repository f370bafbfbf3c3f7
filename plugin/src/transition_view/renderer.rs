//! Shows a transition: redrawn in place on a terminal, else as appended plain lines.

use failover_core::api::{HistoryEntry, Outcome, Site, Transition};
use jiff::Timestamp;

use super::concluded;
use super::log_lines::LogLines;
use super::table::of_site;
use crate::output::progress::Progress;
use crate::output::words::words;
use crate::output::{Screen, Tone, clean};

/// A transition on the screen, and the messages in between.
#[derive(Debug)]
pub struct Show<'a> {
    progress: Progress<'a>,
    live: bool,
    log: LogLines,
    /// The transition as last observed.
    last: Option<Transition>,
}

impl<'a> Show<'a> {
    pub fn new(screen: &'a Screen) -> Self {
        Self {
            progress: Progress::new(screen),
            live: screen.terminal().live,
            log: LogLines::default(),
            last: None,
        }
    }

    /// Shows the state of the site's transition. Without a transition, the last output stays.
    pub fn update(&mut self, site: &Site, now: Timestamp) {
        let transition = site.status.as_ref().and_then(|s| s.transition.as_ref());
        if transition.is_some() {
            self.last = transition.cloned();
        }
        if self.live {
            let transition_lines = of_site(site, now);
            if !transition_lines.is_empty() {
                self.progress.draw(transition_lines);
            }
            return;
        }
        for line in self.log.of(site, now) {
            self.progress.tell(line.tone, &line.text);
        }
    }

    /// Shows the end of the transition, which may have come between two reads, and keeps it on the screen.
    pub fn ended(&mut self, site: &Site, entry: &HistoryEntry) {
        if entry.outcome == Outcome::Superseded {
            self.last = None;
            self.leave();
            let text = format!(
                "site {}: the {} is superseded by a newer request",
                clean(&site.spec.site_name),
                words(entry.to).noun
            );
            self.progress.tell(Tone::Warning, &text);
            return;
        }
        let mut site = site.clone();
        site.spec.paused = None;
        let status = site.status.get_or_insert_default();
        status.transition = Some(concluded(self.last.take(), entry));
        self.update(&site, entry.finished_at.0);
        self.leave();
    }

    /// The transition as last observed.
    pub fn last(&self) -> Option<&Transition> {
        self.last.as_ref()
    }

    /// Keeps the drawn lines on the screen; later messages come below them.
    pub fn leave(&mut self) {
        self.progress.leave();
    }

    pub fn now(&self, text: &str) {
        self.progress.now(text);
    }

    pub fn report(&self, tone: Tone, text: &str) {
        self.progress.tell(tone, text);
    }

    pub fn warn(&self, text: &str) {
        self.progress.warn(text);
    }
}
