//! Cron schedules as Kubernetes reads them: which run a CronJob would start at once.
//!
//! ```text
//!   schedule, timeZone ──parse──► Schedule ──next──► missed: the latest run that was due and did not start
//! ```
//!
//! A port of `github.com/robfig/cron/v3`, the library of the CronJob controller, and of the controller's own search,
//! with their peculiarities: two restricted day fields are joined by "or", a step over 1 is no star, and an irregular
//! schedule may hide missed runs. The end-to-end family `cron` compares it with the original. For display only: whether
//! a run starts never depends on it.
//!
//! One thing is unknown here: the local time zone of the controller manager, which applies to a schedule without a
//! zone. It is assumed to be UTC.

mod duration;
mod fields;
mod next;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use fields::Fields;

/// When a CronJob runs.
#[derive(Clone, Debug)]
pub struct Schedule {
    times: Times,
    zone: TimeZone,
}

#[derive(Clone, Copy, Debug)]
enum Times {
    Fields(Fields),
    /// Again after this many seconds.
    Every(i64),
}

impl Schedule {
    /// The schedule of a CronJob with this `schedule` and `timeZone`; `None` if Kubernetes does not accept it.
    pub fn parse(schedule: &str, time_zone: Option<&str>) -> Option<Self> {
        let of_field = time_zone.map(zone);
        if matches!(of_field, Some(None)) {
            return None;
        }
        // A zone within the schedule takes precedence.
        match of_field.flatten().filter(|_| !schedule.contains("TZ")) {
            Some(zone) => Self::of_times(schedule.trim(), zone),
            None => match prefixed(schedule) {
                Some((name, rest)) => Self::of_times(rest.trim(), zone(name)?),
                None if schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=") => None,
                None => Self::of_times(schedule, TimeZone::UTC),
            },
        }
    }

    fn of_times(text: &str, zone: TimeZone) -> Option<Self> {
        let times = match text.strip_prefix("@every ") {
            Some(interval) => Times::Every(interval_seconds(duration::nanoseconds(interval)?)),
            None => Times::Fields(Fields::parse(text)?),
        };
        Some(Self { times, zone })
    }

    /// The first run after this time; `None` if there is none within five years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let second = match self.times {
            Times::Every(seconds) => after.as_second().checked_add(seconds)?,
            Times::Fields(fields) => next::next(&fields, &self.zone, after.as_second() + 1)?,
        };
        Timestamp::from_second(second).ok()
    }

    /// The run that starts at once when a CronJob that last ran, or was created, at `last` is checked.
    pub fn missed(&self, last: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let first = self.next(last)?;
        if now < first {
            return None;
        }
        let Some(second) = self.next(first) else {
            // Kubernetes calls such a schedule invalid.
            return None;
        };
        if now < second {
            return Some(first);
        }
        let interval = second.duration_since(first).as_secs();
        if interval < 1 {
            return None;
        }
        // As many runs as fit at the first interval; if the schedule is irregular, the last of them may be anywhere.
        let fit = now.duration_since(first).as_secs() / interval + 1;
        let mut at = first
            .checked_add(SignedDuration::from_secs((fit - 2) * interval))
            .ok()?;
        let mut latest = None;
        while let Some(run) = self.next(at).filter(|run| *run <= now) {
            latest = Some(run);
            at = run;
        }
        latest
    }
}

/// Splits a schedule that begins with a time zone.
fn prefixed(schedule: &str) -> Option<(&str, &str)> {
    let rest = schedule
        .strip_prefix("TZ=")
        .or_else(|| schedule.strip_prefix("CRON_TZ="))?;
    rest.split_once(' ')
}

/// Names are case-sensitive, as in Go.
fn zone(name: &str) -> Option<TimeZone> {
    if matches!(name, "" | "UTC" | "Local") {
        return Some(TimeZone::UTC);
    }
    let zone = TimeZone::get(name).ok()?;
    (zone.iana_name() == Some(name)).then_some(zone)
}

fn interval_seconds(nanoseconds: i64) -> i64 {
    (nanoseconds / 1_000_000_000).max(1)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn next(schedule: &str, zone: Option<&str>, after: &str) -> Option<String> {
        let schedule = Schedule::parse(schedule, zone).expect("a schedule");
        let next = schedule.next(after.parse().unwrap());
        next.map(|run| run.to_string())
    }

    #[rstest]
    #[case::either_day_field("54 20 13 * MON", "2026-03-01T12:00:00Z", "2026-03-02T20:54:00Z")]
    #[case::a_step_is_no_star("54 20 */2 * MON", "2026-03-02T21:00:00Z", "2026-03-03T20:54:00Z")]
    #[case::a_step_of_one_is("54 20 */1 * MON", "2026-03-02T21:00:00Z", "2026-03-09T20:54:00Z")]
    #[case::time_skipped_by_daylight_saving(
        "30 2 * * *",
        "2026-03-28T12:00:00Z",
        "2026-03-30T00:30:00Z"
    )]
    fn robfig_has_its_own_grammar(
        #[case] schedule: &str,
        #[case] after: &str,
        #[case] expected: &str,
    ) {
        let zone = (schedule == "30 2 * * *").then_some("Europe/Berlin");
        assert_eq!(next(schedule, zone, after).as_deref(), Some(expected));
    }

    #[rstest]
    #[case::nothing("", None)]
    #[case::six_fields("0 * * * * *", None)]
    #[case::invalid_day("0 0 * * 7", None)]
    #[case::backwards("0 0 * * FRI-SUN", None)]
    #[case::space_before_a_macro(" @daily", None)]
    #[case::no_schedule("TZ=UTC", None)]
    #[case::no_such_zone("0 0 * * *", Some("Europe/Nowhere"))]
    #[case::lower_case_zone("0 0 * * *", Some("europe/berlin"))]
    #[case::no_unit("@every 5", None)]
    fn an_invalid_schedule_is_not_parsed(#[case] schedule: &str, #[case] zone: Option<&str>) {
        assert!(Schedule::parse(schedule, zone).is_none());
    }

    /// Iterating run by run would take minutes.
    #[test]
    fn a_pause_of_decades_is_not_iterated_run_by_run() {
        let schedule = Schedule::parse("* * * * *", None).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(
            schedule.missed(at("1980-01-01T00:00:00Z"), at("2026-03-01T12:00:30Z")),
            Some(at("2026-03-01T12:00:00Z"))
        );
    }
}
