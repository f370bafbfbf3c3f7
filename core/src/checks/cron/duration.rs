//! Durations as Go writes them, such as `1h30m` or `1.5h`.

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

/// The duration in nanoseconds.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, text) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if text == "0" {
        return Some(0);
    }
    let (mut sum, mut rest) = (0_i128, text);
    while !rest.is_empty() || text.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let (_, unit) = UNITS.iter().find(|(unit, _)| *unit == name)?;
        sum += parse(whole)?.checked_mul(i128::from(*unit))?;
        sum += parse(&format!("{fraction:0<18.18}"))? * i128::from(*unit) / 10_i128.pow(18);
        rest = after;
    }
    i64::try_from(if negative { -sum } else { sum }).ok()
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn parse(digits: &str) -> Option<i128> {
    if digits.is_empty() {
        return Some(0);
    }
    digits.parse::<u64>().ok().map(i128::from)
}
