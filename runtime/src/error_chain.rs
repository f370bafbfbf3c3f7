//! An error with all its causes, in one line.

use std::error::Error;

/// `outer: cause: cause of the cause`. A cause that the text before it already quotes is not repeated: kube and hyper
/// quote theirs.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in chain(error).skip(1) {
        let quoted = cause.to_string();
        if !text.contains(&quoted) {
            text.push_str(": ");
            text.push_str(&quoted);
        }
    }
    text
}

/// The innermost cause: usually the one that helps a person.
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

/// The error and its causes, outermost first.
pub fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
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
    fn every_cause_is_reported_once() {
        let layer = |text, source: Option<Layer>| Layer {
            text,
            source: source.map(Box::new),
        };
        let inner = layer("refused", Some(layer("os error 111", None)));
        let error = layer(
            "cannot write",
            Some(layer("client error: refused", Some(inner))),
        );
        assert_eq!(
            causes(&error),
            "cannot write: client error: refused: os error 111"
        );
        assert_eq!(root_cause(&error), "os error 111");
    }
}
