//! `history`: the changes of the past, as the Site keeps them.

use failover_core::Role;
use failover_core::api::{HistoryEntry, Site};
use jiff::Timestamp;
use serde::Serialize;

use super::site_view::no_site;
use crate::cli::HistoryArgs;
use crate::error::Failure;
use crate::output::age::{ago, took};
use crate::output::words::words;
use crate::output::{Document, Format, Screen, Table, clean};
use crate::session::Session;

pub async fn run(session: &Session<'_>, args: &HistoryArgs) -> Result<(), Failure> {
    let site = session
        .cluster
        .site()
        .await?
        .ok_or_else(|| no_site(session))?;
    print(&site, args.output, Timestamp::now(), session.screen);
    Ok(())
}

/// The document `History`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    site: &'a str,
    /// Newest first.
    changes: &'a [HistoryEntry],
}

fn print(site: &Site, format: Format, now: Timestamp, screen: &Screen) {
    let status = site.status.clone().unwrap_or_default();
    match format {
        Format::Json | Format::Yaml => {
            let report = Report {
                site: &site.spec.site_name,
                changes: &status.history,
            };
            let notation = format.notation().expect("json and yaml are notations");
            Document::new("History", &report).print(notation, screen);
            return;
        }
        Format::Name => {
            for entry in &status.history {
                screen.data(&clean(&entry.id));
            }
            return;
        }
        Format::Table | Format::Wide => {}
    }
    if status.history.is_empty() {
        screen.note("no change has ended yet");
    } else {
        screen.data(&table(&status.history, format == Format::Wide, now).to_string());
    }
    if let Some(walk) = &status.transition {
        screen.note(&format!(
            "a {} is under way: kubectl failover status -w",
            words(walk.to).noun
        ));
    }
}

/// The table of past changes; `wide` tells how long each step took, too.
pub fn table(history: &[HistoryEntry], wide: bool, now: Timestamp) -> Table {
    let header = [
        "CHANGE",
        "AGO",
        "TOOK",
        "OBJECTS",
        "BY",
        "OUTCOME",
        "REASON",
        "OVERRIDES",
        "EPOCH",
        "STEPS",
        "NAMESPACES",
        "BATCH",
    ];
    let columns = if wide { header.len() } else { 8 };
    let mut table = Table::new(&header[..columns]);
    for entry in history {
        let cells = [
            format!("{} -> {}", entry.from.map_or("new", Role::as_str), entry.to),
            ago(entry.finished_at.0, now),
            took(entry.finished_at.0.duration_since(entry.started_at.0)),
            entry.objects.to_string(),
            entry.requested_by.clone(),
            clean(entry.outcome.as_str()).into_owned(),
            entry.reason.clone(),
            entry.overrides.join(","),
            entry.epoch.0.to_string(),
            steps(entry),
            if entry.namespaces.is_empty() {
                "all".to_owned()
            } else {
                entry.namespaces.join(",")
            },
            consents(entry),
        ];
        table.row(&cells[..columns]);
    }
    table
}

/// The batch work that was let run, as the flags say it.
fn consents(entry: &HistoryEntry) -> String {
    let flag = |is_given: bool, flag: &str| is_given.then(|| flag.to_owned());
    let named = entry.held_jobs_to_run.iter();
    flag(entry.run_missed, "run-missed")
        .into_iter()
        .chain(flag(entry.run_held_jobs, "run-held-jobs"))
        .chain(named.map(|job| format!("run-held-jobs={job}")))
        .collect::<Vec<_>>()
        .join(",")
}

fn steps(entry: &HistoryEntry) -> String {
    let steps: Vec<String> = entry
        .steps
        .iter()
        .map(|step| {
            let took = took(jiff::SignedDuration::from_secs(step.seconds));
            format!("{} {took}", clean(step.name.as_str()))
        })
        .collect();
    steps.join(", ")
}

#[cfg(test)]
mod tests;
