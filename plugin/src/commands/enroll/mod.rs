//! `enroll`: namespaces come under the role of the site.

pub mod protected_namespaces;

use std::time::Duration;

use failover_core::NamespaceState;
use failover_core::Role;
use failover_core::guards::{GuardId, Hold};
use failover_core::namespace::{Enforcement, may_enrol};
use failover_core::transition::EnrolledNamespace;
use failover_core::transition::pause;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use tokio::time::Instant;

use super::poll::{Polled, Watch};
use super::site_view::{View, look, preview, warn_of_pause};
use crate::cli::EnrollArgs;
use crate::cluster::is_taken_over;
use crate::commands::enroll::protected_namespaces::{Sensitive, sensitive};
use crate::error::Failure;
use crate::output::age::took;
use crate::output::confirm::{Consent, declined};
use crate::output::{Report, Screen, Tone, counted};
use crate::plan::standing;
use crate::plan::summary;
use crate::session::Session;
use crate::transition_view::{current, paused, what};

const EVERY: Duration = Duration::from_millis(500);

/// The document `Enrolment`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EnrolmentReport {
    site: String,
    role: Option<Role>,
    enforcement: &'static str,
    /// Namespaces that were labelled now.
    enrolled: Vec<String>,
    /// Namespaces that were enrolled before.
    already: Vec<String>,
    /// Taken over and verified.
    verified: bool,
    seconds: f64,
}

