//! The five fields of a schedule as sets of bits.

/// Set where a field is not restricted.
const STAR: u64 = 1 << 63;

/// Minutes, hours, days of the month, months and days of the week (from Sunday, 0); all at second 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub(super) minute: u64,
    pub(super) hour: u64,
    day: u64,
    pub(super) month: u64,
    weekday: u64,
}

#[derive(Clone, Copy)]
struct Bounds {
    min: u64,
    max: u64,
    /// The names of the values from `min` on.
    names: &'static [&'static str],
}

const fn bounds(min: u64, max: u64, names: &'static [&'static str]) -> Bounds {
    Bounds { min, max, names }
}

const MINUTES: Bounds = bounds(0, 59, &[]);
const HOURS: Bounds = bounds(0, 23, &[]);
const DAYS: Bounds = bounds(1, 31, &[]);
const MONTHS: Bounds = bounds(
    1,
    12,
    &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
);
const WEEKDAYS: Bounds = bounds(0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]);

impl Fields {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return None;
        };
        Some(Self {
            minute: field(minute, MINUTES)?,
            hour: field(hour, HOURS)?,
            day: field(day, DAYS)?,
            month: field(month, MONTHS)?,
            weekday: field(weekday, WEEKDAYS)?,
        })
    }

    /// If both are restricted, either is enough.
    pub(super) fn has_day(&self, day: i8, weekday: i8) -> bool {
        let (by_day, by_weekday) = (has(self.day, day), has(self.weekday, weekday));
        if (self.day | self.weekday) & STAR == 0 {
            by_day || by_weekday
        } else {
            by_day && by_weekday
        }
    }
}

pub(super) fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits & (1 << value) != 0)
}

/// A list of ranges. Empty items are ignored, and a whole list may be empty.
fn field(text: &str, bounds: Bounds) -> Option<u64> {
    text.split(',')
        .filter(|item| !item.is_empty())
        .try_fold(0, |bits, item| Some(bits | range(item, bounds)?))
}

/// `*`, `?`, `N`, `N-M`, each with an optional step: `*/S`, `N/S` (from N on), `N-M/S`.
fn range(text: &str, bounds: Bounds) -> Option<u64> {
    let (values, step) = match text.split_once('/') {
        Some((values, step)) => (values, Some(number(step)?)),
        None => (text, None),
    };
    let mut ends = values.split('-');
    let first = ends.next()?;
    // What follows a star and a hyphen is not read.
    let (low, high, star) = if matches!(first, "*" | "?") {
        (bounds.min, bounds.max, true)
    } else {
        let low = value(first, bounds)?;
        let high = match (ends.next(), step) {
            (Some(high), _) => value(high, bounds)?,
            (None, Some(_)) => bounds.max,
            (None, None) => low,
        };
        if ends.next().is_some() {
            return None;
        }
        (low, high, false)
    };
    let step = step.unwrap_or(1);
    if low < bounds.min || high > bounds.max || low > high || step == 0 {
        return None;
    }
    let step_by = usize::try_from(step).unwrap_or(usize::MAX);
    let bits = (low..=high)
        .step_by(step_by)
        .fold(0, |bits, value| bits | 1 << value);
    Some(bits | if star && step == 1 { STAR } else { 0 })
}

fn value(text: &str, bounds: Bounds) -> Option<u64> {
    let named = |name: &&str| name.eq_ignore_ascii_case(text);
    match bounds.names.iter().position(named) {
        Some(position) => Some(bounds.min + u64::try_from(position).ok()?),
        None => number(text),
    }
}

fn number(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<i64>().ok()?).ok()
}
