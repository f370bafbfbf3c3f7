//! The status as text.

use failover_core::api::{HistoryEntry, Outcome, Phase, condition};
use failover_core::{Layer, Role, Roles};
use jiff::Timestamp;

use super::report::{Namespace, StatusReport};
use crate::commands::history::table;
use crate::output::age::{ago, took};
use crate::output::report::SITE_NAME;
use crate::output::words::words;
use crate::output::{Report, Screen, Table, Tone, clean, counted};
use crate::plan::HOOKS_HINT;
use crate::transition_view::{paused, transition_lines};

/// How many past transitions `wide` shows.
const HISTORY: usize = 5;

impl Report for StatusReport {
    const KIND: &'static str = "Status";

    fn names(&self) -> Vec<String> {
        let site = self.site.as_ref();
        site.map(|_| SITE_NAME.to_owned()).into_iter().collect()
    }

    fn text(&self, wide: bool, screen: &Screen) {
        let now = self.now;
        site(self, now, screen);
        enforcement(self, now, screen);
        left(self, screen);
        transition(self, now, screen);
        conditions(self, wide, now, screen);
        if wide {
            replicas(self, now, screen);
            history(self, now, screen);
        }
        namespaces(self, screen);
        not_conforming(self, screen);
        passive(self, screen);
        object_roles(self, screen);
        hooks(self, screen);
        policies(self, wide, screen);
    }
}

fn site(report: &StatusReport, now: Timestamp, screen: &Screen) {
    let Some(site) = &report.site else {
        screen.say(
            Tone::Bad,
            "Site:         lost; the namespaces keep the last role",
        );
        screen.data(&format!("In effect:    {}", role(report.role_in_effect)));
        return;
    };
    screen.data(&format!("Site:         {}", clean(site)));
    let since = report
        .since
        .map_or_else(String::new, |since| format!(" for {}", ago(since, now)));
    let epoch = report.epoch.unwrap_or_default();
    if report.role == report.role_in_effect {
        screen.data(&format!(
            "Role:         {}{since} (epoch {epoch})",
            role(report.role)
        ));
    } else {
        screen.say(
            Tone::Warning,
            &format!(
                "Role:         {} requested (epoch {epoch}), {} in effect{since}",
                role(report.role),
                role(report.role_in_effect)
            ),
        );
    }
    let (tone, phase) = match &report.phase {
        Some(Phase::Stable) => (Tone::Good, "Stable"),
        Some(Phase::Demoting) => (Tone::Warning, "Demoting"),
        Some(Phase::Promoting) => (Tone::Warning, "Promoting"),
        Some(Phase::Stalled) => (Tone::Bad, "Stalled"),
        Some(Phase::Paused) => (Tone::Warning, "Paused"),
        Some(Phase::Unknown(word)) => (Tone::Warning, word.as_str()),
        None => (
            Tone::Warning,
            "unknown: no controller has taken the site over yet",
        ),
    };
    screen.say(tone, &format!("Phase:        {phase}"));
    pause(report, now, screen);
    let roles: Vec<_> = Layer::ALL
        .iter()
        .map(|layer| format!("{layer} {}", role(report.layers.of(*layer))))
        .collect();
    if report.layers.uniform().is_none() && report.layers != Roles::default() {
        screen.data(&format!("Layers:       {}", roles.join(", ")));
    }
    if let Some(last) = report.history.first() {
        screen.data(&format!("Last change:  {}", past(last, now)));
    }
}

/// Also shown if the controller has not observed the pause yet, or is gone.
fn pause(report: &StatusReport, now: Timestamp, screen: &Screen) {
    let Some(pause) = &report.paused else {
        return;
    };
    if pause.until.as_ref().is_some_and(|until| until.0 <= now) {
        return;
    }
    screen.say(
        Tone::Warning,
        &format!(
            "Paused:       {}; nothing moves until: kubectl failover resume",
            paused(pause, now).trim_start_matches("paused ")
        ),
    );
}

fn transition(report: &StatusReport, now: Timestamp, screen: &Screen) {
    let Some(transition) = &report.transition else {
        return;
    };
    let site = report.site.as_deref().unwrap_or_default();
    screen.data("");
    for line in transition_lines(site, transition, now) {
        screen.say(line.tone, &line.text);
    }
}

