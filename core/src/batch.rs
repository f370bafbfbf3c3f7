//! What is special about work that runs to an end: CronJobs that missed a run, Jobs that never ran.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::names::HELD_ANNOTATION;

/// The run that a CronJob would start at once when it is resumed: the latest one scheduled since it last ran (or was
/// created), unless its `startingDeadlineSeconds` has passed.
///
/// Mirrors the CronJob controller: a schedule it cannot read, or one with nothing missed, starts nothing.
pub fn missed_run(cron_job: &Value, now: Timestamp) -> Option<Timestamp> {
    let spec = &cron_job["spec"];
    let last = cron_job["status"]["lastScheduleTime"]
        .as_str()
        .or_else(|| cron_job["metadata"]["creationTimestamp"].as_str())?
        .parse::<Timestamp>()
        .ok()?;
    let earliest = match spec["startingDeadlineSeconds"].as_i64() {
        Some(seconds) => last.max(now.checked_sub(SignedDuration::from_secs(seconds)).ok()?),
        None => last,
    };
    let schedule = spec["schedule"].as_str()?;
    match schedule.trim().strip_prefix("@every ") {
        Some(interval) => latest_multiple(interval, earliest, now),
        None => latest_between(
            &crontab(schedule, spec["timeZone"].as_str())?,
            earliest,
            now,
        ),
    }
}

/// Whether a Job has been held since it was created, and so runs only on consent. One that its own writer created suspended
/// is not: it waits for that writer.
pub fn is_held(job: &Value) -> bool {
    let is_suspended = |suspend: &Value| *suspend == Value::Bool(true);
    let held = &job["metadata"]["annotations"][HELD_ANNOTATION];
    let originals: Value = held
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    is_suspended(&job["spec"]["suspend"])
        && !held.is_null()
        && !is_suspended(&originals["/spec/suspend"])
}

/// Kubernetes' dialect of a schedule in that of the parser: macros spelled out, the time zone as the last word.
fn crontab(schedule: &str, time_zone: Option<&str>) -> Option<cronexpr::Crontab> {
    let (prefix, schedule) = match schedule
        .strip_prefix("TZ=")
        .or_else(|| schedule.strip_prefix("CRON_TZ="))
    {
        Some(rest) => rest
            .split_once(' ')
            .map(|(zone, rest)| (Some(zone), rest.trim()))?,
        None => (None, schedule.trim()),
    };
    let spelled = match schedule {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other => other,
    };
    let zone = prefix.or(time_zone).unwrap_or("UTC");
    // `?` is the same as `*` to Kubernetes.
    cronexpr::parse_crontab(&format!("{} {zone}", spelled.replace('?', "*"))).ok()
}

/// The last run in `(after, until]` of one that comes back after an interval, which is a whole number of seconds to Kubernetes.
fn latest_multiple(interval: &str, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
    let interval = interval
        .trim()
        .parse::<SignedDuration>()
        .ok()?
        .as_secs()
        .max(1);
    let runs = until.duration_since(after).as_secs() / interval;
    (runs > 0).then(|| after + SignedDuration::from_secs(runs * interval))
}

/// The last run in `(after, until]`. Runs may lie seconds or years apart, so it is looked for by halves, instead of walking
/// through every run of a long pause.
fn latest_between(
    schedule: &cronexpr::Crontab,
    after: Timestamp,
    until: Timestamp,
) -> Option<Timestamp> {
    let next = |t: Timestamp| -> Option<Timestamp> {
        let run = schedule.find_next(t).ok()?.timestamp();
        (run <= until).then_some(run)
    };
    let mut found = next(after)?;
    // No run comes after this.
    let mut end = until;
    while end.duration_since(found) >= SignedDuration::from_secs(1) {
        let middle = found + end.duration_since(found) / 2;
        match next(middle) {
            Some(later) => found = later,
            None => end = middle,
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-03-01T12:00:30Z";

    #[rstest]
    #[case::every_minute("* * * * *", None, None, Some("2026-03-01T12:00:00Z"))]
    #[case::not_due_since("0 13 * * *", None, None, None)]
    #[case::long_ago("0 3 * * 1", None, None, Some("2026-02-23T03:00:00Z"))]
    #[case::deadline_passed("0 3 * * *", None, Some(3600), None)]
    #[case::deadline_not_passed("0 11 * * *", None, Some(7200), Some("2026-03-01T11:00:00Z"))]
    #[case::time_zone(
        "0 12 * * *",
        Some("Europe/Berlin"),
        None,
        Some("2026-03-01T11:00:00Z")
    )]
    #[case::time_zone_in_the_schedule(
        "TZ=Europe/Berlin 0 12 * * *",
        None,
        None,
        Some("2026-03-01T11:00:00Z")
    )]
    #[case::macro_("@hourly", None, None, Some("2026-03-01T12:00:00Z"))]
    #[case::every_so_often("@every 1h30m", None, None, Some("2026-03-01T12:00:00Z"))]
    #[case::every_so_often_not_due_since("@every 8760h", None, None, None)]
    #[case::unreadable("whenever", None, None, None)]
    fn names_the_run_that_would_start_at_once(
        #[case] schedule: &str,
        #[case] zone: Option<&str>,
        #[case] deadline: Option<i64>,
        #[case] missed: Option<&str>,
    ) {
        let last = if schedule == "0 13 * * *" {
            "2026-02-28T13:00:00Z"
        } else {
            "2026-02-20T00:00:00Z"
        };
        let mut cron_job = json!({
            "metadata": {"creationTimestamp": "2025-01-01T00:00:00Z"},
            "spec": {"schedule": schedule},
            "status": {"lastScheduleTime": last},
        });
        if let Some(zone) = zone {
            cron_job["spec"]["timeZone"] = json!(zone);
        }
        if let Some(deadline) = deadline {
            cron_job["spec"]["startingDeadlineSeconds"] = json!(deadline);
        }
        let missed = missed.map(|t| t.parse().unwrap());
        assert_eq!(missed_run(&cron_job, NOW.parse().unwrap()), missed);
    }

    /// Walked through run by run, this would take minutes.
    #[test]
    fn a_pause_of_decades_is_looked_through_by_halves() {
        let cron_job = json!({
            "metadata": {"creationTimestamp": "1980-01-01T00:00:00Z"},
            "spec": {"schedule": "* * * * *"},
        });
        assert_eq!(
            missed_run(&cron_job, NOW.parse().unwrap()),
            Some("2026-03-01T12:00:00Z".parse().unwrap())
        );
    }

    #[test]
    fn a_job_is_held_while_it_is_suspended_and_carries_the_mark() {
        let held = json!({"metadata": {"annotations": {HELD_ANNOTATION: "{}"}}, "spec": {"suspend": true}});
        assert!(is_held(&held));
        assert!(!is_held(
            &json!({"metadata": {}, "spec": {"suspend": true}})
        ));
        let own = json!({"metadata": {"annotations": {HELD_ANNOTATION: r#"{"/spec/suspend":true}"#}}, "spec": {"suspend": true}});
        assert!(!is_held(&own), "it waits for its own writer");
        assert!(!is_held(
            &json!({"metadata": {"annotations": {HELD_ANNOTATION: "{}"}}, "spec": {"suspend": false}})
        ));
    }
}
