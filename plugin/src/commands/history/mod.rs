//! `history`: the past transitions that the Site keeps.

use failover_core::Role;
use failover_core::api::{HistoryEntry, Site, Transition};
use jiff::Timestamp;
use serde::Serialize;

use super::site_view::no_site;
use crate::cli::HistoryArgs;
use crate::error::Failure;
use crate::output::age::{ago, took};
use crate::output::words::words;
use crate::output::{Report, Screen, Table, clean};
use crate::session::Session;

pub async fn run(session: &Session<'_>, args: &HistoryArgs) -> Result<(), Failure> {
    let site = session
        .cluster
        .site()
        .await?
        .ok_or_else(|| no_site(session))?;
    HistoryReport::of(&site, Timestamp::now()).print(args.output, session.screen);
    Ok(())
}

/// The document `History`.
#[derive(Debug, Serialize)]
struct HistoryReport<'a> {
    site: &'a str,
    /// Newest first.
    changes: &'a [HistoryEntry],
    /// The running transition.
    #[serde(skip)]
    transition: Option<&'a Transition>,
    #[serde(skip)]
    now: Timestamp,
}

impl<'a> HistoryReport<'a> {
    fn of(site: &'a Site, now: Timestamp) -> Self {
        let status = site.status.as_ref();
        Self {
            site: &site.spec.site_name,
            changes: status.map_or(&[], |status| &status.history),
            transition: status.and_then(|status| status.transition.as_ref()),
            now,
        }
    }
}

impl Report for HistoryReport<'_> {
    const KIND: &'static str = "History";

    fn names(&self) -> Vec<String> {
        let entries = self.changes.iter();
        entries.map(|entry| clean(&entry.id).into_owned()).collect()
    }

    fn text(&self, wide: bool, screen: &Screen) {
        if self.changes.is_empty() {
            screen.note("no transition has ended yet");
        } else {
            screen.data(&table(self.changes, wide, self.now).to_string());
        }
        if let Some(transition) = self.transition {
            screen.note(&format!(
                "a {} is under way: kubectl failover status -w",
                words(transition.to).noun
            ));
        }
    }
}

/// The table of past transitions; `wide` adds the duration of each step.
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

/// The consents to batch work, as flags.
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
