//! How far it has come, on stderr: one line that is overwritten where there is a terminal, one plain line per change
//! where there is none.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Line;
use crate::output::sanitise::for_terminal;
use crate::output::{Screen, Tone};

/// Plain ASCII, so that every terminal can show the spinner.
const TICKS: &str = "|/-\\ ";
const TICK_EVERY: Duration = Duration::from_millis(120);

/// A line of progress, or several, and things said in between.
pub struct Progress<'a> {
    screen: &'a Screen,
    bar: Option<ProgressBar>,
    last: Mutex<String>,
    /// Lines that are drawn in the place of the one.
    drawn: Vec<Line>,
}

impl std::fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

impl<'a> Progress<'a> {
    pub fn new(screen: &'a Screen) -> Self {
        let terminal = screen.terminal().live.then(ProgressDrawTarget::stderr);
        Self::on(screen, terminal)
    }

    fn on(screen: &'a Screen, terminal: Option<ProgressDrawTarget>) -> Self {
        let bar = terminal.map(|terminal| {
            let bar = ProgressBar::with_draw_target(None, terminal);
            bar.set_style(one_line());
            bar
        });
        Self {
            screen,
            bar,
            last: Mutex::default(),
            drawn: Vec::new(),
        }
    }

    /// Draws these lines in the place of those that were drawn before. For where there is a terminal.
    pub fn draw(&mut self, lines: Vec<Line>) {
        let Some(bar) = &self.bar else { return };
        if self.drawn.is_empty() {
            bar.disable_steady_tick();
            bar.set_style(
                ProgressStyle::with_template("{msg}").expect("the template is a constant"),
            );
        }
        let lines_as_shown: Vec<String> = lines
            .iter()
            .map(|line| self.screen.terminal().on_stderr(line.tone, &line.text))
            .collect();
        bar.set_message(lines_as_shown.join("\n"));
        bar.tick();
        self.drawn = lines;
    }

    /// What is drawn stays where it is; what comes next comes below it.
    pub fn leave(&mut self) {
        let drawn = std::mem::take(&mut self.drawn);
        let Some(bar) = self.bar.as_ref().filter(|_| !drawn.is_empty()) else {
            return;
        };
        bar.set_message("");
        bar.suspend(|| {
            for line in &drawn {
                self.screen.tell(line.tone, &line.text);
            }
        });
        bar.set_style(one_line());
    }

    /// What is going on now. Said again, it is shown once.
    pub fn now(&self, text: &str) {
        {
            let mut last = self
                .last
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if *last == text {
                return;
            }
            text.clone_into(&mut last);
        }
        match &self.bar {
            Some(bar) => {
                bar.set_message(for_terminal(text, self.screen.terminal().utf8).into_owned());
                bar.enable_steady_tick(TICK_EVERY);
            }
            None => self.screen.note(text),
        }
    }

    /// What is going on now, where there is a line to show it on. For steps that the output lists anyway.
    pub fn detail(&self, text: &str) {
        if self.bar.is_some() {
            self.now(text);
        }
    }

    /// Something that stays on the screen, above the line of progress.
    pub fn tell(&self, tone: Tone, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.screen.tell(tone, text)),
            None => self.screen.tell(tone, text),
        }
    }

    pub fn warn(&self, text: &str) {
        self.tell(Tone::Warning, &format!("warning: {text}"));
    }
}

fn one_line() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
        .expect("the template is a constant")
        .tick_chars(TICKS)
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.leave();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use indicatif::{InMemoryTerm, TermLike as _};

    use super::*;
    use crate::output::screen::tests::{PIPE, captured};

    fn lines(texts: &[&str]) -> Vec<Line> {
        let line = |text: &&str| Line::new(Tone::Plain, *text);
        texts.iter().map(line).collect()
    }

    #[test]
    fn on_a_terminal_lines_are_drawn_in_the_place_of_those_before_and_at_last_left_standing() {
        let (screen, _, err) = captured(PIPE);
        let terminal = InMemoryTerm::new(20, 80);
        terminal.write_line("above").unwrap();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 200);
        let mut progress = Progress::on(&screen, Some(target));
        progress.now("waiting for the controller to begin");
        progress.draw(lines(&["demotion", "> guards", "- traffic"]));
        progress.draw(lines(&[
            "demotion",
            "+ guards",
            "! traffic",
            "  held by web",
        ]));
        assert_eq!(
            terminal.contents(),
            "above\ndemotion\n+ guards\n! traffic\n  held by web"
        );
        let done = lines(&["demotion", "+ guards", "+ traffic"]);
        progress.draw(done);
        assert_eq!(terminal.contents(), "above\ndemotion\n+ guards\n+ traffic");
        progress.leave();
        assert_eq!(
            terminal.contents(),
            "above",
            "what stays is no longer drawn"
        );
        assert_eq!(err.text(), "demotion\n+ guards\n+ traffic\n");
    }

    #[test]
    fn without_a_terminal_each_change_is_one_line_on_stderr() {
        let (screen, out, err) = captured(PIPE);
        let progress = Progress::new(&screen);
        progress.now("roles: 3 namespaces");
        progress.now("roles: 3 namespaces");
        progress.warn("slow");
        progress.now("sweep: 1 of 2 objects");
        drop(progress);
        assert_eq!(
            err.text(),
            "roles: 3 namespaces\nwarning: slow\nsweep: 1 of 2 objects\n"
        );
        assert_eq!(out.text(), "");
    }
}
