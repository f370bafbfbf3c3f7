//! Where a transition is shown: redrawn in place on a terminal, plain lines appended where there is none.

use failover_core::api::{HistoryEntry, Outcome, Site, Transition};
use jiff::Timestamp;

use super::concluded;
use super::log_lines::LogLines;
use super::table::of_site;
use crate::output::progress::Progress;
use crate::output::words::words;
use crate::output::{Screen, Tone, clean};

/// A transition on the screen, and things said in between.
#[derive(Debug)]
pub struct Show<'a> {
    progress: Progress<'a>,
    live: bool,
    news: LogLines,
    /// The transition as it was last seen.
    last: Option<Transition>,
}

impl<'a> Show<'a> {
    pub fn new(screen: &'a Screen) -> Self {
        Self {
            progress: Progress::new(screen),
            live: screen.terminal().live,
            news: LogLines::default(),
            last: None,
        }
    }

    /// Shows where the transition of this site stands. Without one, what stood there last stays.
    pub fn walk(&mut self, site: &Site, now: Timestamp) {
        let transition = site.status.as_ref().and_then(|s| s.transition.as_ref());
        if transition.is_some() {
            self.last = transition.cloned();
        }
        if self.live {
            let picture = of_site(site, now);
            if !picture.is_empty() {
                self.progress.draw(picture);
            }
            return;
        }
        for line in self.news.of(site, now) {
            self.progress.tell(line.tone, &line.text);
        }
    }

    /// Shows the transition as it ended, which may have been between two looks, and leaves it standing.
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
        self.walk(&site, entry.finished_at.0);
        self.leave();
    }

    /// The transition as it was last seen.
    pub fn last(&self) -> Option<&Transition> {
        self.last.as_ref()
    }

    /// What is drawn stays on the screen from here on, and what is said comes below it.
    pub fn leave(&mut self) {
        self.progress.leave();
    }

    pub fn now(&self, text: &str) {
        self.progress.now(text);
    }

    pub fn tell(&self, tone: Tone, text: &str) {
        self.progress.tell(tone, text);
    }

    pub fn warn(&self, text: &str) {
        self.progress.warn(text);
    }
}
