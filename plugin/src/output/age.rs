//! Spans of time, short enough for a column.

use jiff::{SignedDuration, Timestamp};

/// How long ago, as kubectl has it: `45s`, `12m`, `5h`, `3d`. A time in the future counts as now: clocks differ.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How far ahead something is: `in 45s`, `in 2h`; `now` once it is past.
pub fn ahead(then: Timestamp, now: Timestamp) -> String {
    if then <= now {
        return "now".to_owned();
    }
    format!("in {}", ago(now, then))
}

/// How long something took: `0.8s`, `20s`, `2m5s`.
pub fn took(duration: SignedDuration) -> String {
    let duration = duration.max(SignedDuration::ZERO);
    let seconds = duration.as_secs();
    if seconds < 60 {
        let tenths = format!("{:.1}", duration.as_secs_f64());
        format!("{}s", tenths.strip_suffix(".0").unwrap_or(&tenths))
    } else if seconds < 3_600 {
        whole(seconds / 60, 'm', seconds % 60, 's')
    } else {
        whole(seconds / 3_600, 'h', seconds % 3_600 / 60, 'm')
    }
}

fn whole(large: i64, large_unit: char, small: i64, small_unit: char) -> String {
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit}{small}{small_unit}")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(-5, "0s")]
    #[case(45, "45s")]
    #[case(119, "119s")]
    #[case(120, "2m")]
    #[case(7_200, "2h")]
    #[case(172_800, "2d")]
    fn ages_are_short(#[case] seconds: i64, #[case] text: &str) {
        let then = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(ago(then, then + SignedDuration::from_secs(seconds)), text);
    }

    #[rstest]
    #[case(-5, "now")]
    #[case(90, "in 90s")]
    #[case(7_200, "in 2h")]
    fn what_is_ahead_is_short(#[case] seconds: i64, #[case] text: &str) {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(ahead(now + SignedDuration::from_secs(seconds), now), text);
    }

    #[rstest]
    #[case(-1, "0s")]
    #[case(20_000, "20s")]
    #[case(1_840, "1.8s")]
    #[case(120_000, "2m")]
    #[case(125_000, "2m5s")]
    #[case(3_720_000, "1h2m")]
    fn durations_are_short(#[case] milliseconds: i64, #[case] text: &str) {
        assert_eq!(took(SignedDuration::from_millis(milliseconds)), text);
    }
}
