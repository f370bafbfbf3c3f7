//! The one place that writes to the two streams: data to stdout, everything said about it to stderr.
//!
//! A reader that goes away (`kubectl failover status | head -1`) is no error: from then on nothing is written, and the
//! command goes on and ends with its own exit code, because a promotion does not stop for a closed pipe.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};

use super::sanitise::for_terminal;

/// What stdout and stderr are connected to. Read once from the environment, then passed on as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts, not states"
)]
pub struct Terminal {
    /// A person can be asked: stdin and stderr are a terminal.
    pub interactive: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// A line on stderr can be overwritten.
    pub live: bool,
    /// Colours may be used where there is a terminal.
    pub colour: bool,
    pub utf8: bool,
}

impl Terminal {
    pub fn detect() -> Self {
        Self::of(
            |name| std::env::var(name).ok(),
            io::stdin().is_terminal(),
            io::stdout().is_terminal(),
            io::stderr().is_terminal(),
        )
    }

    fn of(env: impl Fn(&str) -> Option<String>, stdin: bool, stdout: bool, stderr: bool) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        let colour = !dumb && set("NO_COLOR").is_none();
        // As the C library does it: the first of these that is set decides. None set is the C locale; but a Windows
        // terminal has none of them, and takes UTF-8 from us.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let utf8 = match locale {
            Some(locale) => {
                let locale = locale.to_ascii_lowercase();
                locale.contains("utf-8") || locale.contains("utf8")
            }
            None => cfg!(windows),
        };
        Self {
            interactive: stdin && stderr,
            stdout,
            stderr,
            live: stderr && !dumb,
            colour,
            utf8,
        }
    }
}

impl Terminal {
    /// A line as it is written onto stderr.
    pub fn on_stderr(self, tone: Tone, text: &str) -> String {
        self.coloured(tone, text, self.stderr)
    }

    fn coloured(self, tone: Tone, text: &str, to_terminal: bool) -> String {
        // A file or another program gets UTF-8 whatever the locale says; only a terminal cannot show it.
        let text = for_terminal(text, self.utf8 || !to_terminal);
        match tone.sequence().filter(|_| self.colour && to_terminal) {
            Some(sequence) => format!("{sequence}{text}\u{1b}[0m"),
            None => text.into_owned(),
        }
    }
}

/// How a whole line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

impl Tone {
    fn sequence(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("\u{1b}[32m"),
            Self::Warning => Some("\u{1b}[33m"),
            Self::Bad => Some("\u{1b}[31m"),
        }
    }
}

/// Both streams.
pub struct Screen {
    terminal: Terminal,
    out: Stream,
    err: Stream,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Screen({:?})", self.terminal)
    }
}

impl Screen {
    /// The process's own streams.
    pub fn standard(terminal: Terminal) -> Self {
        Self::to(terminal, io::stdout(), io::stderr())
    }

    pub fn to(
        terminal: Terminal,
        out: impl Write + Send + 'static,
        err: impl Write + Send + 'static,
    ) -> Self {
        Self {
            terminal,
            out: Stream::new(out),
            err: Stream::new(err),
        }
    }

    pub fn terminal(&self) -> Terminal {
        self.terminal
    }

    /// A line, or several, of data.
    pub fn data(&self, text: &str) {
        self.say(Tone::Plain, text);
    }

    /// Data of a tone.
    pub fn say(&self, tone: Tone, text: &str) {
        self.out
            .lines(text, tone, self.terminal, self.terminal.stdout);
    }

    /// Data as it is, byte for byte: documents that are escaped already.
    pub fn raw(&self, text: &str) {
        self.out.write(text);
    }

    /// Something said about the data.
    pub fn note(&self, text: &str) {
        self.tell(Tone::Plain, text);
    }

    pub fn warn(&self, text: &str) {
        self.tell(Tone::Warning, &format!("warning: {text}"));
    }

    pub fn tell(&self, tone: Tone, text: &str) {
        self.err
            .lines(text, tone, self.terminal, self.terminal.stderr);
    }

