//! Asking before something happens. The answer is No unless it is plainly yes.

use std::io::BufRead as _;

use crate::error::Failure;
use crate::output::Screen;

/// Whether a question is asked at all, decided before anything else is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// `--yes`: given in advance.
    Given,
    Ask,
}

impl Consent {
    /// Without a terminal nobody can answer, and waiting for input would hang a script: that is an error at once.
    pub fn of(yes: bool, interactive: bool, command: &str) -> Result<Self, Failure> {
        match (yes, interactive) {
            (true, _) => Ok(Self::Given),
            (false, true) => Ok(Self::Ask),
            (false, false) => Err(unanswerable(command)),
        }
    }

    /// `false`: declined.
    pub async fn obtain(self, screen: &Screen, question: &str) -> Result<bool, Failure> {
        if self == Self::Given {
            return Ok(true);
        }
        screen.ask(&format!("{question} [y/N] "));
        // The thread stays behind in `read` when Ctrl-C ends the question; the process ends soon after.
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let line = line
            .await
            .map_err(|error| Failure::error(format!("cannot read the answer: {error}")))?
            .map_err(|error| Failure::error(format!("cannot read the answer: {error}")))?;
        if !line.ends_with('\n') {
            screen.note(""); // the terminal is still on the line of the question
        }
        Ok(is_yes(&line))
    }
}

/// The refusal to go on without an answer.
pub fn unanswerable(command: &str) -> Failure {
    Failure::usage(format!(
        "{command} asks before it changes anything, and there is no terminal to ask on"
    ))
    .next(format!(
        "to skip this question: kubectl failover {command} --yes"
    ))
}

/// The answer was No.
pub fn declined() -> Failure {
    Failure::error("declined: nothing was changed")
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::exit_code::ExitCode;

    #[rstest]
    #[case("y\n", true)]
    #[case(" YES \n", true)]
    #[case("\n", false)]
    #[case("", false)]
    #[case("n\n", false)]
    #[case("yep\n", false)]
    #[case("j\n", false)]
    fn only_yes_is_yes(#[case] answer: &str, #[case] yes: bool) {
        assert_eq!(is_yes(answer), yes);
    }

    #[test]
    fn without_a_terminal_and_without_yes_it_ends_at_once() {
        let failure = Consent::of(false, false, "demote").unwrap_err();
        assert_eq!(failure.exit, ExitCode::Usage);
        assert!(
            failure
                .to_string()
                .contains("kubectl failover demote --yes")
        );
        assert_eq!(Consent::of(true, false, "demote"), Ok(Consent::Given));
        assert_eq!(Consent::of(false, true, "demote"), Ok(Consent::Ask));
    }
}
