//! The stored Site: one page for all states of the exploration that share it.
//!
//! States are compared and hashed by the number of a page. Data that no later decision reads is left out of a page, or
//! normalised: times, numbers that only rise, the history. So two states are equal exactly when nothing that follows
//! can distinguish them.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::cluster::NAMES;
use crate::api::{Phase, Site, SiteStatus, StepName, StepState, Transition};
use crate::role::Role;

/// The current revision: a raised revision is normalised to it, and the earlier ones become [`OLD`].
pub(super) const CURRENT: i64 = 9;
pub(super) const OLD: i64 = 8;

/// Longer than a retry, shorter than any deadline.
pub(super) const SOON: SignedDuration = SignedDuration::from_secs(20);

/// Longer than any deadline.
pub(super) const LATE: SignedDuration = SignedDuration::from_hours(1);

pub(super) const START: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// A stored Site.
#[derive(Clone)]
pub(super) struct Page(Arc<Content>);

pub(super) struct Content {
    number: usize,
    pub(super) site: Site,
    /// The role of all layers, if no transition is under way.
    pub(super) settled: Option<Role>,
    /// The current step of the transition.
    pub(super) at: Option<StepName>,
}

impl Page {
    /// The page of this number, for a Site in canonical form.
    pub(super) fn new(number: usize, site: Site) -> Self {
        let status = site.status.clone().unwrap_or_default();
        let transition = status.transition.as_ref();
        let steps = transition.map_or(&[][..], |t| &t.steps);
        let running = steps.iter().find(|s| s.state != StepState::Done);
        Self(Arc::new(Content {
            number,
            settled: status.layers.uniform().filter(|_| transition.is_none()),
            at: running.map(|step| step.name),
            site,
        }))
    }

    pub(super) fn status(&self) -> SiteStatus {
        self.site.status.clone().unwrap_or_default()
    }

    pub(super) fn transition(&self) -> Option<&Transition> {
        self.site.status.as_ref()?.transition.as_ref()
    }

    /// Whether the namespace has been registered: only then the site's reached role applies to it.
    pub(super) fn registers(&self, namespace: usize) -> bool {
        let status = self.site.status.as_ref();
        status.is_some_and(|s| s.namespaces.iter().any(|name| name == NAMES[namespace]))
    }

    /// Whether the running transition includes the namespace.
    pub(super) fn includes(&self, namespace: usize) -> bool {
        match self.transition() {
            Some(t) if !t.namespaces.is_empty() => {
                t.namespaces.iter().any(|name| name == NAMES[namespace])
            }
            _ => self.registers(namespace),
        }
    }

    /// Whether the other page asks for the same check.
    pub(super) fn asks_as(&self, other: &Self) -> bool {
        let id = |page: &Self| page.transition().map(|t| t.id.clone());
        self.at == other.at && id(self) == id(other)
    }

    pub(super) fn is_stalled(&self) -> bool {
        let phase = self.site.status.as_ref().and_then(|s| s.phase);
        phase == Some(Phase::Stalled)
    }

    /// The overrides of the request that the transition carries out.
    pub(super) fn asked(&self) -> &[String] {
        let request = self.site.spec.request.as_ref();
        let id = self.transition().map(|t| &t.id);
        request
            .filter(|request| Some(&request.id) == id)
            .map_or(&[], |request| &request.overrides)
    }

    /// The guards whose override would unblock the transition.
    pub(super) fn blocked_by(&self) -> Vec<String> {
        let steps = self.transition().map_or(&[][..], |t| &t.steps);
        let blocked = steps.iter().flat_map(|step| &step.blocked);
        blocked.map(|b| b.guard.clone()).collect()
    }
}

impl std::ops::Deref for Page {
    type Target = Content;

    fn deref(&self) -> &Content {
        &self.0
    }
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.status();
        write!(
            f,
            "{}: to {} ({}), at {:?}, ordered {:?}",
            self.number,
            self.site.spec.role,
            status.phase.map(|p| format!("{p:?}")).unwrap_or_default(),
            self.at,
            status.layers
        )
    }
}

impl PartialEq for Page {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Page {}

impl Hash for Page {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

/// Data that is only reported is left out; times are reduced to two: long ago, and recent.
pub(super) fn canonical(status: &mut SiteStatus) {
    status.revision = CURRENT;
    status.history.clear();
    status.revision_at = status.revision_at.as_ref().map(|_| Time(START));
    for condition in &mut status.conditions {
        condition.last_transition_time = Time(START);
    }
    let Some(transition) = &mut status.transition else {
        return;
    };
    transition.started_at = Time(START);
    let running = transition.steps.iter().find(|s| s.state != StepState::Done);
    let restarted = running.and_then(|step| step.started_at.as_ref());
    let restarted = restarted.is_some_and(|at| at.0 >= START + LATE);
    for step in &mut transition.steps {
        step.revision = None;
        step.changed = 0;
        step.finished_at = step.finished_at.as_ref().map(|_| Time(START));
        let is_done = step.state == StepState::Done;
        step.started_at = step.started_at.as_ref().map(|at| {
            let long_ago = at.0 < START || (restarted && at.0 < START + LATE);
            Time(if long_ago && !is_done {
                START - LATE
            } else {
                START
            })
        });
    }
}
