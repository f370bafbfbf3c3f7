//! Why a request to the API server failed, classified by what the caller can do.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Deserialize;

use crate::error_chain::causes;

/// An answer of the API server that is not the object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The object, its namespace or its kind is gone.
    #[error("not found")]
    NotFound,
    /// It changed since it was read.
    #[error("changed in the meantime")]
    Conflict,
    /// The token of a paged list is too old: the list must start again.
    #[error("the list expired while it was read")]
    Expired,
    /// The server asks to try again later.
    #[error("the API server is busy")]
    Busy { retry_after: Option<Duration> },
    /// This kind is not served now: an aggregated API, say, whose own server is unavailable.
    #[error("{0} (503)")]
    Unserved(String),
    /// The server refuses this for this object.
    #[error("{message} ({status})")]
    Refused { status: u16, message: String },
    /// The server is unavailable, or does not accept our credentials: nothing can be done at all.
    #[error("the API server does not answer: {0}")]
    Unavailable(String),
}

pub(super) fn classify(
    status: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
) -> ObjectError {
    match status {
        StatusCode::NOT_FOUND => ObjectError::NotFound,
        StatusCode::CONFLICT => ObjectError::Conflict,
        StatusCode::GONE => ObjectError::Expired,
        StatusCode::TOO_MANY_REQUESTS => ObjectError::Busy { retry_after },
        StatusCode::SERVICE_UNAVAILABLE if retry_after.is_some() => {
            ObjectError::Busy { retry_after }
        }
        StatusCode::SERVICE_UNAVAILABLE => ObjectError::Unserved(message(body)),
        StatusCode::UNAUTHORIZED | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            ObjectError::Unavailable(format!("{}: {}", status.as_u16(), message(body)))
        }
        _ => ObjectError::Refused {
            status: status.as_u16(),
            message: message(body),
        },
    }
}

/// The message of a `Status`, or the beginning of whatever a proxy said instead.
fn message(body: &[u8]) -> String {
    const LONGEST: usize = 300;
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let text = serde_json::from_slice(body).map_or_else(
        |_| String::from_utf8_lossy(body).trim().to_owned(),
        |status: Status| status.message,
    );
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

pub(super) fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

pub(super) fn unavailable(error: &(dyn std::error::Error + 'static)) -> ObjectError {
    ObjectError::Unavailable(causes(error))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SECOND: Option<Duration> = Some(Duration::from_secs(1));

    #[rstest]
    #[case(404, None, ObjectError::NotFound)]
    #[case(409, None, ObjectError::Conflict)]
    #[case(410, None, ObjectError::Expired)]
    #[case(429, SECOND, ObjectError::Busy { retry_after: SECOND })]
    #[case(503, SECOND, ObjectError::Busy { retry_after: SECOND })]
    #[case(503, None, ObjectError::Unserved("no".into()))]
    #[case(401, None, ObjectError::Unavailable("401: no".into()))]
    #[case(403, None, ObjectError::Refused { status: 403, message: "no".into() })]
    #[case(422, None, ObjectError::Refused { status: 422, message: "no".into() })]
    #[case(500, None, ObjectError::Refused { status: 500, message: "no".into() })]
    fn answers_are_distinguished(
        #[case] status: u16,
        #[case] retry_after: Option<Duration>,
        #[case] expected: ObjectError,
    ) {
        let body = br#"{"kind":"Status","message":"no"}"#;
        assert_eq!(
            classify(StatusCode::from_u16(status).unwrap(), retry_after, body),
            expected
        );
    }

    #[test]
    fn the_message_of_a_proxy_is_quoted_but_shortened() {
        assert_eq!(
            message(b"<html>bad gateway</html>\n"),
            "<html>bad gateway</html>"
        );
        assert_eq!(message("ä".repeat(1000).as_bytes()).chars().count(), 303);
    }
}
