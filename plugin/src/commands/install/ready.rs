//! Waiting until what was applied works: not until it exists.

use std::time::Duration;

use failover_core::api::{Site, condition};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::cluster::{ApiError, Leadership, WebhookState};
use crate::error::Failure;
use crate::manifests::{self, Options};
use crate::output::progress::Progress;
use crate::session::Session;

const EVERY: Duration = Duration::from_millis(500);

/// Until the API server serves our kinds.
pub(super) async fn wait_for_crds(
    session: &Session<'_>,
    progress: &Progress<'_>,
    deadline: Instant,
) -> Result<(), Failure> {
    let crds = manifests::objects(&Options::default());
    for crd in crds
        .iter()
        .filter(|m| m.kind() == "CustomResourceDefinition")
    {
        loop {
            let stored = session.cluster.stored(crd).await?.unwrap_or_default();
            let conditions = stored["status"]["conditions"].as_array();
            let established = conditions.is_some_and(|conditions| {
                conditions
                    .iter()
                    .any(|c| c["type"] == "Established" && c["status"] == "True")
            });
            if established {
                break;
            }
            progress.now(&format!(
                "waiting for the API server to serve {}",
                crd.name()
            ));
            if Instant::now() >= deadline {
                return Err(Failure::timed_out(format!(
                    "applied, but the API server does not serve {} yet; the Site is not founded",
                    crd.name()
                ))
                .next("run the same command again"));
            }
            tokio::time::sleep(EVERY).await;
        }
    }
    Ok(())
}

/// Everything that readiness depends on, as it is at one moment.
#[derive(Debug, Default)]
pub(super) struct ReadinessView {
    pub(super) leads: bool,
    pub(super) webhook: WebhookState,
    pub(super) enforcers: usize,
    pub(super) ready: bool,
    /// What the Site says about not being ready.
    pub(super) message: String,
}

impl ReadinessView {
    /// What is still missing, in the order in which it comes.
    pub(super) fn missing(&self) -> Vec<String> {
        let parts = [
            (self.leads, "a controller that leads"),
            (self.webhook.configured, "the webhook configuration"),
            (
                self.webhook.trusted,
                "the webhook's certificate in its configuration",
            ),
            (self.enforcers > 0, "a live webhook replica"),
            (self.ready, "the Site to be ready"),
        ];
        let mut missing: Vec<String> = parts
            .iter()
            .filter(|(there, _)| !there)
            .map(|(_, what)| (*what).to_owned())
            .collect();
        if let Some(last) = missing.last_mut()
            && !self.ready
            && !self.message.is_empty()
        {
            last.push_str(" (");
            last.push_str(&self.message);
            last.push(')');
        }
        missing
    }

    fn of(site: Option<&Site>, webhook: WebhookState, leads: bool) -> Self {
        let status = site
            .and_then(|site| site.status.clone())
            .unwrap_or_default();
        let generation = site.and_then(|site| site.metadata.generation);
        let ready = status
            .conditions
            .iter()
            .find(|c| c.type_ == condition::READY);
        Self {
            leads,
            webhook,
            enforcers: status.enforcers.len(),
            ready: status.observed_generation == generation
                && ready.is_some_and(|c| c.status == "True"),
            message: ready
                .filter(|c| c.status != "True")
                .map(|c| c.message.clone())
                .unwrap_or_default(),
        }
    }
}

/// Whether a controller leads: the Lease is renewed while we watch, or was renewed just now.
#[derive(Debug, Default)]
struct Pulse {
    first: Option<Leadership>,
}

impl Pulse {
    fn beats(&mut self, lease: Option<Leadership>) -> bool {
        let Some(lease) = lease.filter(|lease| lease.holder.is_some()) else {
            return false;
        };
        let moved = self.first.as_ref().is_some_and(|first| *first != lease);
        let beats = moved || lease.looks_alive(Timestamp::now());
        self.first.get_or_insert(lease);
        beats
    }
}

pub(super) async fn wait(
    session: &Session<'_>,
    progress: &Progress<'_>,
    deadline: Instant,
) -> Result<(), Failure> {
    let mut pulse = Pulse::default();
    loop {
        let missing = match look(session, &mut pulse).await {
            Ok(sight) => sight.missing(),
            Err(error) if error.is_passing() => vec![format!("the API server to answer ({error})")],
            Err(error) => return Err(error.into()),
        };
        if missing.is_empty() {
            return Ok(());
        }
        progress.now(&format!("waiting for {}", missing.join(", ")));
        if Instant::now() >= deadline {
            return Err(Failure::timed_out("applied, but not everything works yet")
                .details(missing.into_iter().map(|what| format!("missing: {what}")))
                .next(
                    "see why: kubectl -n failover-system get pods, and kubectl failover status",
                ));
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn look(session: &Session<'_>, pulse: &mut Pulse) -> Result<ReadinessView, ApiError> {
    let cluster = &session.cluster;
    let (site, webhook, lease) =
        futures::try_join!(cluster.site(), cluster.webhook(), cluster.leadership())?;
    Ok(ReadinessView::of(
        site.as_ref(),
        webhook,
        pulse.beats(lease),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SOUND: WebhookState = WebhookState {
        configured: true,
        trusted: true,
    };

    fn site(ready: &str, observed: i64) -> Site {
        serde_json::from_value(json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "Site",
            "metadata": {"name": "cluster", "generation": 2},
            "spec": {"siteName": "east", "role": "primary"},
            "status": {
                "observedGeneration": observed,
                "enforcers": [{"name": "w-1", "revision": 1, "namespaces": 0, "lastSeen": "2026-03-01T12:00:00Z"}],
                "conditions": [{"type": "Ready", "status": ready, "reason": "X", "message": "to primary: step sweep",
                                "lastTransitionTime": "2026-03-01T12:00:00Z"}]
            }
        }))
        .unwrap()
    }

    #[test]
    fn ready_is_when_everything_works() {
        let sight = ReadinessView::of(Some(&site("True", 2)), SOUND, true);
        assert!(sight.missing().is_empty(), "{sight:?}");
    }

    #[test]
    fn what_is_missing_is_named_in_the_order_in_which_it_comes() {
        let sight = ReadinessView::of(None, WebhookState::default(), false);
        assert_eq!(sight.missing().len(), 5);
        assert_eq!(sight.missing()[0], "a controller that leads");
    }

    #[test]
    fn a_site_that_was_ready_before_the_last_change_is_not() {
        assert_eq!(
            ReadinessView::of(Some(&site("True", 1)), SOUND, true).missing(),
            ["the Site to be ready"]
        );
    }

    #[test]
    fn why_the_site_is_not_ready_is_said() {
        assert_eq!(
            ReadinessView::of(Some(&site("False", 2)), SOUND, true).missing(),
            ["the Site to be ready (to primary: step sweep)"]
        );
    }
}