    /// The beginning of a line, for a question.
    pub fn ask(&self, text: &str) {
        self.err.write(&for_terminal(text, self.terminal.utf8));
    }
}

struct Stream {
    /// `None` once the reader is gone.
    writer: Mutex<Option<Box<dyn Write + Send>>>,
}

impl Stream {
    fn new(writer: impl Write + Send + 'static) -> Self {
        Self {
            writer: Mutex::new(Some(Box::new(writer))),
        }
    }

    fn lines(&self, text: &str, tone: Tone, terminal: Terminal, to_terminal: bool) {
        self.write(&format!("{}\n", terminal.coloured(tone, text, to_terminal)));
    }

    fn write(&self, text: &str) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = writer.as_mut() {
            let written = stream
                .write_all(text.as_bytes())
                .and_then(|()| stream.flush());
            // Nothing can be reported over this stream any more.
            if written.is_err() {
                *writer = None;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use rstest::rstest;

    use super::*;

    /// A screen whose output can be read back.
    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(crate) const PIPE: Terminal = Terminal {
        interactive: false,
        stdout: false,
        stderr: false,
        live: false,
        colour: true,
        utf8: true,
    };

    /// A screen, what went to stdout and what to stderr.
    pub(crate) fn captured(terminal: Terminal) -> (Screen, Captured, Captured) {
        let (out, err) = (Captured::default(), Captured::default());
        (Screen::to(terminal, out.clone(), err.clone()), out, err)
    }

    #[rstest]
    #[case::plain(&[("LANG", "de_DE.UTF-8"), ("TERM", "xterm")], true, true, true)]
    #[case::no_color(&[("LANG", "C.utf8"), ("NO_COLOR", "1")], true, false, true)]
    #[case::empty_no_color_is_unset(&[("LANG", "C.UTF-8"), ("NO_COLOR", "")], true, true, true)]
    #[case::dumb(&[("LANG", "C.UTF-8"), ("TERM", "dumb")], false, false, true)]
    #[case::lc_all_wins(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")], true, true, false)]
    #[case::latin_1(&[("LC_CTYPE", "de_DE.ISO-8859-1")], true, true, false)]
    fn a_terminal_is_what_the_environment_says(
        #[case] env: &[(&str, &str)],
        #[case] live: bool,
        #[case] colour: bool,
        #[case] utf8: bool,
    ) {
        let env: HashMap<_, _> = env.iter().copied().collect();
        let get = |name: &str| env.get(name).map(|value| (*value).to_owned());
        let terminal = Terminal::of(get, true, true, true);
        assert_eq!(
            (terminal.live, terminal.colour, terminal.utf8),
            (live, colour, utf8)
        );
        let piped = Terminal::of(get, false, false, false);
        assert!(!piped.interactive && !piped.live && !piped.stdout && !piped.stderr);
    }

    #[test]
    fn data_and_talk_go_to_different_streams_and_neither_carries_escapes_of_the_cluster() {
        let (screen, out, err) = captured(PIPE);
        screen.data("web\u{1b}[31m");
        screen.warn("careful");
        assert_eq!(out.text(), "web\\u{1b}[31m\n");
        assert_eq!(err.text(), "warning: careful\n");
    }

    #[test]
    fn colour_is_ours_alone() {
        let (screen, _, err) = captured(Terminal {
            stderr: true,
            ..PIPE
        });
        screen.tell(Tone::Bad, "a\u{1b}[0m");
        assert_eq!(err.text(), "\u{1b}[31ma\\u{1b}[0m\u{1b}[0m\n");
    }

    #[test]
    fn only_a_terminal_that_cannot_show_it_is_spared_utf8() {
        let latin = Terminal {
            stdout: true,
            colour: false,
            utf8: false,
            ..PIPE
        };
        let (screen, out, err) = captured(latin);
        screen.data("ä");
        screen.note("ä");
        assert_eq!((out.text(), err.text()), ("\\u{e4}\n".into(), "ä\n".into()));
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_left_in_peace() {
        let screen = Screen::to(PIPE, Broken, Broken);
        screen.data("one");
        screen.data("two");
        assert!(screen.out.writer.lock().unwrap().is_none());
    }
}