fn enforcement(report: &StatusReport, now: Timestamp, screen: &Screen) {
    match &report.controller {
        Some(controller) => {
            let last = controller.renewed.map_or_else(String::new, |renewed| {
                format!(", last renewed {} ago", ago(renewed, now))
            });
            let leader = clean(controller.leader.as_deref().unwrap_or_default());
            match (controller.alive, controller.late) {
                (true, false) => screen.data(&format!("Controller:   {leader} leads")),
                (true, true) => screen.say(
                    Tone::Warning,
                    &format!("Controller:   {leader} leads{last}"),
                ),
                (false, _) => screen.say(Tone::Bad, &format!("Controller:   none leads{last}")),
            }
        }
        None => screen.say(Tone::Warning, "Controller:   unknown"),
    }
    let live = report.enforcers.len();
    match &report.webhook {
        Some(webhook) if !webhook.configured => {
            screen.say(
                Tone::Bad,
                "Webhook:      not configured: nothing is rewritten at admission",
            );
        }
        Some(webhook) if !webhook.trusted => {
            screen.say(
                Tone::Bad,
                "Webhook:      configured, but without a certificate the API server trusts",
            );
        }
        Some(_) if live == 0 => {
            screen.say(
                Tone::Bad,
                "Webhook:      configured, but no replica is live: only the sweep corrects writes",
            );
        }
        Some(_) => screen.data(&format!(
            "Webhook:      configured, {} live",
            counted(live, "replica")
        )),
        None => screen.say(Tone::Warning, "Webhook:      unknown"),
    }
    match report.backstop.as_ref().map(|b| b.missing.as_slice()) {
        Some([]) => screen.data("Backstop:     in force"),
        Some(missing) => screen.say(
            Tone::Bad,
            &format!(
                "Backstop:     {} missing or altered, {} among them: kubectl failover install",
                missing.len(),
                missing[0]
            ),
        ),
        None => screen.say(Tone::Warning, "Backstop:     unknown"),
    }
}

/// Namespaces that lost their enrolment label without `unenroll`: the role no longer applies to them.
fn left(report: &StatusReport, screen: &Screen) {
    if report.left.is_empty() {
        return;
    }
    screen.say(
        Tone::Bad,
        &format!(
            "Left:         {}: lost the label failover.dev/enforce; see who owns it, then kubectl failover enroll or unenroll",
            report.left.join(", ")
        ),
    );
}

fn conditions(report: &StatusReport, wide: bool, now: Timestamp, screen: &Screen) {
    let mut table = Table::new(&["CONDITION", "STATUS", "REASON", "FOR", "MESSAGE"]);
    for condition in &report.conditions {
        let bad = matches!(
            (condition.type_.as_str(), condition.status.as_str()),
            (condition::READY | condition::ENFORCED, "False" | "Unknown")
        );
        if wide || bad {
            table.row([
                condition.type_.as_str(),
                &condition.status,
                &condition.reason,
                &ago(condition.last_transition_time.0, now),
                &condition.message,
            ]);
        }
    }
    append(&table, screen);
}

fn replicas(report: &StatusReport, now: Timestamp, screen: &Screen) {
    let mut table = Table::new(&["WEBHOOK REPLICA", "REVISION", "NAMESPACES", "SEEN"]);
    for enforcer in &report.enforcers {
        table.row([
            enforcer.name.clone(),
            enforcer.revision.to_string(),
            enforcer.namespaces.to_string(),
            format!("{} ago", ago(enforcer.last_seen.0, now)),
        ]);
    }
    append(&table, screen);
}

fn history(report: &StatusReport, now: Timestamp, screen: &Screen) {
    let last = &report.history[..report.history.len().min(HISTORY)];
    append(&table(last, false, now), screen);
}

fn namespaces(report: &StatusReport, screen: &Screen) {
    if report.namespaces.is_empty() {
        screen.data("\nNo namespace is enrolled: kubectl failover enroll NAMESPACE");
        return;
    }
    let mut table = Table::new(&[
        "NAMESPACE",
        "ENFORCE",
        "ROLE",
        "OBJECTS",
        "FORCED",
        "NOT CONFORMING",
    ]);
    let count = |count: Option<usize>| count.map_or_else(|| "?".to_owned(), |n| n.to_string());
    for namespace in &report.namespaces {
        table.row([
            namespace.name.clone(),
            namespace.enforcement.unwrap_or_default().to_owned(),
            roles(namespace),
            count(namespace.objects),
            count(namespace.forced),
            count(namespace.not_conforming.as_ref().map(Vec::len)),
        ]);
    }
    append(&table, screen);
}

