//! `status -w`: the transition that is under way, until it has ended.

use std::time::Duration;

use failover_core::transition::pause;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::commands::poll::{EVERY, Polled, Watch};
use crate::commands::role_change::GOES_ON;
use crate::commands::site_view::is_moving;
use crate::error::Failure;
use crate::output::age::took;
use crate::output::words::words;
use crate::session::Session;
use crate::transition_view::{current, paused, what};

/// Follows what is under way, and whatever is ordered meanwhile. Where nothing is, it is over at once.
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
                if let Some(seen) = watch.last().map(|walk| walk.id.clone()) {
                    let ended = site.status.as_ref().and_then(|status| {
                        let running = status.transition.as_ref().map(|walk| &walk.id);
                        let entry = status.history.iter().find(|entry| entry.id == seen);
                        entry.filter(|_| running != Some(&seen))
                    });
                    if let Some(entry) = ended {
                        watch.ended(&site, entry);
                    }
                }
                if !is_moving(&site) {
                    return Ok(());
                }
                session.is_underway(GOES_ON, "");
                if watch.last().is_none() && !watch.is_leaderless() {
                    watch.now(&format!(
                        "site {}: the {} is ordered, waiting for the controller to begin",
                        site.spec.site_name,
                        words(site.spec.role).noun
                    ));
                }
                last = Some(site);
            }
            // What the namespaces hold without it, the status tells.
            Polled::Gone => return Ok(()),
            Polled::NoAnswer => {}
        }
        if let Some(timeout) = timeout.filter(|timeout| started.elapsed() >= *timeout) {
            return Err(out_of_time(timeout, last.as_deref(), &watch));
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn out_of_time(
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
    .next(GOES_ON)
}

#[cfg(test)]
mod tests;
