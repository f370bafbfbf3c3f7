//! What the process ends with. The same for every output format, so that a script never has to read prose.

/// Exit codes. Documented in `kubectl failover promote --help`; never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Done, or there was nothing to do.
    Done,
    /// An error; whether anything was changed is said in the message.
    Error,
    /// The command line is wrong, or a question could not be asked.
    Usage,
    /// Refused by a guard: nothing was changed.
    Refused,
    /// The request is still being carried out, but not within the time given.
    TimedOut,
    /// Some of it happened, and the rest will not by itself.
    Partial,
    /// The two sites contradict each other.
    SitesConflict,
    /// Interrupted by the user.
    Interrupted,
}

impl ExitCode {
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Error,
        Self::Usage,
        Self::Refused,
        Self::TimedOut,
        Self::Partial,
        Self::SitesConflict,
        Self::Interrupted,
    ];

    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::TimedOut => 4,
            Self::Partial => 5,
            Self::SitesConflict => 6,
            // 128 + SIGINT, as shells report it.
            Self::Interrupted => 130,
        }
    }

    /// How a document names the outcome.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Done => "Done",
            Self::Error => "Error",
            Self::Usage => "Usage",
            Self::Refused => "Refused",
            Self::TimedOut => "TimedOut",
            Self::Partial => "Partial",
            Self::SitesConflict => "SitesConflict",
            Self::Interrupted => "Interrupted",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_are_documented() {
        let codes = ExitCode::ALL.map(|code| (code.reason(), code.code()));
        assert_eq!(
            codes,
            [
                ("Done", 0),
                ("Error", 1),
                ("Usage", 2),
                ("Refused", 3),
                ("TimedOut", 4),
                ("Partial", 5),
                ("SitesConflict", 6),
                ("Interrupted", 130),
            ]
        );
    }

    #[test]
    fn the_help_of_promote_lists_every_code() {
        for code in ExitCode::ALL {
            let line = format!("{:>5}  ", code.code());
            assert!(
                crate::cli::EXIT_CODES.contains(&line),
                "{code:?} is missing"
            );
        }
    }
}