fn not_conforming(report: &StatusReport, screen: &Screen) {
    let mut table = Table::new(&["NOT CONFORMING", "WHY"]);
    for object in report
        .namespaces
        .iter()
        .filter_map(|n| n.not_conforming.as_ref())
        .flatten()
    {
        let why = object.why.as_deref().unwrap_or("not corrected yet");
        table.row([object.object.as_str(), why]);
    }
    append(&table, screen);
}

/// How many objects that stay passive are named; `-o json` has all.
const PASSIVE_NAMED: usize = 10;

fn passive(report: &StatusReport, screen: &Screen) {
    let all: Vec<_> = report
        .namespaces
        .iter()
        .filter_map(|namespace| namespace.stays_passive.as_ref())
        .flatten()
        .collect();
    let mut table = Table::new(&["STAYS PASSIVE", "WHY"]);
    for object in all.iter().take(PASSIVE_NAMED) {
        table.row([
            object.object.as_str(),
            object.why.as_deref().unwrap_or_default(),
        ]);
    }
    let more = format!("and {} more", all.len().saturating_sub(PASSIVE_NAMED));
    if all.len() > PASSIVE_NAMED {
        table.row([more.as_str(), "kubectl failover status -o json names all"]);
    }
    append(&table, screen);
}

fn object_roles(report: &StatusReport, screen: &Screen) {
    let mut table = Table::new(&["OBJECT WITH ITS OWN ROLE", "ROLE"]);
    for object_roles in &report.object_roles {
        table.row([object_roles.object.as_str(), object_roles.role]);
    }
    append(&table, screen);
    let mut table = Table::new(&["DEFERRED", "WHY"]);
    for deferred in &report.deferred {
        table.row([deferred.object.to_string(), deferred.why.clone()]);
    }
    append(&table, screen);
    let mut table = Table::new(&["ORPHANED", "WHY"]);
    for orphan in &report.orphaned {
        table.row([orphan.object.to_string(), orphan.why.clone()]);
    }
    append(&table, screen);
}

fn hooks(report: &StatusReport, screen: &Screen) {
    let mut table = Table::new(&["HOOK THAT DOES NOT RUN", "WHY"]);
    for hook in &report.hooks {
        table.row([
            hook.object.as_str(),
            hook.why.as_deref().unwrap_or_default(),
        ]);
    }
    append(&table, screen);
    if !report.hooks.is_empty() {
        screen.note(HOOKS_HINT);
    }
}

/// Policies that are not ready; with `wide`, all.
fn policies(report: &StatusReport, wide: bool, screen: &Screen) {
    let mut table = Table::new(&["FAILOVERPOLICY", "ORDERS", "READY", "REASON", "MESSAGE"]);
    for policy in &report.policies {
        if wide || policy.ready != Some(true) {
            let ready = policy
                .ready
                .map_or("Unknown", |ready| if ready { "True" } else { "False" });
            table.row([
                policy.name.as_str(),
                policy.desired_state.map_or("the site's role", Role::as_str),
                ready,
                &policy.reason,
                &policy.message,
            ]);
        }
    }
    append(&table, screen);
}

fn append(table: &Table, screen: &Screen) {
    if !table.is_empty() {
        screen.data(&format!("\n{table}"));
    }
}

fn roles(namespace: &Namespace) -> String {
    if let Some(role) = namespace.roles.uniform() {
        return role.to_string();
    }
    if namespace.roles == Roles::default() {
        return "not yet known".to_owned();
    }
    let each: Vec<_> = Layer::ALL
        .iter()
        .map(|layer| format!("{layer}={}", role(namespace.roles.of(*layer))))
        .collect();
    each.join(",")
}

fn past(entry: &HistoryEntry, now: Timestamp) -> String {
    let done = match (entry.outcome, entry.from) {
        (Outcome::Succeeded, None) => format!("taken over as {}", entry.to),
        (Outcome::Succeeded, Some(_)) => words(entry.to).done.to_owned(),
        (Outcome::Superseded, _) => {
            format!("{} superseded by a newer request", words(entry.to).noun)
        }
        (Outcome::Unknown(word), _) => {
            format!("{}: {}", words(entry.to).noun, clean(word.as_str()))
        }
    };
    format!(
        "{done} {} ago{}, {} in {}{}",
        ago(entry.finished_at.0, now),
        prefixed(" by ", &entry.requested_by),
        counted(entry.objects, "object"),
        took(entry.finished_at.0.duration_since(entry.started_at.0)),
        prefixed(": ", &entry.reason)
    )
}

fn prefixed(before: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{before}{}", clean(text))
    }
}

fn role(role: Option<Role>) -> &'static str {
    role.map_or("unknown", Role::as_str)
}

#[cfg(test)]
mod tests;
