//! Durations as kubectl takes them: `90s`, `5m`, `1h30m`, and a bare number for seconds.

use std::time::Duration;

pub fn parse(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
    seconds
        .or_else(|| Duration::try_from(text.parse::<jiff::SignedDuration>().ok()?).ok())
        .ok_or_else(|| "use a duration such as 90s, 5m or 1h30m".to_owned())
}

/// A duration that must not be zero.
pub fn parse_positive(text: &str) -> Result<Duration, String> {
    parse(text).and_then(|duration| {
        if duration.is_zero() {
            Err("it must be more than zero; to return at once, pass --wait=false".to_owned())
        } else {
            Ok(duration)
        }
    })
}

/// A length of time that must not be zero.
pub fn parse_some(text: &str) -> Result<Duration, String> {
    parse(text).and_then(|duration| {
        if duration.is_zero() {
            Err("it must be more than zero".to_owned())
        } else {
            Ok(duration)
        }
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("30", Some(30_000))]
    #[case("90s", Some(90_000))]
    #[case("5m", Some(300_000))]
    #[case("1h30m", Some(5_400_000))]
    #[case("500ms", Some(500))]
    #[case("0", Some(0))]
    #[case("-5s", None)]
    #[case("soon", None)]
    #[case("", None)]
    fn durations_are_read_as_kubectl_reads_them(
        #[case] text: &str,
        #[case] milliseconds: Option<u64>,
    ) {
        assert_eq!(parse(text).ok(), milliseconds.map(Duration::from_millis));
    }

    #[test]
    fn waiting_for_no_time_is_not_waiting() {
        assert!(parse_positive("0s").is_err());
        assert!(parse_positive("1s").is_ok());
    }
}
