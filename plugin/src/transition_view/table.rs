//! The table of a transition: one line per step.

use failover_core::api::{Site, Step, StepState, Transition};
use failover_core::transition::pause;
use jiff::{SignedDuration, Timestamp};

use super::{activity, count, override_command, paused, what};
use crate::output::age::took;
use crate::output::words::words;
use crate::output::{Line, Tone, clean};

/// How many of the objects that block a step are named.
const NAMED: usize = 5;

/// The transition of a site, and whether it is paused; empty if there is none.
pub(super) fn of_site(site: &Site, now: Timestamp) -> Vec<Line> {
    let transition = site.status.as_ref().and_then(|s| s.transition.as_ref());
    let Some(transition) = transition else {
        return Vec::new();
    };
    let mut lines = transition_lines(&site.spec.site_name, transition, now);
    if let Some(pause) = pause(site, now) {
        let text = format!(
            "  {}; nothing moves until: kubectl failover resume",
            paused(pause, now)
        );
        lines.insert(1, Line::new(Tone::Warning, text));
    }
    lines
}

/// Every step of a transition.
pub fn transition_lines(site: &str, transition: &Transition, now: Timestamp) -> Vec<Line> {
    let mut lines = vec![Line::new(Tone::Plain, heading(site, transition, now))];
    let names = transition.steps.iter().map(|step| step.name.as_str().len());
    let width = names.max().unwrap_or_default();
    for step in &transition.steps {
        lines.push(line(step, width, now));
        if step.state != StepState::Done {
            lines.extend(blockers(transition, step));
        }
        lines.extend(not_waited_for(step));
    }
    lines
}

fn heading(site: &str, transition: &Transition, now: Timestamp) -> String {
    let what = if transition.namespaces.is_empty() {
        format!("{} of site {}", words(transition.to).noun, clean(site))
    } else {
        format!(
            "taking over {} as {}",
            clean(&transition.namespaces.join(", ")),
            transition.to
        )
    };
    let prefixed = |before: &str, text: &str| match text {
        "" => String::new(),
        text => format!("{before}{}", clean(text)),
    };
    format!(
        "{what}{}{} ({})",
        prefixed(", requested by ", &transition.requested_by),
        prefixed(": ", &transition.reason),
        whole(now.duration_since(transition.started_at.0))
    )
}

fn line(step: &Step, width: usize, now: Timestamp) -> Line {
    let name = clean(step.name.as_str());
    let since = step.started_at.as_ref().map(|t| t.0);
    let (tone, mark, text) = match step.state {
        StepState::Pending => (Tone::Plain, '-', String::new()),
        StepState::Running => {
            let doing = clean(activity(step));
            let text = format!("{doing}{}{}", count(step), for_so_long(since, now));
            (Tone::Plain, '>', text)
        }
        StepState::Blocked => {
            let text = format!("blocked{}{}", count(step), for_so_long(since, now));
            (Tone::Bad, '!', text)
        }
        StepState::Done => {
            let end = step.finished_at.as_ref().map(|t| t.0);
            let took = since.zip(end).map_or_else(String::new, |(from, to)| {
                format!(" in {}", whole(to.duration_since(from)))
            });
            (Tone::Good, '+', format!("done{took}{}", count(step)))
        }
        StepState::Unknown(word) => {
            let text = format!("{} (of a later version)", clean(word.as_str()));
            (Tone::Warning, '?', text)
        }
    };
    Line::new(
        tone,
        format!("  {mark} {name:width$}  {text}")
            .trim_end()
            .to_owned(),
    )
}

/// What blocks the step, or what it waits for.
fn blockers(transition: &Transition, step: &Step) -> Vec<Line> {
    let is_blocked = step.state == StepState::Blocked;
    let tone = if is_blocked { Tone::Bad } else { Tone::Plain };
    let mut lines: Vec<Line> = step
        .blocked
        .iter()
        .take(NAMED)
        .map(|blocked| Line::new(tone, format!("      {}", what(blocked))))
        .collect();
    let left = usize::try_from(step.total - step.done).unwrap_or_default();
    let more = left.max(step.blocked.len()).saturating_sub(NAMED);
    if more > 0 && !step.blocked.is_empty() {
        lines.push(Line::new(tone, format!("      and {more} more")));
    }
    if is_blocked {
        lines.extend(
            advice(transition, step).map(|text| Line::new(Tone::Warning, format!("      {text}"))),
        );
    }
    lines
}

/// What the step does not wait for.
pub(super) fn not_waited_for(step: &Step) -> impl Iterator<Item = Line> {
    step.not_waited_for.iter().map(|left_out| {
        let (object, message) = (clean(&left_out.object), clean(&left_out.message));
        Line::new(
            Tone::Warning,
            format!("      not waited for: {object}: {message}"),
        )
    })
}

/// How a blocked transition continues.
pub(super) fn advice(transition: &Transition, step: &Step) -> Option<String> {
    let order = override_command(transition.to, step)?;
    Some(format!(
        "it continues once the cause is removed; to continue without: {order}"
    ))
}

fn for_so_long(since: Option<Timestamp>, now: Timestamp) -> String {
    since.map_or_else(String::new, |since| {
        format!(" ({})", whole(now.duration_since(since)))
    })
}

/// In whole seconds, so that a redrawn line does not flicker.
pub(super) fn whole(duration: SignedDuration) -> String {
    took(SignedDuration::from_secs(duration.as_secs()))
}
