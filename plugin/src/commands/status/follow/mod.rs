//! `status -w`: follows the running transition until it ends.

use std::time::Duration;

use failover_core::transition::pause;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::commands::poll::{EVERY, Polled, Watch};
use crate::commands::role_change::CONTINUES;
use crate::commands::site_view::is_moving;
use crate::error::Failure;
use crate::output::age::took;
use crate::output::words::words;
use crate::session::Session;
use crate::transition_view::{current, paused, what};

/// Follows the running transition and those requested meanwhile. Returns at once if there is none.
pub(super) async fn follow(
    session: &Session<'_>,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let started = Instant::now();
    let mut watch = Watch::new(session);
    let mut last = None;
    loop {
        match watch.look().await {
            Polled::Site(site) => {
                watch.show(&site);
                if let Some(followed) = watch.last().map(|transition| transition.id.clone()) {
                    let ended = site.status.as_ref().and_then(|status| {
                        let running = status.transition.as_ref().map(|transition| &transition.id);
                        let entry = status.history.iter().find(|entry| entry.id == followed);
                        entry.filter(|_| running != Some(&followed))
                    });
                    if let Some(entry) = ended {
                        watch.ended(&site, entry);
                    }
                }
                if !is_moving(&site) {
                    return Ok(());
                }
                session.is_underway(CONTINUES, "");
                if watch.last().is_none() && !watch.is_leaderless() {
                    watch.now(&format!(
                        "site {}: the {} is ordered, waiting for the controller to begin",
                        site.spec.site_name,
                        words(site.spec.role).noun
                    ));
                }
                last = Some(site);
            }
            // The status reports the namespaces without it.
            Polled::Gone => return Ok(()),
            Polled::NoAnswer => {}
        }
        if let Some(timeout) = timeout.filter(|timeout| started.elapsed() >= *timeout) {
            return Err(timed_out_failure(timeout, last.as_deref(), &watch));
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn timed_out_failure(
    timeout: Duration,
    site: Option<&failover_core::api::Site>,
    watch: &Watch<'_>,
) -> Failure {
    let after = took(timeout.try_into().unwrap_or_default());
    if let Some(error) = watch.unanswered() {
        return Failure::timed_out(format!("{error}, for the rest of {after}"));
    }
    let now = Timestamp::now();
    if let Some(pause) = site.and_then(|site| pause(site, now)) {
        return Failure::timed_out(format!(
            "not done after {after}: the site is {}",
            paused(pause, now)
        ))
        .next("nothing moves until it is resumed: kubectl failover resume");
    }
    match watch.last().and_then(current) {
        Some((_, step)) => Failure::timed_out(format!(
            "not done after {after}: it has come to step {}",
            step.name.as_str()
        ))
        .details(step.blocked.iter().map(what)),
        None => Failure::timed_out(format!(
            "not done after {after}: the controller has not begun"
        )),
    }
    .next(CONTINUES)
}

#[cfg(test)]
mod tests;
