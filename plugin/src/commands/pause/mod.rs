//! `pause` and `resume`: write `Site.spec.paused`, and wait until the controller has taken it up.

use failover_core::api::{Pause, Phase, Site};
use failover_core::transition::{is_paused, pause as pause_of};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use serde::Serialize;
use tokio::time::Instant;

use super::poll::{EVERY, LOOK_AT_CONTROLLER, Polled, Watch};
use super::site_view::{is_moving, no_site};
use crate::cli::{DryRun, PauseArgs, PauseWriteArgs, ResumeArgs};
use crate::cluster::WriteError;
use crate::error::Failure;
use crate::output::age::took;
use crate::output::report::SITE_NAME;
use crate::output::words::words;
use crate::output::{Report, Screen, Tone, clean};
use crate::session::Session;
use crate::transition_view::paused;

/// How often it is tried anew because the Site changed meanwhile.
const ATTEMPTS: usize = 10;

pub async fn pause(session: &Session<'_>, args: &PauseArgs) -> Result<(), Failure> {
    let length = args.length.map(SignedDuration::try_from).transpose();
    let length = length.map_err(|error| Failure::usage(format!("--for: {error}")))?;
    let by = session.cluster.user_name().await?;
    let written = write(session, &args.write, |_, now| {
        let until = length.map(|length| end(now, length)).transpose()?;
        Ok(Wanted::Write(Some(Pause {
            reason: args.reason.clone(),
            by: by.clone(),
            until: until.map(Time),
        })))
    })
    .await?;
    finish(session, &args.write, written).await
}

pub async fn resume(session: &Session<'_>, args: &ResumeArgs) -> Result<(), Failure> {
    let written = write(session, &args.write, |site, _| {
        Ok(match site.spec.paused {
            Some(_) => Wanted::Write(None),
            None => Wanted::Nothing,
        })
    })
    .await?;
    finish(session, &args.write, written).await
}

/// In whole seconds, as the API server keeps times; rounded up, so that it is never shorter than asked.
fn end(now: Timestamp, length: SignedDuration) -> Result<Timestamp, Failure> {
    let end = now.checked_add(length).and_then(|end| {
        end.round(
            jiff::TimestampRound::new()
                .smallest(jiff::Unit::Second)
                .mode(jiff::RoundMode::Ceil),
        )
    });
    end.map_err(|error| Failure::usage(format!("--for: {error}")))
}

enum Wanted {
    Write(Option<Pause>),
    Nothing,
}

