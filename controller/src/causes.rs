//! An error with everything behind it, in one line.

use std::error::Error;

/// `outer: cause: cause of the cause`. A cause that the text before it quotes already is not repeated: kube and hyper do
/// both.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let quoted = error.to_string();
        if !text.contains(&quoted) {
            text.push_str(": ");
            text.push_str(&quoted);
        }
        cause = error.source();
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
    fn every_cause_is_told_once() {
        let layer = |text, source: Option<Layer>| Layer {
            text,
            source: source.map(Box::new),
        };
        let error = layer(
            "cannot write",
            Some(layer(
                "client error: refused",
                Some(layer("refused", Some(layer("os error 111", None)))),
            )),
        );
        assert_eq!(
            causes(&error),
            "cannot write: client error: refused: os error 111"
        );
    }
}
