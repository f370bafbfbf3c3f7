//! `exempt`: single objects leave the role of the site, or come back under it, by an operator's hand.
//!
//! The label on the object asks, the Namespace's annotation puts it in force. The label is written first: a controller that
//! sees the annotation alone would take it for an exemption that nobody asks for any more.

mod change;

use std::time::Duration;

use failover_core::Role;
use failover_core::object::ObjectRef;
use failover_core::transition::EnrolledNamespace;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use self::change::{Change, Selected, change, select};
use super::site_view::effective_role;
use crate::cli::{DryRun, ExemptArgs};
use crate::cluster::{ApiError, Requests, Survey, enrolled_state};
use crate::error::Failure;
use crate::output::age::took;
use crate::output::confirm::{Consent, declined};
use crate::output::progress::Progress;
use crate::output::{Report, Screen, Tone, clean};
use crate::plan::object_roles;
use crate::plan::standing;
use crate::session::Session;

const EVERY: Duration = Duration::from_millis(300);

/// The document `Exemption`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExemptionReport {
    namespace: String,
    /// Of the namespace's objects now.
    role: Option<Role>,
    exempt: bool,
    objects: Vec<String>,
    /// What becomes of their fields.
    changes: Vec<String>,
    /// CronJobs among them that start at once, for the run that they missed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missed_runs: Vec<MissedRun>,
    dry_run: bool,
    /// The objects have been seen to stand so.
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// `resource/name` of each object.
    #[serde(skip)]
    names: Vec<String>,
    #[serde(skip)]
    sentences: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MissedRun {
    object: String,
    scheduled_for: String,
}

/// A namespace, and everything in it that bears on its single objects.
struct NamespaceView {
    role: Option<Role>,
    enrolled: EnrolledNamespace,
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    survey: Survey,
    requests: Requests,
}

pub async fn run(
    session: &Session<'_>,
    args: &ExemptArgs,
    namespace: Option<&str>,
) -> Result<(), Failure> {
    let client = session.cluster.client();
    let namespace = namespace.unwrap_or_else(|| client.default_namespace());
    let seen = look(session, namespace).await?;
    let kinds = session.cluster.kinds(&seen.requests.rules).await?;
    let selected = select(&args.objects, &kinds, &seen.survey, namespace)?;
    let change = decide(&seen, &selected, args)?;
    let verified = args.wait && args.dry_run == DryRun::None;
    let now = Timestamp::now();
    if !change.is_nothing() {
        tell(session, args, &seen, &change, now);
        if args.dry_run == DryRun::None {
            ask(session, args, &change).await?;
        }
        if args.dry_run != DryRun::Client {
            write(session, args, seen, &selected).await?;
        }
        if verified {
            wait(session, args, namespace, &change).await?;
        }
    }
    let report = ExemptionReport {
        namespace: namespace.to_owned(),
        role: change.role,
        exempt: !args.undo,
        objects: change.objects(),
        changes: change.changes(),
        missed_runs: change
            .missed_runs(now)
            .into_iter()
            .map(|(object, at)| MissedRun {
                object,
                scheduled_for: at.to_string(),
            })
            .collect(),
        dry_run: args.dry_run != DryRun::None,
        verified,
        reason: args.reason.clone(),
        names: change
            .keys
            .iter()
            .map(|key| clean(&format!("{}/{}", key.resource, key.name)).into_owned())
            .collect(),
        sentences: sentences(&change, args.dry_run, verified),
    };
    report.print(args.output, session.screen);
    Ok(())
}

async fn look(session: &Session<'_>, namespace: &str) -> Result<NamespaceView, Failure> {
    let cluster = &session.cluster;
    let (metadata, site, requests) = futures::try_join!(
        cluster.namespace(namespace),
        cluster.site(),
        cluster.requests()
    )?;
    let metadata =
        metadata.ok_or_else(|| Failure::error(format!("there is no namespace {namespace}")))?;
    let enrolled = enrolled_state(&metadata).ok_or_else(|| {
        Failure::error(format!(
            "namespace {namespace} is not enrolled: none of its objects is under the role of the site"
        ))
    })?;
    let survey = cluster.survey(std::slice::from_ref(&enrolled)).await?;
    Ok(NamespaceView {
        role: effective_role(site.as_ref(), std::slice::from_ref(&enrolled)),
        enrolled,
        metadata,
        survey,
        requests,
    })
}

fn decide(
    seen: &NamespaceView,
    selected: &[Selected],
    args: &ExemptArgs,
) -> Result<Change, Failure> {
    change(
        &seen.enrolled,
        seen.role,
        selected,
        &object_roles::labelled(&seen.survey),
        &seen.requests,
        !args.undo,
    )
}

/// What it means, before anything is asked.
fn tell(
    session: &Session<'_>,
    args: &ExemptArgs,
    seen: &NamespaceView,
    change: &Change,
    now: Timestamp,
) {
    let screen = session.screen;
    let objects = change.objects().join(", ");
    let heading = if args.undo {
        "Back under the role of the site"
    } else {
        "Exempt from the role of the site"
    };
    let connection = session.cluster.connection();
    screen.note(&format!("{heading}: {} ({connection})", clean(&objects)));
    for line in change.changes() {
        screen.note(&format!("  {}", clean(&line)));
    }
    match (change.opens(), seen.role) {
        (true, Some(Role::Primary) | None) | (false, _) => {}
        (true, Some(Role::Secondary)) => screen.tell(
            Tone::Bad,
            "this site is secondary: what becomes active here may be active on the other site, too",
        ),
    }
    for (object, at) in change.missed_runs(now) {
        screen.warn(&clean(&format!(
            "{object} starts at once: it missed the run of {at}"
        )));
    }
    for line in change.remarks() {
        screen.warn(&clean(&line));
    }
}

