//! An error with everything behind it, in one line.

use std::error::Error;

/// `outer: cause: cause of the cause`, each told once: kube and hyper quote their sources in their own text.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let quoted = cause.to_string();
        if !text.contains(&quoted) {
            text.push_str(": ");
            text.push_str(&quoted);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn a_cause_that_is_quoted_already_is_not_repeated() {
        let inner = Layer {
            text: "os error 111",
            source: None,
        };
        let quoted = Layer {
            text: "refused",
            source: Some(Box::new(inner)),
        };
        let outer = Layer {
            text: "cannot renew: refused",
            source: Some(Box::new(quoted)),
        };
        assert_eq!(causes(&outer), "cannot renew: refused: os error 111");
    }
}
