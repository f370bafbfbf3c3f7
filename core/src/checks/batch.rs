//! Checks of batch workloads: CronJobs that missed a run, Jobs that never ran.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::checks::cron::Schedule;
use crate::names::HELD_ANNOTATION;

/// The run that a CronJob would start at once when it is resumed: the latest one scheduled since it last ran (or was
/// created), unless its `startingDeadlineSeconds` has passed.
///
/// For display only: it predicts what the CronJob controller would do. What a promotion marks does not depend on it.
pub fn missed_run(cron_job: &Value, now: Timestamp) -> Option<Timestamp> {
    let spec = &cron_job["spec"];
    let last = last_looked_at(cron_job)?;
    let earliest = match spec["startingDeadlineSeconds"].as_i64() {
        Some(seconds) => last.max(now.checked_sub(SignedDuration::from_secs(seconds)).ok()?),
        None => last,
    };
    Schedule::parse(spec["schedule"].as_str()?, spec["timeZone"].as_str())?.missed(earliest, now)
}

/// The time from which a CronJob counts missed runs: its last run, or its creation.
pub fn last_looked_at(cron_job: &Value) -> Option<Timestamp> {
    let last = cron_job["status"]["lastScheduleTime"].as_str();
    let created = || cron_job["metadata"]["creationTimestamp"].as_str();
    last.or_else(created)?.parse().ok()
}

/// Whether a CronJob is made to run by this change.
pub fn is_resumed(before: &Value, after: &Value) -> bool {
    let is_suspended = |object: &Value| object["spec"]["suspend"] == Value::Bool(true);
    is_suspended(before) && !is_suspended(after)
}

/// Which of the Jobs that were forced at their creation may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HeldJobs {
    #[default]
    None,
    /// These: `NAMESPACE/NAME`. Not empty.
    Named(BTreeSet<String>),
    All,
}

impl HeldJobs {
    pub fn new(all: bool, named: &[String]) -> Self {
        if all {
            Self::All
        } else if named.is_empty() {
            Self::None
        } else {
            Self::Named(named.iter().cloned().collect())
        }
    }

    pub fn has(&self, namespace: &str, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::Named(names) => names.contains(&format!("{namespace}/{name}")),
            Self::All => true,
        }
    }

    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    pub fn is_all(&self) -> bool {
        *self == Self::All
    }

    /// The named Jobs.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let names = match self {
            Self::Named(names) => Some(names),
            Self::None | Self::All => None,
        };
        names.into_iter().flatten()
    }

    /// Whether every Job that `other` lets run is let run by this, too.
    pub fn covers(&self, other: &Self) -> bool {
        self.is_all() || (!other.is_all() && other.named_beyond(self).is_empty())
    }

    /// The named Jobs that this lets run and `other` does not.
    #[must_use]
    pub fn named_beyond(&self, other: &Self) -> Vec<&str> {
        let names = self.names().map(String::as_str);
        names
            .filter(|name| match other {
                Self::None => true,
                Self::Named(known) => !known.contains(*name),
                Self::All => false,
            })
            .collect()
    }

    /// The Jobs that either lets run.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let names: Vec<String> = self.names().chain(other.names()).cloned().collect();
        Self::new(self.is_all() || other.is_all(), &names)
    }
}

/// Whether a Job was forced at its creation, and so runs only on consent. A Job that its own writer created suspended
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

    #[test]
    fn consent_to_held_jobs_adds_up() {
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            HeldJobs::new(false, &names)
        };
        let (none, import, both) = (
            HeldJobs::None,
            named(&["shop/import"]),
            named(&["shop/import", "shop/index"]),
        );
        assert_eq!(named(&[]), none);
        assert_eq!(none.or(&import), import);
        assert_eq!(import.or(&named(&["shop/index"])), both);
        assert_eq!(import.or(&HeldJobs::All), HeldJobs::All);
        assert!(both.covers(&import) && import.covers(&none) && HeldJobs::All.covers(&both));
        assert!(!import.covers(&both) && !both.covers(&HeldJobs::All) && !none.covers(&import));
        assert_eq!(both.named_beyond(&import), ["shop/index"]);
        assert!(both.named_beyond(&HeldJobs::All).is_empty());
        assert!(import.has("shop", "import") && !import.has("other", "import"));
        assert!(HeldJobs::All.has("other", "import") && !none.has("shop", "import"));
    }
}
