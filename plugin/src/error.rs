//! What went wrong, as it is reported to the user: what, where, why, and what to do next.

use std::fmt;

use failover_core::guards::Hold;

use crate::exit_code::ExitCode;

/// The end of a command that did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: ExitCode,
    /// One sentence without a full stop.
    pub message: String,
    /// Further lines, such as the objects in question.
    pub details: Vec<String>,
    /// What to do about it.
    pub next: Option<String>,
    /// The guards that hold.
    pub holds: Vec<Hold>,
    /// The command has printed its own document: with another there would be two on stdout.
    pub has_document: bool,
}

impl Failure {
    fn new(exit: ExitCode, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            details: Vec::new(),
            next: None,
            holds: Vec::new(),
            has_document: false,
        }
    }

    /// After the command has printed its own document, which says what is missing.
    #[must_use]
    pub fn after_document(self) -> Self {
        Self {
            has_document: true,
            ..self
        }
    }

    pub fn error(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Error, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, message)
    }

    /// Nothing was changed.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Refused, message)
    }

    /// Guards hold; nothing was changed.
    pub fn held(what: impl fmt::Display, holds: Vec<Hold>) -> Self {
        Self {
            holds,
            ..Self::new(
                ExitCode::Refused,
                format!("{what} is refused, and nothing was changed"),
            )
        }
    }

    pub fn timed_out(message: impl Into<String>) -> Self {
        Self::new(ExitCode::TimedOut, message)
    }

    pub fn partial(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Partial, message)
    }

    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Interrupted, message)
    }

    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    #[must_use]
    pub fn details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for hold in &self.holds {
            write!(f, "\n  guard {}", hold.guard)?;
            if let Some(object) = &hold.object {
                write!(f, " ({object})")?;
            }
            write!(f, ": {}\n    {}", hold.message, hold.hint)?;
        }
        for detail in &self.details {
            write!(f, "\n  {detail}")?;
        }
        if let Some(next) = &self.next {
            write!(f, "\n{next}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use failover_core::guards::GuardId;

    use super::*;

    #[test]
    fn a_refusal_names_guard_reason_and_way_out() {
        let hold = Hold {
            guard: GuardId::PeerUnknown,
            object: None,
            message: "no peer".into(),
            hint: "look first".into(),
        };
        let failure = Failure::held("promotion of site east", vec![hold]);
        assert_eq!(failure.exit, ExitCode::Refused);
        assert_eq!(
            failure.to_string(),
            "promotion of site east is refused, and nothing was changed\n  guard peer-unknown: no peer\n    look first"
        );
    }

    #[test]
    fn details_and_what_to_do_follow_the_message() {
        let failure = Failure::partial("half done")
            .details(["shop/deployments/web".to_owned()])
            .next("run it again");
        assert_eq!(
            failure.to_string(),
            "half done\n  shop/deployments/web\nrun it again"
        );
    }
}