async fn ask(session: &Session<'_>, args: &ExemptArgs, change: &Change) -> Result<(), Failure> {
    let screen = session.screen;
    let consent = Consent::of(args.yes, screen.terminal().interactive, "exempt")?;
    let objects = change.objects().join(", ");
    let question = if args.undo {
        format!("Put {objects} back under the role of the site?")
    } else {
        format!("Exempt {objects}?")
    };
    if consent.obtain(screen, &clean(&question)).await? {
        Ok(())
    } else {
        Err(declined())
    }
}

/// Writes the labels, then the Namespace; that one again on a newer version where somebody else wrote it meanwhile.
async fn write(
    session: &Session<'_>,
    args: &ExemptArgs,
    mut seen: NamespaceView,
    selected: &[Selected],
) -> Result<(), Failure> {
    const ATTEMPTS: usize = 5;
    let dry_run = args.dry_run == DryRun::Server;
    for object in selected.iter().filter(|o| o.is_labelled() == args.undo) {
        let reason = args.reason.as_deref();
        session
            .cluster
            .label_exempt(&object.rule, &object.object, !args.undo, reason, dry_run)
            .await?;
        if !dry_run {
            session.is_underway(
                "the exemption of labelled objects is requested; it takes effect once the site is primary",
                "check with kubectl failover status",
            );
        }
    }
    for attempt in 1..=ATTEMPTS {
        let change = decide(&seen, selected, args)?;
        let objects = &change.state.objects;
        if *objects == seen.enrolled.state.objects {
            return Ok(());
        }
        match session
            .cluster
            .write_objects(&seen.metadata, objects, dry_run)
            .await
        {
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                seen = look(session, &seen.enrolled.name).await?;
            }
            other => return other.map_err(Failure::from),
        }
    }
    Ok(())
}

/// Waits until the objects are seen to stand so.
async fn wait(
    session: &Session<'_>,
    args: &ExemptArgs,
    namespace: &str,
    change: &Change,
) -> Result<(), Failure> {
    let started = Instant::now();
    let progress = Progress::new(session.screen);
    loop {
        let left = match look_at(session, namespace, change).await {
            Ok(None) => return Ok(()),
            Ok(Some(left)) => left,
            Err(error) if error.is_passing() => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        progress.now(&left);
        if started.elapsed() >= args.timeout {
            return Err(Failure::timed_out(format!(
                "requested, but not in effect after {}: {left}",
                took(args.timeout.try_into().unwrap_or_default())
            ))
            .next("see kubectl failover status"));
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// `None`: the objects stand as they are to; otherwise what is still to come.
async fn look_at(
    session: &Session<'_>,
    namespace: &str,
    change: &Change,
) -> Result<Option<String>, ApiError> {
    let Some(metadata) = session.cluster.namespace(namespace).await? else {
        return Ok(None);
    };
    let Some(enrolled) = enrolled_state(&metadata) else {
        return Ok(None);
    };
    for key in &change.keys {
        let (now, then) = (&enrolled.state.objects, &change.state.objects);
        if now.get(&key.resource, &key.name) != then.get(&key.resource, &key.name) {
            return Ok(Some(format!(
                "{}/{} does not have this role: it was changed back, see kubectl failover status",
                key.resource, key.name
            )));
        }
    }
    let survey = session
        .cluster
        .survey(std::slice::from_ref(&enrolled))
        .await?;
    let concerns = |object: &ObjectRef| {
        let mut keys = change.keys.iter();
        keys.any(|key| key.resource == object.resource && key.name == object.name)
    };
    let astray = standing(std::slice::from_ref(&enrolled), &survey)
        .into_iter()
        .flat_map(|standing| standing.astray)
        .find(|(object, _)| concerns(object));
    Ok(astray.map(|(object, why)| {
        let why = why.unwrap_or_else(|| "not swept yet".to_owned());
        format!("{object}: {why}")
    }))
}

impl Report for ExemptionReport {
    const KIND: &'static str = "Exemption";

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn text(&self, _wide: bool, screen: &Screen) {
        for sentence in &self.sentences {
            screen.say(Tone::Good, &clean(sentence));
        }
    }
}

/// What is said of each object.
fn sentences(change: &Change, dry_run: DryRun, verified: bool) -> Vec<String> {
    let how = match (dry_run, verified, change.is_nothing()) {
        (_, _, true) => " already",
        (DryRun::Client, ..) => " (dry run)",
        (DryRun::Server, ..) => " (server dry run)",
        (DryRun::None, true, false) => "",
        (DryRun::None, false, false) => ", not waited for",
    };
    let objects = change.keys.iter().zip(change.objects());
    objects
        .map(|(key, object)| format!("{object} {}{how}", change.stands(key)))
        .collect()
}

#[cfg(test)]
mod tests;