/// What was written, and over what.
struct WrittenPause {
    before: Site,
    pause: Option<Pause>,
    outcome: PauseOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum PauseOutcome {
    Done,
    /// It was so before.
    Already,
    /// Written, and not waited for.
    Ordered,
    DryRun,
}

async fn write(
    session: &Session<'_>,
    args: &PauseWriteArgs,
    wanted: impl Fn(&Site, Timestamp) -> Result<Wanted, Failure>,
) -> Result<WrittenPause, Failure> {
    for _ in 0..ATTEMPTS {
        let site = session
            .cluster
            .site()
            .await?
            .ok_or_else(|| no_site(session))?;
        let Wanted::Write(pause) = wanted(&site, Timestamp::now())? else {
            return Ok(WrittenPause {
                before: site,
                pause: None,
                outcome: PauseOutcome::Already,
            });
        };
        let version = site.resource_version().unwrap_or_default();
        let dry_run = args.dry_run == DryRun::Server;
        let answer = match args.dry_run {
            DryRun::Client => Ok(site.clone()),
            DryRun::None | DryRun::Server => {
                session
                    .cluster
                    .pause(&version, pause.as_ref(), dry_run)
                    .await
            }
        };
        match answer {
            Ok(_) => {
                let outcome = match args.dry_run {
                    DryRun::None => PauseOutcome::Done,
                    DryRun::Client | DryRun::Server => PauseOutcome::DryRun,
                };
                return Ok(WrittenPause {
                    before: site,
                    pause,
                    outcome,
                });
            }
            Err(WriteError::Conflict) => {}
            Err(WriteError::Api(error)) => return Err(error.into()),
        }
    }
    Err(Failure::error(format!(
        "the Site changed {ATTEMPTS} times while this was being written: nothing was changed"
    ))
    .next("try again"))
}

async fn finish(
    session: &Session<'_>,
    args: &PauseWriteArgs,
    mut written: WrittenPause,
) -> Result<(), Failure> {
    if written.outcome == PauseOutcome::Done {
        session.is_underway(
            "the pause is stored in the Site; the controller still has to apply it",
            "see kubectl failover status",
        );
        if args.wait {
            taken_up(session, &written, args).await?;
        } else {
            written.outcome = PauseOutcome::Ordered;
        }
    }
    PauseReport::of(&written, Timestamp::now()).print(args.output, session.screen);
    Ok(())
}

/// Waits until the controller reports that the site is paused, or is not any more.
async fn taken_up(
    session: &Session<'_>,
    written: &WrittenPause,
    args: &PauseWriteArgs,
) -> Result<(), Failure> {
    let deadline = Instant::now() + args.timeout;
    let mut watch = Watch::new(session);
    let pauses = written.pause.is_some();
    loop {
        match watch.look().await {
            Polled::Site(site) => {
                let phase = site.status.as_ref().and_then(|status| status.phase);
                let overtaken = is_paused(&site, Timestamp::now()) != pauses;
                if (phase == Some(Phase::Paused)) == pauses || overtaken {
                    return Ok(());
                }
            }
            Polled::Gone => return Err(no_site(session)),
            Polled::NoAnswer => {}
        }
        if Instant::now() >= deadline {
            let what = if pauses {
                "the pause is written"
            } else {
                "the pause is removed"
            };
            return Err(Failure::timed_out(format!(
                "{what}, but the controller has not observed it after {}",
                took(args.timeout.try_into().unwrap_or_default())
            ))
            .next(LOOK_AT_CONTROLLER));
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The document `Pause`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PauseReport<'a> {
    site: &'a str,
    outcome: PauseOutcome,
    /// `null`: it is not paused.
    paused: Option<&'a Pause>,
    #[serde(skip)]
    sentence: String,
}

impl<'a> PauseReport<'a> {
    fn of(written: &'a WrittenPause, now: Timestamp) -> Self {
        Self {
            site: &written.before.spec.site_name,
            outcome: written.outcome,
            paused: written.pause.as_ref(),
            sentence: sentence(written, now),
        }
    }
}

impl Report for PauseReport<'_> {
    const KIND: &'static str = "Pause";

    fn names(&self) -> Vec<String> {
        vec![SITE_NAME.to_owned()]
    }

    fn text(&self, _wide: bool, screen: &Screen) {
        screen.say(Tone::Good, &self.sentence);
    }
}

fn sentence(written: &WrittenPause, now: Timestamp) -> String {
    let before = &written.before;
    let site = clean(&before.spec.site_name);
    let stands = before.spec.paused.as_ref();
    let noun = words(before.spec.role).noun;
    let would = match written.outcome {
        PauseOutcome::Done => "",
        PauseOutcome::DryRun => "would be ",
        PauseOutcome::Ordered => "will be ",
        PauseOutcome::Already => return format!("site {site} is not paused: nothing to do"),
    };
    let Some(pause) = &written.pause else {
        let was = stands.map_or_else(String::new, |pause| {
            let ended = if is_paused(before, now) {
                ""
            } else {
                ", which had ended by itself"
            };
            format!(" (it was {}{ended})", paused(pause, now))
        });
        let goes_on = if is_moving(before) {
            format!("; the {noun} goes on: kubectl failover status -w")
        } else {
            String::new()
        };
        return format!("site {site} {would}resumed{was}{goes_on}");
    };
    let instead = pause_of(before, now).map_or_else(String::new, |old| {
        format!("; before, it was {}", paused(old, now))
    });
    let stands_still = if is_moving(before) {
        format!("; the {noun} stays where it is")
    } else {
        String::new()
    };
    format!(
        "site {site} {would}{}{stands_still}{instead}",
        paused(pause, now)
    )
}

#[cfg(test)]
mod tests;