pub fn check_usage(args: &EnrollArgs) -> Result<(), Failure> {
    for namespace in &args.namespaces {
        if !may_enrol(namespace) {
            return Err(Failure::refused(format!(
                "namespace {namespace} is never enrolled: the cluster, and kubectl failover itself, must come up without it"
            )));
        }
        match sensitive(namespace) {
            None => {}
            Some(Sensitive { what, .. }) if !args.force => {
                return Err(Failure::refused(format!(
                    "namespace {namespace} belongs to {what}: made passive, it would take down what other namespaces depend on"
                ))
                .next("nothing was changed; if that is what you want, pass --force"));
            }
            Some(Sensitive {
                policy_only: true,
                what,
            }) if !args.policy_only => {
                return Err(Failure::refused(format!(
                    "namespace {namespace} belongs to {what}: it can only be enrolled for what a FailoverPolicy names"
                ))
                .next("nothing was changed; pass --policy-only as well"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

pub async fn run(session: &Session<'_>, args: &EnrollArgs) -> Result<(), Failure> {
    let enforcement = if args.policy_only {
        Enforcement::Policy
    } else {
        Enforcement::Enabled
    };
    let view = look(session).await?;
    if let Some(hold) = in_transition(&view) {
        return Err(Failure::held("enrolment", vec![hold]));
    }
    let mut wanted = args.namespaces.clone();
    wanted.sort();
    wanted.dedup();
    let (new, already) = sort_out(session, &wanted, enforcement).await?;
    if view.role_in_effect() != Some(Role::Primary) && enforcement == Enforcement::Policy {
        narrows_nothing(&new)?;
    }
    if !new.is_empty() {
        ask(session, args, &view, &new, enforcement).await?;
    }
    let started = Instant::now();
    for metadata in &new {
        session
            .cluster
            .label_enrolled(metadata, enforcement)
            .await?;
        session.is_underway(
            "what was labelled is taken over by the controller",
            "check with kubectl failover status",
        );
    }
    if args.wait {
        wait(session, &view, &wanted, started, args.timeout).await?;
    }
    let report = EnrolmentReport {
        site: view.name().to_owned(),
        role: view.role_in_effect(),
        enforcement: enforcement.as_str(),
        enrolled: new.iter().filter_map(|m| m.name.clone()).collect(),
        already,
        verified: args.wait,
        seconds: started.elapsed().as_secs_f64(),
    };
    report.print(args.output, session.screen);
    Ok(())
}

/// Which namespaces are to be labelled, and which are as wanted.
async fn sort_out(
    session: &Session<'_>,
    wanted: &[String],
    enforcement: Enforcement,
) -> Result<(Vec<ObjectMeta>, Vec<String>), Failure> {
    let (mut new, mut already) = (Vec::new(), Vec::new());
    for name in wanted {
        let metadata = session.cluster.namespace(name).await?.ok_or_else(|| {
            Failure::error(format!("there is no namespace {name}: nothing was changed")).next(
                "create it, or create it enrolled: with the label failover.dev/enforce: enabled",
            )
        })?;
        match crate::cluster::enrolled_state(&metadata) {
            Some(enrolled) if enrolled.state.enforcement == Some(enforcement) => {
                already.push(name.clone());
            }
            _ => new.push(metadata),
        }
    }
    Ok((new, already))
}

/// From all its objects to what policies name, a namespace would be opened, as by leaving altogether.
fn narrows_nothing(new: &[ObjectMeta]) -> Result<(), Failure> {
    let open = |metadata: &&ObjectMeta| {
        let enrolled = crate::cluster::enrolled_state(metadata);
        enrolled.is_some_and(|e| e.state.enforcement == Some(Enforcement::Enabled))
    };
    let Some(namespace) = new.iter().find(open).and_then(|m| m.name.as_deref()) else {
        return Ok(());
    };
    Err(Failure::refused(format!(
        "namespace {namespace} is enrolled with all its objects, and the site is not primary: --policy-only would activate all objects that no FailoverPolicy names"
    ))
    .next(format!(
        "nothing was changed; promote the site first, or take it out with kubectl failover unenroll {namespace} --override site-secondary --reason TEXT"
    )))
}

/// A namespace that comes in the middle of a transition would be taken along unseen.
fn in_transition(view: &View) -> Option<Hold> {
    let transition = view.site.status.as_ref()?.transition.as_ref()?;
    Some(Hold {
        guard: GuardId::TransitionRunning,
        object: None,
        message: format!("site {} is in transition to {}", view.name(), transition.to),
        hint: "wait for it: kubectl failover status -w".to_owned(),
    })
}

async fn ask(
    session: &Session<'_>,
    args: &EnrollArgs,
    view: &View,
    new: &[ObjectMeta],
    enforcement: Enforcement,
) -> Result<(), Failure> {
    let enrolled: Vec<EnrolledNamespace> = new
        .iter()
        .map(|metadata| to_be_enrolled(metadata, enforcement))
        .collect();
    let names: Vec<&str> = enrolled.iter().map(|n| n.name.as_str()).collect();
    match view.role_in_effect() {
        Some(Role::Secondary) => {
            let plan = preview(session, view.name(), Role::Secondary, &enrolled).await?;
            session.screen.tell(
                Tone::Warning,
                &format!("site {} is secondary: enrolling makes these namespaces passive", view.name()),
            );
            session.screen.note(&summary::of_arrival(&plan, session.cluster.connection()));
        }
        Some(Role::Primary) => session.screen.note(&format!(
            "site {} is primary: nothing in {} is changed, only labelled ({})",
            view.name(),
            names.join(", "),
            session.cluster.connection()
        )),
        None => session.screen.warn(&format!(
            "site {} has not been taken over by a controller yet: these namespaces get their role when it is",
            view.name()
        )),
    }
    warn_of_pause(session, view);
    let consent = Consent::of(args.yes, session.screen.terminal().interactive, "enroll")?;
    let question = format!("Enrol {}?", names.join(", "));
    if consent.obtain(session.screen, &question).await? {
        Ok(())
    } else {
        Err(declined())
    }
}

/// Waits until the controller has labelled the namespaces with the site's roles, after a transition if that takes one, and
/// no listed object differs.
async fn wait(
    session: &Session<'_>,
    view: &View,
    names: &[String],
    started: Instant,
    timeout: Duration,
) -> Result<(), Failure> {
    let mut watch = Watch::new(session);
    let mut walked = None;
    loop {
        let mut walking = false;
        if let Polled::Site(site) = watch.look().await {
            watch.show(&site);
            let status = site.status.clone().unwrap_or_default();
            if let Some(walk) = &status.transition {
                walking = walk.namespaces.iter().any(|name| names.contains(name));
                walked = walking.then(|| walk.id.clone());
            }
            let entry = status
                .history
                .iter()
                .find(|e| Some(&e.id) == walked.as_ref());
            if let Some(entry) = entry.filter(|_| !walking) {
                watch.ended(&site, entry);
                walked = None;
            }
        }
        let left = match look_at(session, names).await {
            Ok(None) if !walking => return Ok(()),
            Ok(None) => "on their way".to_owned(),
            Ok(Some(left)) => left,
            Err(error) if error.is_passing() => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        if !walking {
            watch.now(&format!("site {}: {left}", view.name()));
        }
        if started.elapsed() >= timeout {
            let after = took(timeout.try_into().unwrap_or_default());
            return Err(not_taken_over(view, &after, &left, &watch));
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Not within the time given, and what it waits for.
fn not_taken_over(view: &View, after: &str, left: &str, watch: &Watch<'_>) -> Failure {
    let failure = Failure::timed_out(format!(
        "labelled, but not taken over after {after}: {left}"
    ));
    let now = jiff::Timestamp::now();
    if let Some(pause) = pause(&view.site, now) {
        return failure
            .details([format!("the site is {}", paused(pause, now))])
            .next("nothing moves until it is resumed: kubectl failover resume");
    }
    let blocked: Vec<String> = watch
        .last()
        .and_then(current)
        .map(|(_, step)| step.blocked.iter().map(what).collect())
        .unwrap_or_default();
    failure
        .details(blocked)
        .next("it goes on: kubectl failover status -w")
}

/// `None`: taken over and verified; otherwise what is still to come.
async fn look_at(
    session: &Session<'_>,
    names: &[String],
) -> Result<Option<String>, crate::cluster::ApiError> {
    let mut enrolled = session.cluster.enrolled().await?;
    enrolled.retain(|namespace| names.contains(&namespace.name));
    let waiting: Vec<_> = enrolled
        .iter()
        .filter(|namespace| !is_taken_over(&namespace.state))
        .map(|namespace| namespace.name.as_str())
        .collect();
    if !waiting.is_empty() || enrolled.len() < names.len() {
        return Ok(Some(format!(
            "waiting for the controller to take over {}",
            if waiting.is_empty() {
                "them".to_owned()
            } else {
                waiting.join(", ")
            }
        )));
    }
    let survey = session.cluster.survey(&enrolled).await?;
    if let Some(unseen) = survey.unseen.first() {
        return Ok(Some(format!(
            "cannot verify: {}: {}",
            unseen.what, unseen.why
        )));
    }
    let astray: Vec<_> = standing(&enrolled, &survey)
        .into_iter()
        .flat_map(|standing| standing.astray)
        .map(|(object, _)| object.to_string())
        .collect();
    Ok(astray.first().map(|first| {
        format!(
            "not conforming yet: {}, such as {first}",
            counted(astray.len(), "object")
        )
    }))
}

/// A namespace as it will be once it is enrolled.
fn to_be_enrolled(metadata: &ObjectMeta, enforcement: Enforcement) -> EnrolledNamespace {
    let (state, _) = NamespaceState::parse(metadata.labels.as_ref(), metadata.annotations.as_ref());
    EnrolledNamespace {
        name: metadata.name.clone().unwrap_or_default(),
        state: NamespaceState {
            enforcement: Some(enforcement),
            ..state
        },
    }
}

impl Report for EnrolmentReport {
    const KIND: &'static str = "Enrolment";

    fn names(&self) -> Vec<String> {
        let names = self.enrolled.iter().chain(&self.already);
        names.map(|name| format!("namespace/{name}")).collect()
    }

    fn text(&self, _wide: bool, screen: &Screen) {
        let site = &self.site;
        let role = self.role.map_or("not yet known", Role::as_str);
        let taken = if self.verified {
            ", verified"
        } else {
            ", not waited for"
        };
        for (names, what) in [
            (&self.enrolled, "enrolled"),
            (&self.already, "enrolled already"),
        ] {
            for name in names {
                let text = format!("namespace {name} {what}: site {site} is {role}{taken}");
                screen.say(Tone::Good, &text);
            }
        }
    }
}

#[cfg(test)]
mod tests;
