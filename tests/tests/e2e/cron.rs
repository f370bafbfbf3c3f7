//! Compares the missed run that `plan` shows with the CronJob controller's own decision: the same code that the control
//! plane of the test bed runs, called as a filter.

use std::fs::File;
use std::io::{BufWriter, Seek as _, Write as _};
use std::process::{Command, Stdio};

use failover_core::checks::batch::missed_run;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testbed::toolchain;

/// A CronJob, and when it is resumed.
struct Question {
    cron_job: Value,
    now: Timestamp,
}

/// Both day fields in every combination: restricted, free, and seemingly free.
fn day_fields() -> Vec<String> {
    const DAYS: [&str; 10] = [
        "*", "?", "*/1", "*/2", "13", "1-7", "29,30", "31", "5/9", "*,4",
    ];
    const WEEKDAYS: [&str; 9] = [
        "*",
        "?",
        "*/1",
        "*/2",
        "MON",
        "1-5",
        "SUN,wed",
        "5/1",
        "MON-WED/2",
    ];
    const MONTHS: [&str; 4] = ["*", "2", "JAN-mar", "*/5"];
    let mut schedules = Vec::new();
    for day in DAYS {
        for weekday in WEEKDAYS {
            schedules.extend(MONTHS.map(|month| format!("54 20 {day} {month} {weekday}")));
        }
    }
    schedules
}

/// Times of day, most of them near a daylight-saving change; macros; syntax that only this parser accepts; invalid
/// schedules.
const OTHERS: [&str; 62] = [
    "* * * * *",
    "*/7 * * * *",
    "5-50/13 * * * *",
    "0 * * * *",
    "30 * * * *",
    "0 0 * * *",
    "30 0 * * *",
    "59 23 * * *",
    "15 1 * * *",
    "45 1 * * SAT,SUN",
    "0 2 * * *",
    "30 2 * * *",
    "30 2 1-7 * SUN",
    "0 3 * * *",
    "*/20 1-3 * * *",
    "*/29 */5 * * *",
    "0 */6 * * *",
    "30 6-16/4 * * 1-5",
    "0 0 1 * *",
    "0 0 1 1 *",
    "0 0 4 11 *",
    "0 0 29 2 *",
    "0 0 31 2 *",
    "0 0 31 2 FRI",
    "* 0 1 * *",
    "0 0 , * *",
    "0 0 1,, * *",
    "+5 +4 * * *",
    "*-3 0 * * *",
    "?/2 3 * * ?",
    "\t0  12 *\t* * ",
    "@yearly",
    "@annually",
    "@monthly",
    "@weekly",
    "@daily",
    "@midnight",
    "@hourly",
    "@every 1h30m",
    "@every 1.5h",
    "@every 90s",
    "@every 300ms",
    "@every -5m",
    "@every 1h1.9s",
    "@every 0",
    "@every 8760h",
    "TZ=Asia/Kolkata 0 5 * * *",
    "CRON_TZ=America/New_York 30 1 * * *",
    "TZ=Europe/Berlin   @daily",
    "TZ=Nowhere/At_All 0 5 * * *",
    "TZ=UTC",
    "0 0 * * 7",
    "0 0 * * FRI-SUN",
    "0 24 * * *",
    "60 0 * * *",
    "0 0 0 * *",
    "0 0 */0 * *",
    "0 0 1-2-3 * *",
    "0 0 * * * *",
    " @daily",
    "@every 5",
    "whenever",
];

/// Zones with daylight-saving changes at different hours, of different sizes, or without any; and one that does not exist.
const ZONES: [Option<&str>; 8] = [
    None,
    Some("Europe/Berlin"),
    Some("America/New_York"),
    // Changes at midnight, so that one day has no midnight.
    Some("America/Sao_Paulo"),
    // Changes by half an hour.
    Some("Australia/Lord_Howe"),
    Some("Asia/Kolkata"),
    Some("Etc/UTC"),
    Some("Nowhere/At_All"),
];

/// When it last ran, or was created: at ends of months and years, and before daylight-saving changes.
const LAST: [&str; 7] = [
    "2018-02-17T12:00:00Z",
    "2018-11-03T12:00:00Z",
    "2024-02-28T23:59:59Z",
    "2025-12-31T23:00:00Z",
    "2026-03-28T00:30:00Z",
    "2026-04-04T12:00:00Z",
    "2026-10-24T22:00:00Z",
];

/// How long after that it is resumed, in seconds.
const LATER: [i64; 7] = [1, 61, 5_000, 90_000, 280_000, 4_000_000, 35_000_000];

fn corpus() -> Vec<Question> {
    let mut questions = Vec::new();
    let mut ask = |schedule: &str, zone: Option<&str>, n: usize| {
        for last in LAST {
            for later in LATER {
                let last: Timestamp = last.parse().unwrap();
                let mut spec = json!({"schedule": schedule, "jobTemplate": {}});
                if let Some(zone) = zone {
                    spec["timeZone"] = json!(zone);
                }
                // Some have a deadline, some have never run.
                let number = questions.len() + n;
                if number.is_multiple_of(5) {
                    spec["startingDeadlineSeconds"] = json!([10, 4_000, 200_000][number % 3]);
                }
                let cron_job = if number.is_multiple_of(4) {
                    json!({"metadata": {"creationTimestamp": last}, "spec": spec})
                } else {
                    json!({
                        "metadata": {"creationTimestamp": "2017-01-01T00:00:00Z"},
                        "spec": spec,
                        "status": {"lastScheduleTime": last},
                    })
                };
                questions.push(Question {
                    cron_job,
                    now: last + SignedDuration::from_millis(later * 1000 + 250),
                });
            }
        }
    };
    for (n, schedule) in day_fields().iter().enumerate() {
        ask(schedule, ZONES[n % ZONES.len()], n);
    }
    for (n, schedule) in OTHERS.iter().enumerate() {
        for zone in ZONES {
            ask(schedule, zone, n);
        }
    }
    questions
}

/// The controller's answers.
fn answers(questions: &[Question]) -> Vec<Option<Timestamp>> {
    let mut file = BufWriter::new(tempfile::tempfile().unwrap());
    for question in questions {
        let line = json!({"cronJob": question.cron_job, "now": question.now});
        writeln!(file, "{line}").unwrap();
    }
    let mut file: File = file.into_inner().unwrap();
    file.rewind().unwrap();
    let output = Command::new(toolchain::control_plane().unwrap().join("missed-runs"))
        .stdin(Stdio::from(file))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_missed_run_is_predicted_as_the_cron_job_controller_decides() {
    let questions = corpus();
    let answers = answers(&questions);
    assert_eq!(answers.len(), questions.len());
    let due = answers.iter().flatten().count();
    assert!(due > questions.len() / 5, "{due} of {}", questions.len());
    let mut wrong = Vec::new();
    for (question, answer) in questions.iter().zip(answers) {
        let predicted = missed_run(&question.cron_job, question.now);
        if predicted != answer {
            wrong.push(format!(
                "{} at {}: {answer:?}, predicted {predicted:?}",
                question.cron_job, question.now
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        questions.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}
