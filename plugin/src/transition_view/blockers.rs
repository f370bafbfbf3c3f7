//! What blocks a step, and the command that overrides it.

use failover_core::Role;
use failover_core::api::{Blocked, Pause, Step};
use failover_core::guards::GuardId;
use jiff::Timestamp;

use crate::output::age::ahead;
use crate::output::clean;
use crate::output::words::words;

/// The most objects that the command overrides one by one.
const ONE_BY_ONE: usize = 3;

/// One line for an object or guard that blocks a step, or that it waits for.
pub fn what(blocked: &Blocked) -> String {
    let object = blocked
        .object
        .as_ref()
        .map_or_else(String::new, |object| format!(" ({})", clean(object)));
    format!(
        "{}{object}: {}",
        clean(&blocked.guard),
        clean(&blocked.message)
    )
}

/// The command that lets a transition continue that is blocked at this step.
pub fn override_command(to: Role, step: &Step) -> Option<String> {
    let mut overrides: Vec<String> = Vec::new();
    // Overrides for single objects suffice only if the status names all of them.
    let named = i64::try_from(step.blocked.len()) == Ok(step.total - step.done);
    let one_by_one = named && step.blocked.len() <= ONE_BY_ONE;
    for blocked in &step.blocked {
        let guard: GuardId = blocked.guard.parse().ok()?;
        guard.asked(to)?;
        let object = blocked.object.as_ref().filter(|_| guard.names_objects());
        let override_ = match object.filter(|_| one_by_one) {
            Some(object) => format!("--override {guard}={}", clean(object)),
            None => format!("--override {guard}"),
        };
        if !overrides.contains(&override_) {
            overrides.push(override_);
        }
    }
    (!overrides.is_empty()).then(|| {
        format!(
            "kubectl failover {} {} --reason TEXT",
            words(to).command,
            overrides.join(" ")
        )
    })
}

/// Who paused the site, until when, and why.
pub fn paused(pause: &Pause, now: Timestamp) -> String {
    let by = match pause.by.as_str() {
        "" => String::new(),
        by => format!(" by {}", clean(by)),
    };
    let until = pause.until.as_ref().map_or_else(String::new, |until| {
        format!(" until {} ({})", until.0, ahead(until.0, now))
    });
    let reason = match pause.reason.as_str() {
        "" => String::new(),
        reason => format!(": {}", clean(reason)),
    };
    format!("paused{by}{until}{reason}")
}
